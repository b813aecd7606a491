#!/usr/bin/env python3
"""Write frontend/onnx/schema/standard.def: the signatures of the operators of the ONNX standard, all versions.

    scripts/onnx_standard.py > frontend/onnx/schema/standard.def      needs the `onnx` package, only here

To be run when a new opset appears; the table is then reviewed like any other source.
"""
import re

import onnx
from onnx import defs

CODES = {k.lower(): v for k, v in onnx.TensorProto.DataType.items()}
CODES["bool"] = 9
ATTR = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "FLOATS": "F", "INTS": "I", "STRINGS": "S",
        "TENSORS": "T", "GRAPHS": "G", "SPARSE_TENSOR": "p", "SPARSE_TENSORS": "P", "TYPE_PROTO": "y", "TYPE_PROTOS": "Y"}
DOMAIN = {"": "ONNX", "ai.onnx.ml": "ML", "ai.onnx.preview.training": "TRAINING", "ai.onnx.preview": "PREVIEW"}
WIDTH = 110
HEAD = '''\
/* frontend/onnx/schema/standard.def: what the ONNX standard (opset %d) says of each operator and version, one
 * a row.
 *   STANDARD(domain, name, since, state, inputs, outputs, types, attributes)
 *     since       first opset of the domain in which this row holds
 *     state       LIVE or DEPRECATED (no longer to be used from this version on)
 *     inputs      type variable of each; ? may be absent, * one or more, ~ one or more of any
 *                 mixture, *0 ~0 also none
 *     outputs     the same
 *     types       variable=mask; bit n is TensorProto.DataType n, bit 29 sequences, 30 optionals, 31 maps and
 *                 the rest
 *     attributes  name:kind; kind as i I f F s S t T g G p P y Y (capital: a list; p sparse, y type); ! must
 *                 be given
 * Facts of the standard, written by scripts/onnx_standard.py. Sorted by domain, name and version.
 */'''


def mask(types):
    m = 0
    for t in types:
        k = re.fullmatch(r"tensor\((\w+)\)", t)
        if k:
            m |= 1 << CODES[k.group(1)]
        else:
            m |= 1 << (29 if t.startswith("seq") else 30 if t.startswith("optional") else 31)
    return m


def params(ps, table):
    out = []
    for p in ps:
        v = re.sub(r"\W", "_", p.type_str)
        if not any(v == k for k in table):
            table[v] = mask(p.types)
        o = str(p.option).rsplit(".", 1)[-1]
        many = ("*" if p.is_homogeneous else "~") + ("0" if p.min_arity == 0 else "")
        out.append(v + {"Single": "", "Optional": "?"}.get(o, many))
    return " ".join(out)


def in_lines(text, width):
    """A string literal, cut at blanks into literals that are no wider."""
    lines = [""]
    for word in re.findall(r"\S+ ?", text):
        if len(lines[-1] + word) + 2 > width:
            lines.append("")
        lines[-1] += word
    return ['"%s"' % x for x in lines]


def put_row(head, *strings):
    """On one line, or what does not fit below, under the first argument."""
    line = head
    for i, s in enumerate(strings):
        end = ")" if i == len(strings) - 1 else ","
        if len(line + s) + 4 <= WIDTH:
            line += ' "%s"%s' % (s, end)
            continue
        print(line)
        *full, line = in_lines(s, WIDTH - 11)
        for x in full:
            print(" " * 9 + x)
        line = " " * 9 + line + end
    print(line)


def main():
    print(HEAD % defs.onnx_opset_version())
    rows = [s for s in defs.get_all_schemas_with_history() if s.domain in DOMAIN]
    for s in sorted(rows, key=lambda s: (s.domain, s.name, s.since_version)):
        table = {}
        ins, outs = params(s.inputs, table), params(s.outputs, table)
        types = " ".join("%s=%x" % x for x in table.items())
        attrs = " ".join("%s:%s%s" % (n, ATTR[str(a.type).rsplit(".", 1)[-1]], "!" if a.required else "")
                         for n, a in sorted(s.attributes.items()))
        state = "DEPRECATED" if s.deprecated else "LIVE"
        put_row("STANDARD(%s, %s, %d, %s," % (DOMAIN[s.domain], s.name, s.since_version, state), ins, outs, types, attrs)
    print("#undef STANDARD")


main()
