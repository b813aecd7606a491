"""dlc as a backend of ONNX: the interface of onnx.backend.base.

    import dlc.backend
    rep = dlc.backend.prepare(onnx.load("model.onnx"))
    outputs = rep.run([x])
"""
import os
import tempfile

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

import dlc


class Rep(BackendRep):
    def __init__(self, model, options):
        self.proto, self.options, self.model = model, options, None
        try:
            self.model = _compile(model, options)
        except dlc.UnsupportedError as e:
            self.why = e                # perhaps an input's value must be known: then run() compiles once more

    def run(self, inputs, **kwargs):
        inputs = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        if self.model:
            return tuple(self.model.run(inputs))
        names = [i.name for i in self.proto.graph.input]
        known = {n: np.asarray(x).ravel().tolist() for n, x in zip(names, inputs)
                 if np.asarray(x).dtype.kind in "iub" and np.asarray(x).size <= 64}
        if not known:
            raise self.why
        rest = [x for n, x in zip(names, inputs) if n not in known]
        bind = {n: [int(v) for v in x] for n, x in known.items()}
        return tuple(_compile(self.proto, dict(self.options, bind=bind)).run(rest))


def _compile(model, options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        with open(path, "wb") as f:
            f.write(model.SerializeToString())
        return dlc.compile(path, **options)


class DlcBackend(Backend):
    @classmethod
    def prepare(cls, model, device="CPU", **options):
        super().prepare(model, device)
        return Rep(model, options)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **options):
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **options):
        inputs = [np.asarray(x) for x in inputs]
        ins = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
               for n, x in zip([n for n in node.input if n], inputs)]
        outs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.output]
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "node", ins, outs))
        return cls.run_model(onnx.shape_inference.infer_shapes(model), inputs, device, **options)

    @classmethod
    def supports_device(cls, device):
        return device.split(":")[0] == "CPU"


is_compatible = DlcBackend.is_compatible
prepare = DlcBackend.prepare
run_model = DlcBackend.run_model
run_node = DlcBackend.run_node
supports_device = DlcBackend.supports_device
