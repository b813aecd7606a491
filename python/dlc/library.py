"""Libraries that `dlc compile --train` wrote: their programs over one block of states (docs/abi.md, "A training step").

The library is opened by ctypes through its dlc_model_v1, as a C program would; libdlc gives the threads only.
"""
import ctypes
import os

import numpy as np

_ABI, _MAX_RANK = 2, 16
_p, _i32, _i64, _text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p
_sizes = ctypes.POINTER(_i64)


# runtime/model.h

class _TensorInfo(ctypes.Structure):
    _fields_ = [("name", _text), ("dtype", _text), ("rank", _i32)]


class _DimInfo(ctypes.Structure):
    _fields_ = [("name", _text), ("lo", _i64), ("hi", _i64), ("is_result", _i32)]


class _StateInfo(ctypes.Structure):
    _fields_ = [("name", _text), ("dtype", _text), ("rank", _i32), ("is_trained", _i32), ("extents", _sizes), ("offset", _i64), ("bytes", _i64)]


class _Run(ctypes.Structure):
    _fields_ = [("parallel", _p), ("pool", _p), ("workspace", _p), ("weights", _p), ("states", _p)]


class _Model(ctypes.Structure):
    pass


class _Entry(ctypes.Structure):
    _fields_ = [("name", _text), ("model", ctypes.POINTER(_Model))]


_Model._fields_ = [
    ("abi", ctypes.c_uint32), ("name", _text), ("target", _text), ("n_inputs", _i32), ("n_outputs", _i32), ("n_dims", _i32),
    ("inputs", ctypes.POINTER(_TensorInfo)), ("outputs", ctypes.POINTER(_TensorInfo)), ("dims", ctypes.POINTER(_DimInfo)),
    ("weights_bytes", _i64), ("workspace", ctypes.CFUNCTYPE(_i64, _sizes)), ("shapes", ctypes.CFUNCTYPE(None, _sizes, _sizes)),
    ("run", ctypes.CFUNCTYPE(_i32, ctypes.POINTER(_Run), _sizes, ctypes.POINTER(_p), ctypes.POINTER(_p))),
    ("states_bytes", _i64), ("n_states", _i32), ("n_entries", _i32), ("states", ctypes.POINTER(_StateInfo)),
    ("entries", ctypes.POINTER(_Entry))]


def _aligned(n):
    raw = np.zeros(max(n, 0) + 64, np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at:at + n]


class Entry:
    """One program of a library, called with a batch: a list of arrays or a dict by name -> its outputs, a dict by name."""

    def __init__(self, library, name, model, tools):
        self.name, self._library, self._model, self._tools, self._work = name, library, model, tools, _aligned(0)
        low = [model.dims[k].lo for k in range(model.n_dims)]
        high = [min(d + 1, model.dims[k].hi) for k, d in enumerate(low)]
        a, b = self._extents(low), self._extents(high)
        shapes = [tuple(x if x == y else None for x, y in zip(*s)) for s in zip(a, b)]
        info = [model.inputs[i] for i in range(model.n_inputs)] + [model.outputs[i] for i in range(model.n_outputs)]
        infos = [tools.info(t.name.decode(), t.dtype.decode(), s) for t, s in zip(info, shapes)]
        self.inputs, self.outputs = infos[:model.n_inputs], infos[model.n_inputs:]

    def _extents(self, dims):
        """Shapes of inputs, then outputs, for these open sizes."""
        m = self._model
        ranks = [m.inputs[i].rank for i in range(m.n_inputs)] + [m.outputs[i].rank for i in range(m.n_outputs)]
        out = (_i64 * (sum(ranks) + 1))()
        m.shapes((_i64 * (len(dims) + 1))(*dims), out)
        it = iter(out)
        return [tuple(next(it) for _ in range(r)) for r in ranks]

    def _dims(self, arrays):
        """The open sizes, by what the model says of two values of each."""
        m = self._model
        dims = [m.dims[k].lo for k in range(m.n_dims)]
        low = self._extents(dims)
        found = list(dims)
        for k in range(m.n_dims):
            if m.dims[k].lo >= m.dims[k].hi:
                continue
            moved = self._extents(dims[:k] + [dims[k] + 1] + dims[k + 1:])
            for a, x, y in zip(arrays, low, moved):
                for have, u, v in zip(a.shape, x, y):
                    if v > u:
                        found[k] = dims[k] + (have - u) // (v - u)
            if not m.dims[k].lo <= found[k] <= m.dims[k].hi:
                raise self._tools.error(f"{m.dims[k].name.decode()} is {found[k]}, outside of {m.dims[k].lo}..{m.dims[k].hi}")
        return found

    def _check(self, arrays, shapes):
        if len(arrays) != len(self.inputs):
            raise self._tools.error(f"{self.name} has {len(self.inputs)} inputs: {', '.join(map(str, self.inputs))}")
        for i, a, s in zip(self.inputs, arrays, shapes):
            if self._tools.dtype_name(a) != i.dtype or a.shape != s:
                raise self._tools.error(f"{i.name}: expected {i.dtype}{list(s)}, found {a.dtype}{list(a.shape)}")

    def __call__(self, batch=()):
        m, arrays = self._model, self._tools.arrays(self.inputs, batch)
        if [a.ndim for a in arrays] != [len(i.shape) for i in self.inputs]:
            self._check(arrays, [tuple(-1 if d is None else d for d in i.shape) for i in self.inputs])
        dims = self._dims(arrays)
        shapes = self._extents(dims)
        self._check(arrays, shapes[:len(arrays)])
        sizes = (_i64 * (len(dims) + 1))(*dims)
        need = m.workspace(sizes)
        if need < 0:
            raise self._tools.error("a size is out of its bounds")
        if need > self._work.size:
            self._work = _aligned(need)
        out = [np.empty(s, i.numpy_dtype) for s, i in zip(shapes[len(arrays):], self.outputs)]
        x, y = (_p * (len(arrays) + 1))(*[a.ctypes.data for a in arrays]), (_p * (len(out) + 1))(*[a.ctypes.data for a in out])
        run = _Run(self._library._parallel, self._library._pool, self._work.ctypes.data, None, self._library.block.ctypes.data)
        if m.run(ctypes.byref(run), sizes, x, y) != 0:
            raise self._tools.error("a size is out of its bounds")
        return {i.name: a[()] for i, a in zip(self.outputs, out)}

    def __repr__(self):
        return f"{self.name}({', '.join(map(str, self.inputs))}) -> {', '.join(map(str, self.outputs))}"


class StepLibrary:
    """A training step out of a file. Made by load(). Its programs are step, grad, apply, test and init; library[path] is a parameter
    or state; block is all of them, to be copied, saved and put back."""

    def __init__(self, path, threads, tools):
        self._pool, self._tools = None, tools
        self._handle = ctypes.CDLL(os.path.abspath(os.fsdecode(path)))
        try:
            model = _Model.in_dll(self._handle, "dlc_model_v1")
        except ValueError:
            raise tools.error(f"{path}: not a library made by dlc") from None
        if model.abi != _ABI:
            raise tools.error(f"{path}: made by another version of dlc: compile it again")
        if not model.states_bytes:
            raise tools.error(f"{path}: no training step; dlc.compile() opens it")
        self.block = _aligned(model.states_bytes)
        self._states = {s.name.decode(): s for s in (model.states[i] for i in range(model.n_states))}
        self.trained = [k for k, s in self._states.items() if s.is_trained]
        self._pool = tools.pool(threads or 0) if threads is None or threads > 1 else None
        self._parallel = tools.parallel if self._pool else None
        entries = {e.name.decode(): e.model.contents for e in (model.entries[i] for i in range(model.n_entries))}
        self.step, self.grad, self.apply, self.test, self.init = (
            Entry(self, name, entries[name], tools) for name in ("step", "grad", "apply", "test", "init"))
        self.init()

    def __del__(self):
        if getattr(self, "_pool", None):
            self._tools.end_pool(self._pool)

    def keys(self):
        """The paths of parameters and states; `step` counts the updates."""
        return self._states.keys()

    def view(self, path):
        """A state where it stands: programs read and write it there."""
        s = self._states[path]
        part = self.block[s.offset:s.offset + s.bytes].view(self._tools.numpy_dtype(s.dtype.decode()))
        return part.reshape(tuple(s.extents[i] for i in range(s.rank)))

    def __getitem__(self, path):
        return self.view(path).copy()

    def __setitem__(self, path, value):
        self.view(path)[...] = value
