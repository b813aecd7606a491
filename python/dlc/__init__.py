"""dlc: compile deep-learning models and run them.

    model = dlc.compile("model.onnx", threads=2)
    outputs = model.run([x, ...])

    step = dlc.train("digits.dl")           # its train block, one step at a time
    losses = step.run({"d.image": x, "d.label": y})
    step["Digits.Dense.W"]                  # parameters and states by their paths

    step = dlc.load("digits.so")            # what `dlc compile digits.dl --train` wrote
    step.step({"d.image": x, "d.label": y}) # -> {"loss": ...}; also grad, apply, test, init

A thin layer over libdlc (include/dlc/dlc.h) by ctypes.
"""
import ctypes
import os
import pathlib

import numpy as np

from dlc.library import StepLibrary

__all__ = ["compile", "compile_file", "load", "train", "Model", "Step", "StepLibrary", "Info", "Error", "UnsupportedError", "version"]

# -- The library ------------------------------------------------------------------------------------------------------

MAX_RANK = 16


class _Tensor(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int32), ("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * MAX_RANK),
                ("data", ctypes.c_void_p)]


def _find():
    """Paths to try, best first."""
    if "DLC_LIBRARY" in os.environ:
        return [os.environ["DLC_LIBRARY"]]
    here = pathlib.Path(__file__).resolve()
    built = [p / "build" / "lib" / "libdlc.so" for p in here.parents[1:4]]
    return [str(p) for p in built if p.exists()] + ["libdlc.so.0", "libdlc.so"]


def _load():
    wrong = []
    for path in _find():
        try:
            return ctypes.CDLL(path)
        except OSError as e:
            wrong.append(str(e))
    raise ImportError("libdlc is not found (build it, install it, or set DLC_LIBRARY): " + "; ".join(wrong))


_lib = _load()
_p, _size, _tensors = ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(_Tensor)
_words = ctypes.POINTER(ctypes.c_char_p)
for _name, _result, _args in [
    ("dlc_version", ctypes.c_uint32, []),
    ("dlc_context_create", _p, []),
    ("dlc_context_destroy", None, [_p]),
    ("dlc_diag_count", _size, [_p]),
    ("dlc_diag_text", ctypes.c_char_p, [_p, _size]),
    ("dlc_program_open", ctypes.c_int, [_p, ctypes.c_char_p, _words, ctypes.POINTER(_p)]),
    ("dlc_program_close", None, [_p]),
    ("dlc_program_n_inputs", _size, [_p]),
    ("dlc_program_n_outputs", _size, [_p]),
    ("dlc_program_input_name", ctypes.c_char_p, [_p, _size]),
    ("dlc_program_output_name", ctypes.c_char_p, [_p, _size]),
    ("dlc_program_input", _Tensor, [_p, _size]),
    ("dlc_program_output", _Tensor, [_p, _size]),
    ("dlc_program_prepare", ctypes.c_int, [_p, _p, _tensors, _size, _tensors, _size, ctypes.POINTER(_size)]),
    ("dlc_program_run", ctypes.c_int, [_p, _p, _tensors, _size, _tensors, _size, _p, _size, _p]),
    ("dlc_step_open", ctypes.c_int, [_p, ctypes.c_char_p, ctypes.c_char_p, _words, ctypes.POINTER(_p)]),
    ("dlc_step_close", None, [_p]),
    ("dlc_step_n_inputs", _size, [_p]),
    ("dlc_step_n_losses", _size, [_p]),
    ("dlc_step_n_variables", _size, [_p]),
    ("dlc_step_input_name", ctypes.c_char_p, [_p, _size]),
    ("dlc_step_loss_name", ctypes.c_char_p, [_p, _size]),
    ("dlc_step_variable_name", ctypes.c_char_p, [_p, _size]),
    ("dlc_step_input", _Tensor, [_p, _size]),
    ("dlc_step_variable", _Tensor, [_p, _size]),
    ("dlc_step_run", ctypes.c_int, [_p, _p, _tensors, _size, ctypes.POINTER(ctypes.c_double), _p]),
    ("dlc_compile_file", ctypes.c_int, [_p, ctypes.c_char_p, ctypes.c_char_p, _words]),
    ("dlc_pool_create", _p, [ctypes.c_int]),
    ("dlc_pool_destroy", None, [_p]),
]:
    _f = getattr(_lib, _name)
    _f.restype, _f.argtypes = _result, _args

# -- Element types: number in dlc.h, name, NumPy type that holds the bits ------------------------------------------------

_DTYPES = [None] + [(name, np.dtype(numpy)) for name, numpy in [
    ("f64", "f8"), ("f32", "f4"), ("f16", "f2"), ("bf16", "u2"), ("i64", "i8"), ("i32", "i4"), ("i16", "i2"), ("i8", "i1"),
    ("u64", "u8"), ("u32", "u4"), ("u16", "u2"), ("u8", "u1"), ("bool", "?"), ("f8e4m3fn", "u1"), ("f8e4m3fnuz", "u1"),
    ("f8e5m2", "u1"), ("f8e5m2fnuz", "u1"), ("f8e8m0", "u1"), ("f6e2m3", "u1"), ("f6e3m2", "u1"), ("f4e2m1", "u1"),
    ("u4", "u1"), ("i4", "i1"), ("u2", "u1"), ("i2", "i1")]]
_BY_KIND = {d.str.lstrip("<|="): i for i, (name, d) in reversed(list(enumerate(_DTYPES[1:], 1)))
            if name in ("f64", "f32", "f16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "bool")}
# types of the package ml_dtypes, which NumPy users have for what NumPy lacks
_ML_NAMES = {"bfloat16": "bf16", "float8_e4m3fn": "f8e4m3fn", "float8_e4m3fnuz": "f8e4m3fnuz", "float8_e5m2": "f8e5m2",
             "float8_e5m2fnuz": "f8e5m2fnuz", "float8_e8m0fnu": "f8e8m0", "float4_e2m1fn": "f4e2m1", "float6_e2m3fn": "f6e2m3",
             "float6_e3m2fn": "f6e3m2", "int4": "i4", "uint4": "u4", "int2": "i2", "uint2": "u2"}
_NUMBER = {row[0]: i for i, row in enumerate(_DTYPES) if row}


class Error(RuntimeError):
    """What dlc reports: a wrong model, option or input."""


class UnsupportedError(Error):
    """A valid model that uses something dlc has not implemented."""


class Info:
    """An input or output: name, dtype (as dlc spells it), shape with None where a size is open."""

    def __init__(self, name, tensor):
        self.name, self.dtype = name, _DTYPES[tensor.dtype][0]
        self.shape = tuple(None if d < 0 else d for d in tensor.dims[:tensor.rank])
        self.numpy_dtype = _DTYPES[tensor.dtype][1]

    def __repr__(self):
        return f"{self.name}: {self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


def version():
    v = _lib.dlc_version()
    return f"{v >> 16}.{v >> 8 & 255}.{v & 255}"


class _Context:
    """A dlc_context and what it has to say."""

    def __init__(self):
        self.p = _lib.dlc_context_create()
        if not self.p:
            raise MemoryError

    def check(self, status):
        if status == 0:
            return
        text = "\n".join(_lib.dlc_diag_text(self.p, i).decode("utf-8", "replace") for i in range(_lib.dlc_diag_count(self.p)))
        kind = MemoryError if status == 5 else UnsupportedError if status == 2 else Error
        raise kind(text or f"status {status}")

    def __del__(self):
        if getattr(self, "p", None) and _lib:
            _lib.dlc_context_destroy(self.p)


def _options(named):
    """{"dim": {"N": 8}, "no_fma": True} -> words "dim=N=8", "no-fma"."""
    words = []
    for key, x in named.items():
        name = "O" if key == "level" else key.replace("_", "-")
        if isinstance(x, dict):
            for k, v in x.items():
                v = ",".join(map(str, v)) if isinstance(v, (list, tuple)) else v
                words.append(f"{name}={k}={v}")
        elif x is True:
            words.append(name)
        elif x is not None and x is not False:
            words.append(f"{name}={','.join(x) if isinstance(x, (list, tuple)) else x}")
    return (ctypes.c_char_p * (len(words) + 1))(*[w.encode() for w in words], None)


def _as_array(x):
    """A NumPy array over x's memory where that is possible."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array_interface__"):
        return np.from_dlpack(x)
    return np.asarray(x)


def _number(a):
    """The dlc_dtype of an array's elements."""
    name = _ML_NAMES.get(a.dtype.name)
    return _NUMBER[name] if name else _BY_KIND.get(a.dtype.str.lstrip("<|="), 0)


def _fill(t, a):
    if a.ndim > MAX_RANK:
        raise Error(f"an array of {a.ndim} axes; at most {MAX_RANK} are implemented")
    t.dtype, t.rank, t.data = _number(a), a.ndim, a.ctypes.data
    t.dims[:a.ndim] = a.shape


def _arrays(infos, inputs):
    """Arrays in the order of infos, dense and aligned."""
    if isinstance(inputs, dict):
        unknown = set(inputs) - {i.name for i in infos}
        if unknown:
            raise Error(f"the model has no input {sorted(unknown)[0]}")
        inputs = [inputs[i.name] for i in infos if i.name in inputs]
    arrays = []
    for x in inputs:
        a = _as_array(x)
        if a.dtype.byteorder == ">":
            a = a.astype(a.dtype.newbyteorder("<"))
        if a.ndim and not a.flags.c_contiguous:
            a = np.ascontiguousarray(a)
        arrays.append(a if a.flags.aligned else a.copy())
    return arrays


class Model:
    """A model made ready to run. Made by compile()."""

    def __init__(self, path, threads=None, **options):
        self._program = self._pool = None
        self._context = _Context()
        program = _p()
        self._context.check(_lib.dlc_program_open(self._context.p, os.fsencode(path), _options(options), ctypes.byref(program)))
        self._program = program
        if threads is None or threads > 1:
            self._pool = _lib.dlc_pool_create(threads or 0)
        self.inputs = [Info(_lib.dlc_program_input_name(program, i).decode("utf-8", "replace"), _lib.dlc_program_input(program, i))
                       for i in range(_lib.dlc_program_n_inputs(program))]
        self.outputs = [Info(_lib.dlc_program_output_name(program, i).decode("utf-8", "replace"), _lib.dlc_program_output(program, i))
                        for i in range(_lib.dlc_program_n_outputs(program))]

    def __del__(self):
        if getattr(self, "_pool", None):
            _lib.dlc_pool_destroy(self._pool)
        if getattr(self, "_program", None):
            _lib.dlc_program_close(self._program)

    def _inputs(self, inputs):
        return _arrays(self.inputs, inputs)

    def stage(self, inputs):
        """-> (a function that does one complete run on these inputs, the list of its output arrays)."""
        arrays = self._inputs(inputs)
        n_in, n_out = len(arrays), len(self.outputs)
        x, y, work_bytes = (_Tensor * max(n_in, 1))(), (_Tensor * max(n_out, 1))(), _size()
        for t, a in zip(x, arrays):
            _fill(t, a)
        ctx, program, pool = self._context, self._program, self._pool
        ctx.check(_lib.dlc_program_prepare(ctx.p, program, x, n_in, y, n_out, ctypes.byref(work_bytes)))
        out = []
        for t in y[:n_out]:
            out.append(np.empty(tuple(t.dims[:t.rank]), _DTYPES[t.dtype][1]))
            t.data = out[-1].ctypes.data
        for k in range(n_out):
            y[k].data = out[k].ctypes.data
        work = np.empty(work_bytes.value + 64, np.uint8)
        at = (work.ctypes.data + 63) & ~63
        run, check = _lib.dlc_program_run, ctx.check

        def once(keep=(self, arrays, work)):
            check(run(ctx.p, program, x, n_in, y, n_out, at, work_bytes.value, pool))

        def sized():
            """Outputs cut to the sizes that the run found."""
            return [a if a.shape == tuple(t.dims[:t.rank]) else
                    a.ravel()[:int(np.prod(t.dims[:t.rank]))].reshape(t.dims[:t.rank]) for a, t in zip(out, y)]

        once.outputs = sized
        return once, out

    def run(self, inputs):
        """inputs: a list of arrays, or a dict by name -> a list of NumPy arrays."""
        once, _ = self.stage(inputs)
        once()
        return once.outputs()

    __call__ = run


class Step:
    """The step of a train block, compiled. Made by train(). step[path] is a parameter or state, by its path."""

    def __init__(self, path, block=None, threads=None, **options):
        self._step = self._pool = None
        self._context = _Context()
        step = _p()
        self._context.check(_lib.dlc_step_open(self._context.p, os.fsencode(path), block.encode() if block else None,
                                               _options(options), ctypes.byref(step)))
        self._step = step
        if threads is None or threads > 1:
            self._pool = _lib.dlc_pool_create(threads or 0)
        self.inputs = [Info(_lib.dlc_step_input_name(step, i).decode(), _lib.dlc_step_input(step, i))
                       for i in range(_lib.dlc_step_n_inputs(step))]
        self.losses = [_lib.dlc_step_loss_name(step, i).decode() for i in range(_lib.dlc_step_n_losses(step))]
        self._index = {_lib.dlc_step_variable_name(step, i).decode(): i for i in range(_lib.dlc_step_n_variables(step))}

    def __del__(self):
        if getattr(self, "_pool", None):
            _lib.dlc_pool_destroy(self._pool)
        if getattr(self, "_step", None):
            _lib.dlc_step_close(self._step)

    def keys(self):
        """The paths of parameters and states."""
        return self._index.keys()

    def _view(self, path):
        t = _lib.dlc_step_variable(self._step, self._index[path])
        shape, kind = tuple(t.dims[:t.rank]), _DTYPES[t.dtype][1]
        size = int(np.prod(shape)) * kind.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(t.data), kind).reshape(shape)

    def __getitem__(self, path):
        return self._view(path).copy()

    def __setitem__(self, path, value):
        self._view(path)[...] = value

    def stage(self, batches):
        """-> a function that does one step on each of the batches and gives their losses, [batch][loss]. The arrays are
        read where they lie, each time."""
        arrays = [_arrays(self.inputs, b) for b in batches]
        for b in arrays:
            if len(b) != len(self.inputs):
                raise Error(f"a batch has {len(self.inputs)} inputs: {', '.join(map(str, self.inputs))}")
        flat = [a for b in arrays for a in b]
        x, n = (_Tensor * max(len(flat), 1))(), len(batches)
        for t, a in zip(x, flat):
            _fill(t, a)
        width = len(self.losses)
        losses = np.empty((n, width))
        at = losses.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        ctx, step, pool, run, check = self._context, self._step, self._pool, _lib.dlc_step_run, self._context.check

        def steps(keep=(self, flat, losses)):
            check(run(ctx.p, step, x, n, at, pool))
            return losses
        return steps

    def run(self, batch):
        """One step on a batch: a list of arrays, or a dict by name -> the losses before it."""
        return self.stage([batch])()[0].tolist()

    __call__ = run


def train(path, block=None, threads=None, **options):
    """Make the step of a train block of a .dl file ready; batches are the caller's, of the sizes that the block's data give.

    block     its name; None: the only one
    options   as of compile(), and set={"units": 64} for constants of the file
    """
    return Step(path, block, threads, **options)


def compile(path, threads=None, **options):
    """Make a model (.onnx, .dl, or a .so that dlc wrote) ready to run.

    threads   to run on; None: $DLC_NUM_THREADS or all processors
    options   as on the command line: backend="jit", dim={"batch": 8}, bind={"shape": [1, 2]}, no_fma=True, level=2, cpu="haswell"
    """
    return Model(path, threads, **options)


def compile_file(path, output, **options):
    """Compile a model to a file, by its ending: .so, .o, .a, .ll, .s, .h."""
    ctx = _Context()
    ctx.check(_lib.dlc_compile_file(ctx.p, os.fsencode(path), os.fsencode(output), _options(options)))


class _Tools:
    """What library.py needs of this module."""

    error, arrays = Error, staticmethod(_arrays)
    pool, end_pool = staticmethod(lambda n: _lib.dlc_pool_create(n)), staticmethod(lambda p: _lib.dlc_pool_destroy(p))
    parallel = ctypes.cast(_lib.dlc_parallel, _p).value

    @staticmethod
    def numpy_dtype(name):
        return _DTYPES[_NUMBER[name]][1]

    @staticmethod
    def dtype_name(array):
        row = _DTYPES[_number(array)]
        return row and row[0]

    @staticmethod
    def info(name, dtype, shape):
        t = _Tensor(dtype=_NUMBER[dtype], rank=len(shape))
        t.dims[:len(shape)] = [-1 if d is None else d for d in shape]
        return Info(name, t)


def load(path, threads=None):
    """Open a library that `dlc compile FILE --train -o path` wrote, at its first values.

    threads   to run on; None: $DLC_NUM_THREADS or all processors
    """
    return StepLibrary(path, threads, _Tools)
