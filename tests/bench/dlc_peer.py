"""dlc as a peer of a benchmark: compiled in memory, called through the Python package of this repository.

A class with prepare(model folder, threads), run(inputs), stage(inputs), as benchmark drivers want it.
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "python"))


class Dlc:
    kind = "infer"
    name = "dlc"

    def imports(self):
        import dlc
        self.dlc = dlc

    def version(self):
        import dlc
        return "dlc " + dlc.version()

    def prepare(self, model, threads):
        import dlc
        self.model = dlc.compile(os.path.join(model, "model.onnx"), threads=threads, no_cache=True)       # so that the time is one of compiling

    def run(self, inputs):
        return self.model.run(inputs)

    def stage(self, inputs):
        once, self.outputs = self.model.stage(inputs)
        return once
