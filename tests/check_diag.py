#!/usr/bin/env python3
"""Messages as users see them: a case for each row of base/diag/*.def that no other test names.

A case gives what provokes the row, and the whole message with its hint. A row is covered by a case here, by its id or its
text in another test, or by a line of NOT_PROVOKED that says why nothing can. A row without any of these fails the test.
$DLC is the command.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DLC = os.environ.get("DLC", str(ROOT / "build/bin/dlc"))
os.environ.setdefault("DLC_CACHE_DIR", "")       # nothing into the user's home
DIGITS = ROOT / "examples/digits/digits.onnx"
TEXT_IN_TESTS = (".test", ".c", ".py", ".txt", ".dl")

NOT_PROVOKED = {
    "llvm": "LLVM refuses a module: a bug of dlc",
    "no_backend": "libdlc-llvm.so is missing: check_install moves the tree, a build without LLVM skips",
    "linker": "needs a machine without a linker",
    "onnx_decode": "test_import makes every allocation fail in turn",
    "eval_depth": "the parser of texts and the importer stop at less",
    "no_codegen": "what a graph can hold is lowered; programs written by hand may hold more",
    "eval_shape": "sizes that the verifier proves; left for texts of graphs with open sizes",
    "run_work": "only through the C interface: test_api",
    "lang_unclosed": "the bracket that was never closed is told instead",
    "lang_no_onnx_models": "the api installs the reader of models",
    "lang_no_onnx_operators": "the api installs the operators",
    "lang_no_gradients": "the api installs the gradient",
    "lang_no_data_sets": "the api installs the evaluator",
    "lang_no_tensor_files": "the api installs the reader of tensors",
    "lang_storage_only": "NumPy's files have no types that are only stored",
    "lang_loop_not_built": "what the builder asks of a loop is checked before",
    "lang_program_too_deep": "the parser and calls stop at less",
    "lang_cannot_stand_here": "the parser makes no such tree",
    "lang_library_missing": "a definition of the library is missing: a bug of dlc",
    "lang_rest_index_unknown": "a part of a tensor is refused before",
    "lang_rest_index_twice": "a part of a tensor is refused before",
    "lang_list_subscript_count": "several subscripts make a tensor of the list",
}


# -- ONNX files, by a protobuf writer of a few lines ---------------------------------------------------------------------

def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(*fields):
    out = b""
    for number, v in fields:
        if isinstance(v, int):
            out += varint(number << 3) + varint(v)
        else:
            v = v.encode() if isinstance(v, str) else v
            out += varint(number << 3 | 2) + varint(len(v)) + v
    return out


F32, I64, F64, STRING = 1, 7, 11, 8


def typed(name, *dims, dtype=F32):
    shape = message(*[(1, message((1, d) if isinstance(d, int) else (2, d))) for d in dims])
    return message((1, name), (2, message((1, message((1, dtype), (2, shape))))))


def node(op, ins, out, *attributes):
    return message(*[(1, i) for i in ins.split()], (2, out), (3, out + "_node"), (4, op), *[(5, a) for a in attributes])


def ints(name, *values):
    return message((1, name), *[(8, v) for v in values], (20, 7))


def model(*nodes, inputs=(typed("x", 2, 3),), outputs=(typed("y", 2, 3),), extra=(), ir=8, opset=17):
    graph = message(*[(1, n) for n in nodes], (2, "g"), *extra, *[(11, i) for i in inputs], *[(12, o) for o in outputs])
    return message((1, ir), (7, graph), (8, message((2, opset))))


def tensor(*dims):
    """Zeros, as a TensorProto."""
    n = 1
    for d in dims:
        n *= d
    return message(*[(1, d) for d in dims], (2, F32), (9, bytes(4 * n)))


def external(location):
    """The initializer w[2, 3] in another file."""
    entry = message((1, "location"), (2, location))
    return (5, message((1, 2), (1, 3), (2, F32), (8, "w"), (13, entry), (14, 1)))


# -- Cases: row, command, files, exit code, message with hint ---------------------------------------------------------------

def npy(sizes):
    n = 1
    for s in sizes:
        n *= s
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({', '.join(map(str, sizes))},), }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(4 * n)


def graph(body, head="%x: f32[2, 3]"):
    return f"graph @g({head}) {{\n{body}\n}}\n"


RELU = graph("  %0 = map relu %x : f32[2, 3]\n  return %0")
MATMUL_OPEN = model(node("Concat", "w w", "c", message((1, "axis"), (3, 0), (20, 2))), node("MatMul", "x c", "y"), inputs=[typed("x", "N", "M"), typed("w", "K", 4)], outputs=[typed("y", "N", 4)])
KERNEL = graph("  %0 = kernel map %x : f32[2, 3] body(%0: f32[2, 3]) {\n    %1 = map relu %0 : f32[2, 3]\n    return %1\n  }\n  return %0")
TWO = "symbol N in 1..8\n" + graph("  %0 = map add %x, %z : f32[N, 3]\n  return %0", "%x: f32[N, 3], %z: f32[N, 3]")
MEANS = "symbol N in 1..8\n" + graph("  %0 = map exp %x : f32[N, 3]\n  %1 = reduce sum %0, [0] : f32[3]\n  %2 = reshape %1, [1, 3] : f32[1, 3]\n"
                                     "  %3 = map sub %0, %2 : f32[N, 3]\n  return %3", "%x: f32[N, 3]")
OPEN = "symbol N in 1..8\n" + graph("  %0 = map relu %x : f32[N, 3]\n  return %0", "%x: f32[N, 3]")

CASES = [
    ("cannot_read", "opt no.graph", {}, 1, "no.graph: error: cannot read the file: No such file or directory\n  hint: check the path"),
    ("cannot_write", "run g.graph --zero-inputs --backend=eval -o no/y.npz", {"g.graph": RELU}, 1,
     "no/y.npz: error: cannot write the file: No such file or directory\n  hint: check the path, and the space left"),
    ("cannot_read", "inspect dir", {"dir/note.txt": ""}, 1, "dir: error: cannot read the file: Is a directory"),
    ("not_a_model", "inspect x.npy", {"x.npy": "npy 2 3"}, 1,
     "x.npy: error: expected a model (a file .onnx or .dl, or the text of a graph), found other data\n  hint: tensors come after"),
    ("ops_unknown", "ops Frobnicate", {}, 1, "error: no ONNX operator has Frobnicate in its name\n  hint: `dlc ops` lists"),
    ("not_npy", "run g.graph x.npy --backend=eval", {"g.graph": RELU, "x.npy": "hello"}, 1,
     "x.npy: error: expected an npy file, found other data\n  hint: numpy.save"),
    ("output_ending", "compile g.graph -o a.xyz", {"g.graph": RELU}, 2,
     "error: --output ends in one of .so, .o, .a, .ll, .s, .h, .c; found a.xyz\n  hint: `dlc compile --emit=KIND`"),
    ("run_refused", "run a.so --zero-inputs", {}, 1, "a.so: error: the model cannot be run: ./a.so: cannot open shared object file"),
    ("command_unknown", "complie", {}, 2, "error: no command named complie; did you mean compile?\n  hint: `dlc --help` lists the commands"),
    ("option_unknown", "run --backnd=eval x", {}, 2,
     "error: dlc run has no option --backnd; did you mean --backend?\n  hint: `dlc COMMAND --help` lists the options"),
    ("option_value", "opt --dim=N= g.graph", {"g.graph": RELU}, 2, "error: --dim "),
    ("option_choice", "run --backend=evil g.graph", {"g.graph": RELU}, 2, "error: --backend takes one of eval|loop|jit|so|c, found evil"),
    ("option_number", "run --threads=zero --zero-inputs g.graph", {"g.graph": RELU}, 2,
     "error: --threads takes a whole number in 1..1024, found zero"),
    ("run_inputs", "test case", {"case/model.onnx": model(node("Relu", "x", "y")), "case/test_data_set_0/input_9.pb": b""}, 3,
     "case/test_data_set_0: error: the model has 1 inputs, 0 are given\n  hint: `dlc inspect` lists them"),
    ("run_dim", "run g.graph x.npy --backend=jit", {"g.graph": OPEN, "x.npy": "npy 9 3"}, 1,
     "error: the size N is 1 to 8 in this model, found 9\n  hint: compile again with other --dim"),
    ("run_size", "run g.graph x.npy z.npy --backend=jit",
     {"g.graph": "symbol N in 1..8\n" + graph("  %0 = slice %z, start [0, 0], size [N, 3] : f32[N, 3]\n  %1 = map add %x, %0 : f32[N, 3]\n  return %1",
                                              "%x: f32[N, 3], %z: f32[N + 1, 3]"), "x.npy": "npy 2 3", "z.npy": "npy 4 3"}, 1,
     "error: input z: axis 0 has size 3 in this model, found 4\n  hint: `dlc inspect` shows the sizes"),
    ("run_same", "run g.graph x.npy z.npy --backend=jit", {"g.graph": TWO, "x.npy": "npy 2 3", "z.npy": "npy 4 3"}, 1,
     "error: input z: axis 0 has size 4, and must have that of axis 0 of input x, 2\n"
     "  hint: `dlc inspect` shows which sizes are the same; where one is 1 to be stretched, compile with --dim NAME=1"),
    ("run_multiple", "run g.graph x.npy --backend=jit",
     {"g.graph": "symbol N in 1..8\n" + graph("  %0 = map relu %x : f32[32*N, 3]\n  return %0", "%x: f32[32*N, 3]"), "x.npy": "npy 65 3"}, 1,
     "error: input x: axis 0 has a multiple of 32 as its size in this model, found 65\n  hint: compile again with other --dim"),
    ("run_unknown", "run g.graph x.npy x.npy --backend=eval", {"g.graph": RELU, "x.npy": "npy 2 3"}, 1,
     "error: the model has no further input for x.npy\n  hint: `dlc inspect` lists the inputs"),
    ("run_name", "run g.graph X=x.npy --backend=eval", {"g.graph": RELU, "x.npy": "npy 2 3"}, 1,
     "x.npy: error: the model has no input named X; did you mean x?\n  hint: `dlc inspect` lists the inputs"),
    ("run_twice", "run g.graph x=x.npy x=x.npy --backend=eval", {"g.graph": RELU, "x.npy": "npy 2 3"}, 1,
     "x.npy: error: input x is given twice\n  hint: name each input once"),
    ("run_outputs", "test case", {"case/model.onnx": model(node("Relu", "x", "y")), "case/test_data_set_0/input_0.pb": tensor(2, 3),
                                 "case/test_data_set_0/output_0.pb": tensor(2, 3), "case/test_data_set_0/output_1.pb": tensor(2, 3)}, 3,
     "case: error: the model has 1 outputs, 2 are expected"),
    ("test_random", "test case --backend=eval", {"case/model.onnx": model(node("RandomUniformLike", "x", "y")),
                                                 "case/test_data_set_0/input_0.pb": tensor(2, 3),
                                                 "case/test_data_set_0/output_0.pb": tensor(2, 3)}, 2,
     "case: error: test_data_set_0: output y depends on random numbers, whose values ONNX leaves open, and is not judged; "
     "type and shape agree (6 of 6 differ"),
    ("test_wrong", "test case --backend=eval", {"case/model.onnx": model(node("RandomUniformLike", "x", "y")),
                                                "case/test_data_set_0/input_0.pb": tensor(2, 3),
                                                "case/test_data_set_0/output_0.pb": tensor(3, 2)}, 1,
     "case: error: test_data_set_0: output y: "),
    ("schedule_line", "opt --until=schedule --schedule=s.txt g.graph", {"g.graph": RELU, "s.txt": "@nosuch: split(i, 2)\n"}, 1,
     "s.txt:1: error: names no kernel of the program; a line is `@kernel: steps`\n"
     "  hint: `dlc opt --print-schedule` prints schedules in this form"),
    ("pass_name", "opt --pass=fsue g.graph", {"g.graph": RELU}, 2,
     "error: --pass: no pass named fsue; did you mean fuse?\n  hint: `dlc opt --list` lists the passes"),
    ("test_folder", "test empty", {"empty/note.txt": ""}, 3, "empty: error: holds no test_data_set_N\n  hint: a test folder holds model.onnx"),
    ("tensor_file_unsupported", "run g.graph x.bmp --backend=eval", {"g.graph": RELU, "x.bmp": "BM"}, 2,
     "x.bmp: error: expected a file .npy, .npz, .safetensors, .pb or .png"),
    ("no_target", "compile g.graph --cpu=granite -o a.o", {"g.graph": RELU}, 2, "error: no target named granite ("),
    ("memory_open", "compile g.graph --memory=8 -o a.o", {"g.graph": MEANS}, 2,
     "error: a budget of memory needs sizes that are known when compiling\n  hint: fix the open sizes with --dim NAME=SIZE"),
    ("tensor_file", "run g.graph x.npy --backend=eval", {"g.graph": RELU, "x.npy": npy([2, 3])[:-4]}, 1,
     "x.npy: error: 20 bytes follow the npy header, which asks for 24"),
    ("no_gradient", "opt --pass=grad g.graph", {"g.graph": KERNEL}, 2,
     "g.graph:2:3: error: a kernel has no derivative: after the pass fuse a graph consists of kernels; take gradients before\n"
     "  hint: docs/gradients.md lists what has none"),
    ("onnx_limit", "inspect m.onnx", {"m.onnx": model(node("Relu", "x", "y"), inputs=[typed("x", 2, 3, dtype=STRING)])}, 2,
     'm.onnx: error: "x" is of type string, which is not implemented'),
    ("onnx_op_unsupported", "inspect m.onnx", {"m.onnx": model(node("Squeeze", "x", "y"), inputs=[typed("x", "N", 3)], opset=12)}, 2,
     'm.onnx: error: node "y_node" (Squeeze): Squeeze without axes of an open dim at axis 0; fix it by --dim NAME=SIZE is not implemented'),
    ("build_open", "inspect m.onnx", {"m.onnx": MATMUL_OPEN}, 2,
     'm.onnx: error: node "y_node" (MatMul): contract: label k is M and 2*K in f32[N, M] and f32[2*K, 4]\n  hint: that they fit cannot be shown'),
    ("onnx_open_dims", "inspect m.onnx", {"m.onnx": MATMUL_OPEN}, 2,
     "m.onnx: note: N, M, K are left open by the model\n  hint: if the sizes are known, fix them with --dim NAME=SIZE"),
    ("onnx_open", "inspect no.onnx", {}, 1,
     "no.onnx: error: cannot read the model: No such file or directory\n  hint: give the path of a .onnx file"),
    ("onnx_ir_version", "inspect m.onnx", {"m.onnx": model(node("Relu", "x", "y"), ir=999)}, 2,
     "m.onnx: error: ir_version 999 is not known (newest: 14)\n  hint: save the model for an earlier IR version"),
    ("onnx_opset", "inspect m.onnx", {"m.onnx": model(node("Relu", "x", "y"), opset=999)}, 2, "m.onnx: error: opset ai.onnx 999 is not known (newest: "),
    ("onnx_op_fail", "inspect m.onnx",
     {"m.onnx": model(node("Transpose", "x", "y", ints("perm", 0, 0)), outputs=[typed("y", 2, 2)])}, 1, 'node "y_node" (Transpose)'),
    ("onnx_op_fail", "test case --backend=eval",
     {"case/model.onnx": model(node("Gather", "x i", "y"), inputs=[typed("x", 2, 3), typed("i", 1, dtype=I64)], outputs=[typed("y", 1, 3)]),
      "case/test_data_set_0/input_0.pb": tensor(2, 3),
      "case/test_data_set_0/input_1.pb": message((1, 1), (2, I64), (9, (5).to_bytes(8, "little"))),
      "case/test_data_set_0/output_0.pb": tensor(1, 3)}, 3, 'node "y_node" (Gather): indices from -2 to 1 expected, found 5'),
    ("onnx_external", "inspect m.onnx", {"m.onnx": model(node("Add", "x w", "y"), extra=[external("../w.bin")])}, 1,
     'm.onnx: error: tensor "w": external data "../w.bin" '),
    ("onnx_tensor_unsupported", "inspect m.onnx",
     {"m.onnx": model(node("Add", "x w", "y"), extra=[(5, message((1, 2), (1, 3), (2, STRING), (8, "w"), (6, "a"), (6, "b"), (6, "c"), (6, "d"), (6, "e"), (6, "f")))])}, 2, 'tensor "w" '),
    ("onnx_option", "run m.onnx --zero-inputs --backend=eval --dim M=2", {"m.onnx": model(node("Relu", "x", "y"))}, 1, "m.onnx: error: "),
]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = npy([int(s) for s in content.split()[1:]]) if content.startswith("npy ") else content.encode()
    path.write_bytes(content)


def run(row, command, files, code, want):
    with tempfile.TemporaryDirectory() as d:
        for name, content in files.items():
            write(pathlib.Path(d, name), content)
        r = subprocess.run([DLC, *command.split()], capture_output=True, text=True, cwd=d, stdin=subprocess.DEVNULL)
    if r.returncode == 2 and "LLVM backend is not available" in r.stderr:
        return None
    if r.returncode != code or want not in r.stderr:
        return f"{row}: dlc {command}\n  exit {r.returncode}, expected {code}, with:\n{want}\n  found:\n{r.stderr}"
    return None


def rows():
    quoted = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
    pattern = re.compile(r"^DIAG\((\w+),\s*\w+,\s*\w+,\s*\(.*?\),\s*\(.*?\),\s*" + quoted, re.M | re.S)
    for path in sorted((ROOT / "base/diag").glob("*.def")):
        for m in pattern.finditer(path.read_text()):
            yield m[1], "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', m[2])).replace('\\"', '"')


def uncovered():
    here = pathlib.Path(__file__)
    tests = "\n".join(p.read_text(errors="replace") for p in sorted((ROOT / "tests").rglob("*"))
                      if p.is_file() and p != here and (p.suffix in TEXT_IN_TESTS)).replace('\\"', '"')
    known = {case[0] for case in CASES} | set(NOT_PROVOKED)
    for row, text in rows():
        parts = [p.strip() for p in re.split(r"%(?:\.\d+|\.\*)?[lz]*[a-z%]", text) if len(p.strip()) > 3]
        named = re.search(rf"\b{row}\b", tests) or parts and max(parts, key=len) in tests
        if row not in known and not named:
            yield row


failed = [f for case in CASES if (f := run(*case))]
failed += [f"{row}: no test provokes this row of base/diag" for row in uncovered()]
failed += [f"{case}: no such row in base/diag" for case in sorted({c[0] for c in CASES} | set(NOT_PROVOKED)) if case not in dict(rows())]
print("\n".join(failed) or f"{len(CASES)} cases, {len(dict(rows()))} rows: ok")
sys.exit(1 if failed else 0)
