#!/usr/bin/env python3
"""million: a graph of N nodes, all different and live, through the whole compiler

    python3 tests/bars/million.py build/bin/dlc                            10^6 nodes to a .so, timed, its result checked
    python3 tests/bars/million.py build/bin/dlc --nodes=20000 --to=so,c,loop     smaller, every way

What   x <- relu(x * c_i + x), i = 1 …; every c_i differs, so nothing is common to two nodes. The constants are scalars,
       each an initializer of its own (--constants=scalar), or tensors of x's shape (--constants=tensor).
Checks compile time under --seconds and peak memory under --gb; the library's result equal to the same recurrence in
       Python in single precision.
"""
import argparse, array, ctypes, os, resource, struct, subprocess, sys, tempfile, time

WIDTH = 8


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, data):
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    if isinstance(data, str):
        data = data.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def value_info(name):
    shape = field(2, field(1, field(1, WIDTH)))
    return field(1, name) + field(2, field(1, field(1, 1) + shape))


def node(op, inputs, output):
    return field(1, b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, op))


def constant(i):
    """Of either sign, so that values neither grow nor die."""
    return ((i * 2654435761 & 0xffffffff) / 2 ** 32 - 0.5) / 16


def write(path, n_nodes, tensors):
    n = n_nodes // 3
    with open(path, "wb") as f:
        parts, weights = [], []
        x = "x"
        for i in range(n):
            y = "y" if i == n - 1 else "x%d" % i
            parts += [node("Mul", [x, "c%d" % i], "m%d" % i), node("Add", ["m%d" % i, x], "a%d" % i), node("Relu", ["a%d" % i], y)]
            data = struct.pack("<f", constant(i)) * (WIDTH if tensors else 1)
            weights.append(field(5, (field(1, WIDTH) if tensors else b"") + field(2, 1) + field(8, "c%d" % i) + field(9, data)))
            x = y
        graph = b"".join(parts) + field(2, "million") + b"".join(weights) + field(11, value_info("x")) + field(12, value_info("y"))
        f.write(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)))


def expected(n_nodes):
    def f32(v):
        return struct.unpack("<f", struct.pack("<f", v))[0]
    xs = [1.0 + k / 8 for k in range(WIDTH)]
    c = [f32(constant(i)) for i in range(n_nodes // 3)]
    for k in range(WIDTH):
        x = xs[k]
        for v in c:
            x = f32(f32(x * v) + x)            # products of f32 are exact in double: this rounds as f32 does
            x = 0.0 if x < 0 else x
        xs[k] = x
    return xs


def compile_to(dlc, model, out, limits):
    start = time.time()
    p = subprocess.Popen([dlc, "compile", model, "-o", out])
    _, status, usage = os.wait4(p.pid, 0)
    seconds, gb = time.time() - start, usage.ru_maxrss / 2 ** 20
    print("%-24s %7.2f s %7.2f s CPU %6.2f GB  %d bytes" % (os.path.basename(out), seconds, usage.ru_utime + usage.ru_stime, gb,
          os.path.getsize(out) if os.path.exists(out) else 0), flush=True)
    if status != 0:
        sys.exit("dlc failed")
    if seconds > limits[0] or gb > limits[1]:
        sys.exit("over the limit of %g s and %g GB" % limits)


class Model(ctypes.Structure):
    _fields_ = [("abi", ctypes.c_uint32), ("name", ctypes.c_char_p), ("target", ctypes.c_char_p),
                ("n_inputs", ctypes.c_int32), ("n_outputs", ctypes.c_int32), ("n_dims", ctypes.c_int32),
                ("inputs", ctypes.c_void_p), ("outputs", ctypes.c_void_p), ("dims", ctypes.c_void_p),
                ("weights_bytes", ctypes.c_int64), ("workspace", ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)),
                ("shapes", ctypes.c_void_p),
                ("run", ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p))]


def run(library, weights):
    m = Model.in_dll(ctypes.CDLL(library), "dlc_model_v1")
    work = ctypes.create_string_buffer(m.workspace(None) + 64)
    data = open(weights, "rb").read() if m.weights_bytes else b""
    held = ctypes.create_string_buffer(data, len(data) + 64)

    def aligned(b):
        return (ctypes.addressof(b) + 63) & ~63
    ctypes.memmove(aligned(held), data, len(data))
    env = (ctypes.c_void_p * 4)(None, None, aligned(work), aligned(held))
    x = array.array("f", [1.0 + k / 8 for k in range(WIDTH)])
    y = array.array("f", [0.0] * WIDTH)
    ins, outs = (ctypes.c_void_p * 1)(x.buffer_info()[0]), (ctypes.c_void_p * 1)(y.buffer_info()[0])
    start = time.time()
    if m.run(env, None, ins, outs):
        sys.exit("run failed")
    print("%-24s %9.3f ms a run" % (os.path.basename(library), 1e3 * (time.time() - start)), flush=True)
    return list(y)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("dlc")
    p.add_argument("--nodes", type=int, default=1000000)
    p.add_argument("--constants", choices=["scalar", "tensor"], default="scalar")
    p.add_argument("--to", default="so")
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--gb", type=float, default=4)
    p.add_argument("--cc", default=os.environ.get("CC", "cc"))
    o = p.parse_args()
    dlc = os.path.abspath(o.dlc)
    with tempfile.TemporaryDirectory() as d:
        model = os.path.join(d, "million.onnx")
        write(model, o.nodes, o.constants == "tensor")
        print("%d nodes, %d bytes" % (o.nodes // 3 * 3, os.path.getsize(model)), flush=True)
        want = expected(o.nodes)
        for to in o.to.split(","):
            out = os.path.join(d, "million." + to)
            if to == "loop":                                   # by the interpreter of loops
                import_x = os.path.join(d, "x.npy")
                header = ("{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }" % WIDTH).ljust(117) + "\n"
                with open(import_x, "wb") as f:
                    f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
                    f.write(struct.pack("<8f", *[1.0 + k / 8 for k in range(WIDTH)]))
                start = time.time()
                subprocess.run([dlc, "run", "--backend=loop", model, import_x, "-o", os.path.join(d, "y.npy")], check=True)
                print("%-24s %7.2f s" % ("loop interpreter", time.time() - start), flush=True)
                got = list(struct.unpack("<8f", open(os.path.join(d, "y.npy"), "rb").read()[-32:]))
            else:
                compile_to(dlc, model, out, (o.seconds, o.gb))
                library = out
                if to == "c":
                    library = os.path.join(d, "million_c.so")
                    start = time.time()
                    subprocess.run([o.cc, "-O1", "-shared", "-fPIC", "-Dmillion_SHARED", out, "-o", library], check=True)
                    print("%-24s %7.2f s by %s" % ("", time.time() - start, o.cc), flush=True)
                got = run(library, os.path.join(d, "million.bin"))
            if got != want:
                sys.exit("%s: found %s, expected %s" % (to, got, want))
    print("right")


main()
