#!/usr/bin/env python3
"""Gradients of ONNX models against those of the package onnx-ad, whose graphs are evaluated in float64 by onnx's
reference (those with Scan by onnxruntime).

usage: check_onnx_ad.py [--dlc build/bin/dlc] [--need 20] [--limit SECONDS] FOLDER...

FOLDER holds model.onnx and test_data_set_0/input_K.pb. Each float output is multiplied by fixed random numbers, and the sum of
all is differentiated by every float input and by the weights of its layers, which are made inputs. Printed for each model: the
number of gradients, and the largest difference as a share of the largest element of that gradient (of a thousandth of the
largest of all, if that is more); more than 1e-3 is wrong (float32 against float64, through all layers). Left out, with
the reason: what onnx-ad refuses, what the reference cannot run or where onnxruntime, in float32, differs from it as much, and
what computes in half precision.
Exit: 0; 1 something is wrong, or fewer than --need models were compared; 77 without the packages onnx, onnxruntime and onnx_ad.
"""
import argparse, glob, os, signal, subprocess, sys, tempfile, warnings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
warnings.filterwarnings("ignore")
try:
    import numpy as np
    import onnx
    import onnx.version_converter
    import onnx_ad
    import onnxruntime
    from onnx import AttributeProto, TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator
except ImportError as e:
    print("needs the packages onnx, onnxruntime and onnx-ad:", e)
    sys.exit(77)

onnxruntime.set_default_logger_severity(3)
LAYERS = {"Conv": (1, 2), "ConvTranspose": (2,), "Gemm": (0, 1, 2), "MatMul": (0, 1), "LSTM": (1, 2, 3), "GRU": (1, 2, 3),
          "RNN": (1, 2, 3), "Add": (0, 1), "Mul": (0, 1), "LayerNormalization": (1, 2), "InstanceNormalization": (1, 2), "PRelu": (1,)}
TOLERANCE, MAX_ELEMENTS, MAX_BATCH, OPSET = 1e-3, 300000, 2, 17


class Skip(Exception):
    pass


def load(folder):
    """The model over the sizes of its data (of an open batch, two samples), with weights as inputs; the inputs by name."""
    m = onnx.load(os.path.join(folder, "model.onnx"))
    old = [o.version for o in m.opset_import if o.domain in ("", "ai.onnx")]
    if old and old[0] < OPSET:
        m = onnx.version_converter.convert_version(m, OPSET)
    g = m.graph
    if any(t.data_type == TensorProto.FLOAT16 for t in g.initializer):
        raise Skip("half precision")
    initial = {t.name: t for t in g.initializer}
    named = [i for i in g.input if i.name not in initial]
    feed = {}
    for i, v in enumerate(named):
        t = onnx.TensorProto()
        t.ParseFromString(open(os.path.join(folder, "test_data_set_0", f"input_{i}.pb"), "rb").read())
        x = numpy_helper.to_array(t)
        if not v.type.HasField("tensor_type"):
            raise Skip("an input that is no tensor")
        if x.ndim > 1 and v.type.tensor_type.shape.dim[0].dim_param and all(o.ndim > 1 for o in feed.values()):
            x = x[:MAX_BATCH]
        feed[v.name] = x
        v.CopyFrom(helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, x.shape))
    for v in [i for i in g.input if i.name in initial]:
        g.input.remove(v)                                # IR 3: initializers are inputs too
    m.ir_version = max(m.ir_version, 8)
    del g.value_info[:]
    uses = {}
    for n in g.node:
        is_grouped = n.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in n.attribute)
        for k, x in enumerate(n.input):
            uses.setdefault(x, []).append(("" if is_grouped and k == 1 else n.op_type, k))
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in n.attribute):
            raise Skip("subgraphs")
    for t in list(g.initializer):
        fits = t.data_type == TensorProto.FLOAT and len(t.dims) and 0 < np.prod(t.dims) <= MAX_ELEMENTS
        if fits and t.name in uses and all(k in LAYERS.get(op, ()) for op, k in uses[t.name]):
            feed[t.name] = numpy_helper.to_array(t)
            g.input.append(helper.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.dims)))
            g.initializer.remove(t)
    return m, feed


def weigh_outputs(m, feed):
    g = m.graph
    values = ReferenceEvaluator(m).run(None, feed)
    outputs, r = [], np.random.default_rng(5)
    for v, x in zip(list(g.output), values):
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.size == 0:
            continue
        w = numpy_helper.from_array(r.uniform(0.5, 1.5, x.shape).astype(np.float32) * r.choice([-1, 1], x.shape).astype(np.float32), v.name + "_weights")
        g.initializer.append(w)
        g.node.append(helper.make_node("Mul", [v.name, w.name], [v.name + "_weighted"]))
        outputs.append((v.name + "_weighted", x.shape))
    if not outputs:
        raise Skip("no float output")
    del g.output[:]
    g.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs)
    return outputs


def to_double(m):
    def tensor(t):
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))

    def graph(g):
        for t in g.initializer:
            tensor(t)
        for v in list(g.input) + list(g.output) + list(g.value_info):
            if v.type.tensor_type.elem_type == TensorProto.FLOAT:
                v.type.tensor_type.elem_type = TensorProto.DOUBLE
        for n in g.node:
            node(n)

    def node(n):
        if n.op_type == "ConstantOfShape" and not n.attribute:
            n.attribute.append(helper.make_attribute("value", helper.make_tensor("v", TensorProto.DOUBLE, [1], [0.0])))
        for a in list(n.attribute):
            if a.type == AttributeProto.TENSOR:
                tensor(a.t)
            elif a.type == AttributeProto.GRAPH:
                graph(a.g)
            elif a.name in ("to", "dtype") and a.type == AttributeProto.INT and a.i == TensorProto.FLOAT:
                a.i = TensorProto.DOUBLE
            elif n.op_type == "Constant" and a.name in ("value_float", "value_floats"):
                v = np.array(a.f if a.name == "value_float" else list(a.floats), np.float64)
                n.attribute.remove(a)
                n.attribute.append(helper.make_attribute("value", numpy_helper.from_array(v)))
    d = onnx.ModelProto()
    d.CopyFrom(m)
    graph(d.graph)
    return d


def evaluate(r, m, feed, outputs, wrt, by_reference):
    """{input: gradient} of onnx-ad's graph r."""
    seeds = [i for i in r.graph.input if i.name not in feed]
    dtype = {x.name: np.float64 if x.type.tensor_type.elem_type == TensorProto.DOUBLE else np.float32 for x in r.graph.input}
    f = {k: v.astype(dtype[k]) if v.dtype == np.float32 else v for k, v in feed.items()}
    for i, (_, shape) in zip(seeds, outputs):
        f[i.name] = np.ones((*shape, 1), dtype[i.name])
    names = [o.name for o in r.graph.output][len(m.graph.output):]
    if by_reference:
        values = ReferenceEvaluator(r).run(names, f)
    else:
        values = onnxruntime.InferenceSession(r.SerializeToString(), providers=["CPUExecutionProvider"]).run(names, f)
    return {w: np.asarray(v)[..., 0] for w, v in zip(wrt, values)}


def reference(m, feed, outputs, wrt):
    """onnx-ad's graph, and its value in float64. The reference has no Scan backwards; onnxruntime has one in float64."""
    r = onnx_ad.reverse(m, inputs=wrt, layout="onnx")
    return r, evaluate(to_double(r), m, feed, outputs, wrt, not any(n.op_type == "Scan" for n in r.graph.node))


def difference(have, want):
    """The largest as a share of its gradient, and where."""
    worst, at = 0.0, ""
    largest = max(np.abs(v).max() for v in want.values())
    for k, ref in want.items():
        x = have[k].astype(np.float64)
        assert x.shape == ref.shape, f"d_{k} has shape {x.shape}, expected {ref.shape}"
        # a bias before a normalization has none but rounding's
        d = np.abs(x - ref).max() / max(np.abs(ref).max(), 1e-3 * largest, 1e-30)
        if not d <= worst:
            worst, at = d, k
    return worst, at


def own(m, feed, dlc, folder):
    """{input: gradient} by dlc: the pass grad, and a run."""
    model, graph, out = (os.path.join(folder, x) for x in ("m.onnx", "m.graph", "out.npz"))
    onnx.save(m, model)
    p = subprocess.run([dlc, "opt", "--pass=grad", model, "-o", graph], capture_output=True, text=True)
    if p.returncode:
        raise AssertionError(p.stderr.strip()[:300])
    inputs = []
    for k, (name, x) in enumerate(feed.items()):
        path = os.path.join(folder, f"i{k}.npy")
        np.save(path, x)
        inputs.append(f"{name}={path}")
    p = subprocess.run([dlc, "run", graph, "-o", out, *inputs], capture_output=True, text=True)
    if p.returncode:
        raise AssertionError(p.stderr.strip()[:300])
    return {k[2:]: v for k, v in np.load(out).items() if k.startswith("d_")}


def compare(folder, dlc):
    with tempfile.TemporaryDirectory() as tmp:
        try:
            m, feed = load(folder)
            outputs = weigh_outputs(m, feed)
            wrt = [k for k, v in feed.items() if v.dtype == np.float32 and v.size]
            if not wrt:
                raise Skip("no float input or weight")
            r, want = reference(m, feed, outputs, wrt)
        except Skip as e:
            return None, str(e)
        except Exception as e:                           # onnx-ad refuses, the reference cannot
            return None, f"{type(e).__name__}: {e}".replace("\n", " ")[:100]
        have = own(m, feed, dlc, tmp)
    worst, at = difference(have, want)
    if not worst <= TOLERANCE and difference(evaluate(r, m, feed, outputs, wrt, False), want)[0] > TOLERANCE:
        return None, "onnx's reference and onnxruntime differ on onnx-ad's graph"
    return worst, f"{len(want)} gradients, {sum(v.size for v in want.values())} elements" + (f", largest at {at}" if at else "")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--dlc", default=os.environ.get("DLC", os.path.join(ROOT, "build", "bin", "dlc")))
    ap.add_argument("--need", type=int, default=0)
    ap.add_argument("--limit", type=int, default=60, help="seconds a model; slower ones are left out")
    ap.add_argument("folders", nargs="+")
    a = ap.parse_args()
    n = bad = 0

    def late(*_):
        raise Skip("too slow")
    signal.signal(signal.SIGALRM, late)
    for folder in a.folders:
        name = os.path.basename(os.path.normpath(folder))
        if not glob.glob(os.path.join(folder, "test_data_set_0", "input_0.pb")):
            continue
        signal.alarm(a.limit)
        try:
            worst, text = compare(folder, a.dlc)
        except Skip as e:
            worst, text = None, str(e)
        except (AssertionError, KeyError) as e:
            worst, text = float("nan"), str(e)
        signal.alarm(0)
        n += worst is not None
        wrong = worst is not None and not worst <= TOLERANCE
        bad += wrong
        print(f"{name:44s} {'-' if worst is None else f'{worst:.1e}':8s} {'WRONG ' if wrong else ''}{text}", flush=True)
    print(f"{n} models compared, {bad} wrong")
    return 1 if bad or n < a.need else 0


if __name__ == "__main__":
    sys.exit(main())
