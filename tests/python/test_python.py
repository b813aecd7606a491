"""The Python package over the built libdlc: NumPy and DLPack in and out, options, errors. Exit 77 without NumPy."""
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("DLC_BUILD", os.path.join(ROOT, "build"))
os.environ.setdefault("DLC_CACHE_DIR", "")
os.environ.setdefault("DLC_LIBRARY", os.path.join(BUILD, "lib", "libdlc.so"))
sys.path.insert(0, os.path.join(ROOT, "python"))
try:
    import numpy as np
except ImportError:
    print("needs NumPy")
    sys.exit(77)
import dlc  # noqa: E402

DIGITS = os.path.join(ROOT, "examples", "digits", "digits.onnx")
x = np.random.default_rng(1).random((3, 1, 28, 28), np.float32)


class OnlyDlpack:
    """An array of another library: memory by DLPack alone."""

    def __init__(self, a):
        self.a = a

    def __dlpack__(self, **kwargs):
        return self.a.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


def raises(kind, text, call):
    try:
        call()
    except kind as e:
        assert text in str(e), str(e)
        return
    raise AssertionError(f"expected {kind.__name__}")


model = dlc.compile(DIGITS, threads=2, backend="loop")
assert [str(i) for i in model.inputs] == ["x: f32[?, 1, 28, 28]"], model.inputs
y, = model.run([x])
assert y.shape == (3, 10) and y.dtype == np.float32 and np.allclose(y.sum(1), 1, atol=1e-5)

# an array read where it lies, one of another order, one by name, and one that offers only DLPack give the same
for other in ([np.asfortranarray(x)], {"x": x}, [OnlyDlpack(x)], [x.astype(">f4")]):
    assert (model.run(other)[0] == y).all()
assert np.from_dlpack(y) is not None and model._inputs([x])[0] is x
assert model._inputs([OnlyDlpack(x)])[0].ctypes.data == x.ctypes.data

# threads and contexts change nothing
assert (dlc.compile(DIGITS, threads=1, backend="loop").run([x])[0] == y).all()
assert dlc.compile(DIGITS, threads=1, backend="loop", dim={"N": 3}).run([x])[0].shape == (3, 10)

raises(dlc.Error, "axis 3", lambda: model.run([x[..., :27]]))
raises(dlc.Error, "expected f32", lambda: model.run([x.astype(np.float64)]))
raises(dlc.Error, "1 inputs", lambda: model.run([]))
raises(dlc.Error, "no input z", lambda: model.run({"z": x}))
raises(dlc.Error, "cannot read", lambda: dlc.compile("no such file.onnx"))
raises(dlc.Error, "no option", lambda: dlc.compile(DIGITS, nonsense=1))
assert (model.run([x])[0] == y).all()                    # an error leaves the model as it was

try:
    native = dlc.compile(DIGITS)
except dlc.UnsupportedError as e:
    print("without generated code:", e)
else:
    assert (native.run([x])[0] == y).all()
    with tempfile.TemporaryDirectory() as folder:
        so = os.path.join(folder, "digits.so")
        dlc.compile_file(DIGITS, so)
        assert sorted(os.listdir(folder)) == ["digits.h", "digits.so"]
        assert (dlc.compile(so).run([x])[0] == y).all()

# a training step of the caller
try:
    step = dlc.train(os.path.join(ROOT, "tests", "train", "constants.dl"), threads=1)
except dlc.UnsupportedError:
    step = None                                          # built without LLVM
if step:
    batch = {"d.x": np.eye(4, 2, dtype=np.float32), "d.y": np.zeros(4, np.float32)}
    step["fit.Line.w"] = [1, -1]
    assert [i.name for i in step.inputs] == ["d.x", "d.y"] and list(step.keys()) == ["fit.Line.w"]
    assert step.run(batch) == [(2.5 ** 2 + 1.5 ** 2 + 0.25 + 0.25) / 4]
    assert np.allclose(step["fit.Line.w"], [1 - 0.1 * 2.5, -1 + 0.1 * 1.5])
    assert step.stage([batch, batch])().shape == (2, 1)
    raises(dlc.Error, "d.x", lambda: step.run([np.zeros((3, 2), np.float32), batch["d.y"]]))
    raises(dlc.Error, "2 inputs", lambda: step.run([batch["d.x"]]))

# a training step out of a file: the same losses and values, whole and in halves
if step:
    with tempfile.TemporaryDirectory() as folder:
        xor, so = os.path.join(ROOT, "examples", "xor.dl"), os.path.join(folder, "xor.so")
        dlc.compile_file(xor, so, train=True)
        a, b, c = dlc.load(so, threads=2), dlc.load(so, threads=1), dlc.train(xor, threads=1)
        batch = {"d.x": np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), "d.y": np.array([[0], [1], [1], [0]], np.float32)}
        assert [i.name for i in a.step.inputs] == ["d.x", "d.y"] and [i.shape for i in a.step.outputs] == [()]
        assert set(a.trained) == {"Xor.Dense.W", "Xor.Dense.b", "Xor.Dense_2.W", "Xor.Dense_2.b"}, a.trained
        for k in range(30):
            out = a.step(batch)
            half = b.grad(batch)
            b.apply({n: v for n, v in half.items() if n.startswith("grad.")})
            assert out["loss"] == half["loss"] and [out["loss"]] == c.run(batch), k
        assert (a.block == b.block).all() and a["step"] == 30
        assert all((a[p] == c[p]).all() for p in c.keys())
        kept = a.block.copy()
        assert a.test(batch)["loss"] < 1 and (a.block == kept).all()
        assert a["Xor.Dense.W"].shape == (2, 4)
        a["Xor.Dense.b"] = 7
        assert (a["Xor.Dense.b"] == 7).all()
        a.block[:] = kept
        assert a.step(batch) == b.step([batch["d.x"], batch["d.y"]])
        a.init()
        assert a["step"] == 0
        raises(dlc.Error, "2 inputs", lambda: a.step([batch["d.x"]]))
        raises(dlc.Error, "no input z", lambda: a.step({"z": 1}))
        raises(dlc.Error, "expected f32", lambda: a.step([batch["d.x"].astype(np.float64), batch["d.y"]]))
        raises(dlc.Error, "d.x", lambda: a.step([batch["d.x"][:3], batch["d.y"]]))
        raises(dlc.Error, "d.x", lambda: a.step([batch["d.x"][0], batch["d.y"]]))

        so = os.path.join(folder, "open.so")
        dlc.compile_file(xor, so, train=True, dim={"batch": "1..64"})
        d = dlc.load(so, threads=1)
        for n in 4, 3, 64:
            assert np.isfinite(d.step([np.ones((n, 2), np.float32), np.ones((n, 1), np.float32)])["loss"])
        assert d.step.inputs[0].shape == (None, 2)
        raises(dlc.Error, "1..64", lambda: d.step([np.ones((65, 2), np.float32), np.ones((65, 1), np.float32)]))
        raises(dlc.Error, "d.", lambda: d.step([np.ones((3, 2), np.float32), np.ones((4, 1), np.float32)]))
        so = os.path.join(folder, "model.so")
        dlc.compile_file(DIGITS, so)
        raises(dlc.Error, "no training step", lambda: dlc.load(so))

print("ok")
