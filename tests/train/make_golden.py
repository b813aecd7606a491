#!/usr/bin/env python3
"""Makes golden.txt: the losses of 50 steps of the networks of this folder, by PyTorch in float32.

usage: make_golden.py > golden.txt          (needs torch and numpy)

A line a network and optimizer: their names, the torch version's losses. Weights and batches come from a hash of their
names, so that any program can make the same ones (test_torch.c does): element i of NAME is

    u(NAME, i) = mix(fnv1a(NAME) + i * 0x9E3779B9) >> 8, as k / 2^23 - 1 in [-1, 1)

times 0.4 for parameters of two or more axes, 0.1 for vectors, 1 + 0.1 u for gains; inputs x0 … x4 are 1.5 u, labels and tokens
k mod their number. The five batches come round ten times.
"""
import sys
import numpy as np
import torch
import torch.nn.functional as F

STEPS, BATCHES = 50, 5


def bits(name, n):
    h = 0x811C9DC5
    for c in name.encode():
        h = (h ^ c) * 0x01000193 & 0xFFFFFFFF
    x = (np.uint64(h) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B9)) & np.uint64(0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x ^= x >> np.uint64(shift)
        x = x * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    return (x ^ (x >> np.uint64(16))) >> np.uint64(8)


def floats(name, shape, scale, base=0.0):
    u = bits(name, int(np.prod(shape))).astype(np.float64) / 2 ** 23 - 1
    return torch.from_numpy((base + scale * u).astype(np.float32).reshape(shape))


def whole(name, shape, below):
    return torch.from_numpy((bits(name, int(np.prod(shape))) % below).astype(np.int64).reshape(shape))


def parameters(shapes):
    p = {}
    for name, shape in shapes.items():
        v = floats(name, shape, 0.1, 1.0) if name.endswith(".gain") else floats(name, shape, 0.4 if len(shape) > 1 else 0.1)
        p[name] = torch.nn.Parameter(v)
    return p


def dense(p, name, x):
    return x @ p[name + ".W"] + p[name + ".b"]


def mlp(p, x):
    x = torch.tanh(dense(p, "Net.Dense", x))
    return dense(p, "Net.Dense_3", torch.relu(dense(p, "Net.Dense_2", x)))


def cnn(p, x):
    def norm(name, v):
        return F.relu(F.batch_norm(v, None, None, p[name + ".gain"], p[name + ".bias"], True, 0.1, 1e-5))
    y = F.max_pool2d(norm("Net.BatchNorm", F.conv2d(x, p["Net.Conv2D.W"], padding=1)), 2)
    y = norm("Net.BatchNorm_2", F.conv2d(y, p["Net.Conv2D_2.W"], p["Net.Conv2D_2.b"], padding=1))
    return dense(p, "Net.Dense", y.mean((2, 3)))


def gru(p, x):
    """The hidden bias of a GRU here is that of the candidate alone."""
    hidden = torch.cat([torch.zeros(32), p["Net.GRU.c"]])
    w = [p["Net.GRU.W"].T.contiguous(), p["Net.GRU.U"].T.contiguous(), p["Net.GRU.b"], hidden]
    h = torch.gru(x, torch.zeros(1, x.shape[0], 16), w, True, 1, 0.0, True, False, True)[1]
    return dense(p, "Net.Dense", h[0])


def lstm(p, x):
    """The forget gate's bias begins at 1 more."""
    one = torch.cat([torch.zeros(16), torch.ones(16), torch.zeros(32)])
    w = [p["Net.LSTM.W"].T.contiguous(), p["Net.LSTM.U"].T.contiguous(), p["Net.LSTM.b"], one]
    zero = torch.zeros(1, x.shape[0], 16)
    h = torch.lstm(x, (zero, zero), w, True, 1, 0.0, True, False, True)[1]
    return dense(p, "Net.Dense", h[0])


def transformer(p, x):
    def norm(name, v):
        return F.layer_norm(v, [16], p[name + ".gain"], p[name + ".bias"], 1e-5)
    y = p["Net.Embedding.W"][x] + p["Net.LearnedPositions.W"]
    for block in ("Net.TransformerBlock", "Net.TransformerBlock_2"):
        z, m = norm(block + ".LayerNorm", y), block + ".MultiHeadAttention.Dense"
        q, k, v = (dense(p, m + part, z).view(*x.shape, 2, 8).transpose(1, 2) for part in ("", "_2", "_3"))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(*x.shape, 16)
        y = y + dense(p, m + "_4", a)
        y = y + dense(p, block + ".Dense_2", F.gelu(dense(p, block + ".Dense", norm(block + ".LayerNorm_2", y))))
    return dense(p, "Net.Dense", norm("Net.LayerNorm", y))


def both(name, i, o):
    return {name + ".W": (i, o), name + ".b": (o,)}


def normed(name, n):
    return {name + ".gain": (n,), name + ".bias": (n,)}


def block_shapes(b):
    s = normed(b + ".LayerNorm", 16) | normed(b + ".LayerNorm_2", 16)
    for part in ("", "_2", "_3", "_4"):
        s |= both(b + ".MultiHeadAttention.Dense" + part, 16, 16)
    return s | both(b + ".Dense", 16, 32) | both(b + ".Dense_2", 32, 16)


# network: function, shapes of its parameters, shape of x, tokens of x (0: floats), shape of y, classes
NETS = {
    "mlp": (mlp, both("Net.Dense", 20, 32) | both("Net.Dense_2", 32, 24) | both("Net.Dense_3", 24, 5), (16, 20), 0, (16,), 5),
    "cnn": (cnn, {"Net.Conv2D.W": (8, 2, 3, 3), "Net.Conv2D_2.W": (16, 8, 3, 3), "Net.Conv2D_2.b": (16,)}
            | normed("Net.BatchNorm", 8) | normed("Net.BatchNorm_2", 16) | both("Net.Dense", 16, 5), (8, 2, 10, 10), 0, (8,), 5),
    "gru": (gru, {"Net.GRU.W": (6, 48), "Net.GRU.U": (16, 48), "Net.GRU.b": (48,), "Net.GRU.c": (16,)} | both("Net.Dense", 16, 5),
            (8, 12, 6), 0, (8,), 5),
    "lstm": (lstm, {"Net.LSTM.W": (6, 64), "Net.LSTM.U": (16, 64), "Net.LSTM.b": (64,)} | both("Net.Dense", 16, 5),
             (8, 12, 6), 0, (8,), 5),
    "transformer": (transformer, {"Net.Embedding.W": (17, 16), "Net.LearnedPositions.W": (10, 16)}
                    | block_shapes("Net.TransformerBlock") | block_shapes("Net.TransformerBlock_2")
                    | normed("Net.LayerNorm", 16) | both("Net.Dense", 16, 17), (4, 10), 17, (4, 10), 17),
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.005),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.005, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.002, alpha=0.9, eps=1e-7),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02),
}


def curve(net, optimizer):
    f, shapes, x_shape, tokens, y_shape, classes = NETS[net]
    p = parameters(shapes)
    opt = OPTIMIZERS[optimizer](list(p.values()))
    losses = []
    for k in range(STEPS):
        b = k % BATCHES
        x = whole(f"x{b}", x_shape, tokens) if tokens else floats(f"x{b}", x_shape, 1.5)
        y = whole(f"y{b}", y_shape, classes)
        opt.zero_grad()
        z = f(p, x)
        loss = F.cross_entropy(z.reshape(-1, classes), y.reshape(-1))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def main():
    torch.set_num_threads(1)
    print(f"# made by make_golden.py with torch {torch.__version__}: network, optimizer, {STEPS} losses")
    for net in NETS:
        for optimizer in OPTIMIZERS:
            print(net, optimizer, " ".join(f"{v:.7g}" for v in curve(net, optimizer)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
