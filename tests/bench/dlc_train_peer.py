"""dlc as a peer of a training benchmark: train/*.dl, each a network and its optimizer, compiled in memory as one step.

A class with prepare(task, params, batches, threads), and step(k) or steps(k, n), as benchmark drivers want it. `dlc-jit` does
a step a call; `dlc-jit-20` does 20, so that little but the step itself is timed.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "python"))


def name_of(path):
    """The benchmark's name of a variable: 2.ln1.g of Net.Block_3.ln1.g, 1.0.c2.w of Net.Block_3.c2.w where a block has c2."""
    name = path.split("Net.", 1)[-1]
    m = re.match(r"Block(?:_(\d+))?\.(.*)", name)
    if not m:
        return name
    k, rest = int(m[1] or 1) - 1, m[2]
    return f"{k // 2}.{k % 2}.{rest}" if re.match(r"c1\.|c2\.|sc\.", rest) else f"{k}.{rest}"


class DlcJit:
    kind = "train"
    name = "dlc-jit"

    def imports(self):
        import dlc
        self.dlc = dlc

    def version(self):
        import dlc
        return "dlc " + dlc.version()

    def prepare(self, task, params, batches, threads):
        import dlc
        s = self.model = dlc.train(os.path.join(HERE, "train", task.name + ".dl"), threads=threads)
        self.paths = {name_of(p): p for p in s.keys()}
        for name, value in params.items():
            s[self.paths[name]] = value
        self.names = list(params)
        batches = [{"d.x": x, "d.y": y} for x, y in batches]
        self.stage(batches)

    def stage(self, batches):
        self.calls = [self.model.stage([b]) for b in batches]

    def step(self, k):
        return self.calls[k % len(self.calls)]()[0, 0]

    def params(self):
        return {name: self.model[self.paths[name]] for name in self.names}


class DlcJit20(DlcJit):
    kind = "train"
    name = "dlc-jit-20"
    chunk = 20

    def stage(self, batches):
        self.call = self.model.stage(batches)

    def steps(self, k, n):
        return self.call()[:, 0]
