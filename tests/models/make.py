#!/usr/bin/env python3
"""Makes the small ONNX models of this folder:  python3 tests/models/make.py [NAME...]   (needs the package onnx)

The files are committed, so nobody needs this script to run the tests. Weights are from a generator of our own, so that
the same script gives the same files on every machine. Each model is under 50 KB and has what its comment says.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

HERE = Path(__file__).resolve().parent
MODELS = {}


class Net:
    """Collects nodes and weights; every op returns the name of its first output."""

    def __init__(self, name, opset=21):
        self.name, self.opset, self.nodes, self.init, self.inputs, self.outputs = name, opset, [], [], [], []
        self.state, self.count = 88172645463325252, 0

    def uniform(self, shape, scale=1.0):
        n, out = int(np.prod(shape)), np.empty(int(np.prod(shape)))
        for i in range(n):                                   # xorshift64
            x = self.state
            x ^= (x << 13) & (2**64 - 1)
            x ^= x >> 7
            x ^= (x << 17) & (2**64 - 1)
            self.state = x
            out[i] = (x >> 11) / 2.0**53
        return ((out * 2 - 1) * scale).reshape(shape)

    def input(self, name, shape, dtype=T.FLOAT):
        self.inputs.append(h.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value, name, shape, dtype=T.FLOAT):
        self.nodes.append(h.make_node('Identity', [value], [name]))
        self.outputs.append(h.make_tensor_value_info(name, dtype, shape))

    def const(self, array, dtype=None):
        self.count += 1
        name = f'w{self.count}'
        self.init.append(nh.from_array(np.asarray(array, dtype or np.float32), name))
        return name

    def weight(self, *shape, dtype=np.float32):
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        return self.const(self.uniform(shape, fan ** -0.5), dtype)

    def op(self, kind, *ins, n_out=1, **attrs):
        self.count += 1
        outs = [f'v{self.count}' if i == 0 else f'v{self.count}_{i}' for i in range(n_out)]
        self.nodes.append(h.make_node(kind, list(ins), outs, name=f'{kind}_{self.count}', **attrs))
        return outs[0] if n_out == 1 else outs

    def save(self):
        g = h.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.init)
        m = h.make_model(g, opset_imports=[h.make_opsetid('', self.opset)], ir_version=10, producer_name='tests/models/make.py')
        onnx.checker.check_model(m, full_check=True)
        data = m.SerializeToString()
        assert len(data) < 50_000, f'{self.name}: {len(data)} bytes'
        (HERE / f'{self.name}.onnx').write_bytes(data)
        print(f'{self.name}.onnx {len(data)} bytes')


def model(f):
    MODELS[f.__name__] = f
    return f


@model
def convnet():
    """24 and 20 channels (no multiple of 16), BatchNormalization, depthwise, residual, strides, poolings, transposed."""
    n = Net('convnet')
    x = n.input('x', [1, 3, 14, 14])

    def bn(v, c):
        one = n.const(1 + n.uniform([c], 0.25))
        var = n.const(1 + n.uniform([c], 0.5))
        return n.op('BatchNormalization', v, one, n.weight(c), n.weight(c), var)

    a = n.op('Relu', bn(n.op('Conv', x, n.weight(24, 3, 3, 3), pads=[1] * 4), 24))
    b = n.op('Relu', bn(n.op('Conv', a, n.weight(24, 1, 3, 3), group=24, pads=[1] * 4), 24))
    c = n.op('Add', bn(n.op('Conv', b, n.weight(24, 24, 1, 1)), 24), a)
    d = n.op('MaxPool', n.op('Relu', c), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    e = n.op('Clip', n.op('Conv', d, n.weight(20, 12, 3, 3), n.weight(20), group=2, strides=[2, 2], pads=[1] * 4), n.const(0.0), n.const(6.0))
    f = n.op('ConvTranspose', e, n.weight(20, 8, 3, 3), n.weight(8), strides=[2, 2], pads=[1] * 4, output_padding=[0, 0])
    g = n.op('Sigmoid', n.op('Conv', f, n.weight(16, 8, 3, 3), dilations=[2, 2], pads=[2] * 4))
    i = n.op('AveragePool', g, kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0])
    j = n.op('Flatten', n.op('GlobalAveragePool', i))
    n.output(n.op('Softmax', n.op('Gemm', j, n.weight(10, 16), n.weight(10), transB=1)), 'p', [1, 10])
    n.output(f, 'up', [1, 8, 7, 7])
    n.save()


@model
def lstm():
    """LSTM in both directions with lengths, GRU over it, RNN; time major."""
    n = Net('lstm')
    x, lens = n.input('x', [6, 2, 10]), n.input('lens', [2], T.INT32)
    y = n.op('LSTM', x, n.weight(2, 32, 10), n.weight(2, 32, 8), n.weight(2, 64), lens, hidden_size=8, direction='bidirectional')
    y = n.op('Reshape', n.op('Transpose', y, perm=[0, 2, 1, 3]), n.const([6, 2, 16], np.int64))
    z = n.op('GRU', y, n.weight(1, 36, 16), n.weight(1, 36, 12), n.weight(1, 72), hidden_size=12, linear_before_reset=1)
    z = n.op('Squeeze', z, n.const([1], np.int64))
    r, last = n.op('RNN', z, n.weight(1, 5, 12), n.weight(1, 5, 5), hidden_size=5, direction='reverse', n_out=2)
    n.output(r, 'r', [6, 1, 2, 5])
    n.output(last, 'last', [1, 2, 5])
    n.save()


@model
def attention():
    """Token embedding, two heads with a mask, LayerNormalization, Gelu; batch B and length L are open."""
    n = Net('attention')
    d, heads = 24, 2
    ids, mask = n.input('ids', ['B', 'L'], T.INT64), n.input('mask', ['B', 'L'], T.INT64)
    pos = n.weight(128, d)
    length = n.op('Gather', n.op('Shape', ids), n.const(1, np.int64))
    x = n.op('Add', n.op('Gather', n.weight(50, d), ids),
             n.op('Slice', pos, n.const([0], np.int64), n.op('Unsqueeze', length, n.const([0], np.int64)), n.const([0], np.int64)))
    x = n.op('LayerNormalization', x, n.const(1 + n.uniform([d], 0.2)), n.weight(d), epsilon=1e-6)
    split = n.const([0, 0, heads, d // heads], np.int64)

    def head(v, perm):
        return n.op('Transpose', n.op('Reshape', n.op('Add', n.op('MatMul', v, n.weight(d, d)), n.weight(d)), split), perm=perm)

    q, k, v = head(x, [0, 2, 1, 3]), head(x, [0, 2, 3, 1]), head(x, [0, 2, 1, 3])
    s = n.op('Div', n.op('MatMul', q, k), n.const((d // heads) ** 0.5))
    hide = n.op('Mul', n.op('Sub', n.const(1.0), n.op('Cast', n.op('Unsqueeze', mask, n.const([1, 2], np.int64)), to=T.FLOAT)), n.const(-1e9))
    p = n.op('Softmax', n.op('Add', s, hide), axis=-1)
    o = n.op('Reshape', n.op('Transpose', n.op('MatMul', p, v), perm=[0, 2, 1, 3]), n.const([0, 0, d], np.int64))
    x = n.op('LayerNormalization', n.op('Add', x, n.op('MatMul', o, n.weight(d, d))), n.const(np.ones(d)), n.weight(d))
    f = n.op('MatMul', n.op('Gelu', n.op('MatMul', x, n.weight(d, 2 * d))), n.weight(2 * d, d))
    x = n.op('Add', x, f)
    n.output(x, 'y', ['B', 'L', d])
    n.output(n.op('Tanh', n.op('ReduceMean', x, n.const([1], np.int64), keepdims=0)), 'pooled', ['B', d])
    n.save()


@model
def int8():
    """A quantized convolution and product, as QLinearConv, as Q/DQ pairs and as MatMulInteger."""
    n = Net('int8')
    x = n.input('x', [1, 3, 9, 9])
    s, z = n.const(0.02), n.const(128, np.uint8)
    q = n.op('QuantizeLinear', x, s, z)

    def whole(*shape, dtype=np.int8):
        return n.const(np.round(n.uniform(shape, 127)), dtype)

    ws, wz = n.const(0.004 + np.abs(n.uniform([24], 0.004))), n.const(np.zeros(24), np.int8)
    c = n.op('QLinearConv', q, s, z, whole(24, 3, 3, 3), ws, wz, n.const(0.05), n.const(100, np.uint8), whole(24, dtype=np.int32), pads=[1] * 4, strides=[2, 2])
    f = n.op('DequantizeLinear', c, n.const(0.05), n.const(100, np.uint8))
    w = n.op('DequantizeLinear', whole(16, 24, 1, 1), n.const(0.01), n.const(0, np.int8))
    g = n.op('QuantizeLinear', n.op('Relu', n.op('Conv', f, w)), n.const(0.1), n.const(0, np.uint8))
    t = n.op('Reshape', g, n.const([25, 16], np.int64))
    m = n.op('MatMulInteger', t, whole(16, 10), n.const(3, np.uint8), n.const(-2, np.int8))
    n.output(m, 'm', [25, 10], T.INT32)
    n.output(n.op('QLinearMatMul', t, n.const(0.1), n.const(0, np.uint8), whole(16, 6), n.const(0.01), n.const(1, np.int8), n.const(0.5), n.const(120, np.uint8)),
             'u', [25, 6], T.UINT8)
    n.save()


@model
def half():
    """f16: convolution, product, softmax, LayerNormalization, casts to bf16 and back."""
    n = Net('half')
    f16 = np.float16
    x = n.input('x', [1, 5, 8, 8], T.FLOAT16)
    a = n.op('Relu', n.op('Conv', x, n.weight(18, 5, 3, 3, dtype=f16), n.weight(18, dtype=f16)))
    b = n.op('Reshape', a, n.const([18, 36], np.int64))
    c = n.op('MatMul', b, n.weight(36, 33, dtype=f16))
    d = n.op('LayerNormalization', c, n.const(np.ones(33), f16), n.weight(33, dtype=f16))
    e = n.op('Cast', n.op('Mul', n.op('Cast', d, to=T.BFLOAT16), n.op('Cast', d, to=T.BFLOAT16)), to=T.FLOAT)
    n.output(n.op('Softmax', d), 'p', [18, 33], T.FLOAT16)
    n.output(n.op('ReduceSum', e, n.const([0], np.int64), keepdims=0), 's', [33])
    n.save()


@model
def select():
    """TopK, ArgMax, sort order with ties and NaN, GatherElements, ScatterElements, ScatterND, OneHot, CumSum, Where."""
    n = Net('select')
    x, i = n.input('x', [5, 40]), n.input('i', [5, 7], T.INT64)
    v, k = n.op('TopK', x, n.const([9], np.int64), n_out=2)
    n.output(v, 'top', [5, 9])
    n.output(k, 'at', [5, 9], T.INT64)
    n.output(n.op('ArgMax', x, axis=0, keepdims=0), 'arg', [40], T.INT64)
    g = n.op('GatherElements', x, i, axis=1)
    n.output(g, 'g', [5, 7])
    n.output(n.op('ScatterElements', x, i, g, axis=1, reduction='add'), 's', [5, 40])
    n.output(n.op('ScatterND', x, n.const([[0, 1], [4, 39], [0, 1]], np.int64), n.const([1.0, 2.0, 3.0])), 'nd', [5, 40])
    n.output(n.op('CumSum', x, n.const(1, np.int64)), 'c', [5, 40])
    n.output(n.op('Gather', n.op('Where', n.op('Less', x, n.const(0.0)), n.op('Neg', x), x), n.const([3, 0, -1], np.int64), axis=1), 'w', [5, 3])
    n.output(n.op('Resize', n.op('Unsqueeze', x, n.const([0, 1], np.int64)), '', n.const([1.0, 1.0, 2.0, 0.5]), mode='linear'), 'r', [1, 1, 10, 20])
    n.save()


@model
def control():
    """If whose branches differ, Loop with a condition that data decide and a stacked output, Scan with a capture."""
    n = Net('control')
    x, c = n.input('x', [8]), n.input('c', [], T.BOOL)
    f = lambda name, shape, t=T.FLOAT: h.make_tensor_value_info(name, t, shape)
    yes = h.make_graph([h.make_node('Exp', ['x'], ['yes'])], 'then', [], [f('yes', [8])])
    no = h.make_graph([h.make_node('Neg', ['x'], ['t']), h.make_node('Mul', ['t', 'x'], ['no'])], 'else', [], [f('no', [8])])
    n.output(n.op('If', c, then_branch=yes, else_branch=no), 'if', [8])
    half, limit = n.const(0.5), n.const(0.125)
    body = h.make_graph([h.make_node('Mul', ['v', half], ['next']), h.make_node('ReduceMax', ['next'], ['m'], keepdims=0),
                         h.make_node('Greater', ['m', limit], ['go1'])],
                        'loop', [f('step', [], T.INT64), f('go', [], T.BOOL), f('v', [8])], [f('go1', [], T.BOOL), f('next', [8])])
    n.output(n.op('Loop', n.const(12, np.int64), n.const(True, np.bool_), x, body=body), 'loop', [8])
    w = n.weight(4, 4)
    step = h.make_graph([h.make_node('MatMul', ['s', w], ['sw']), h.make_node('Add', ['sw', 'e'], ['a']), h.make_node('Tanh', ['a'], ['s1']),
                         h.make_node('Identity', ['s1'], ['y1'])], 'scan', [f('s', [4]), f('e', [4])], [f('s1', [4]), f('y1', [4])])
    s, ys = n.op('Scan', n.const(np.zeros(4)), n.op('Reshape', x, n.const([2, 4], np.int64)), body=step, num_scan_inputs=1, n_out=2)
    n.output(s, 'state', [4])
    n.output(ys, 'states', [2, 4])
    n.save()


if __name__ == '__main__':
    for name in sys.argv[1:] or MODELS:
        MODELS[name]()
