#!/usr/bin/env python3
"""The folders include one way: cli -> api -> {frontend, passes, backend} -> ir -> base; runtime stands alone.

Reads the #include "..." lines of every .c, .h and .def file of the tree. Checked:
  1  a file includes only from the folders that ALLOWED gives its own folder;
  2  frontend/onnx and frontend/lang do not include each other, nor do the backends;
  3  paths are written from the root, and the file exists (or is made by the build);
  4  runtime/ includes nothing of ours: its files are compiled by users, outside this tree;
  5  file names are unique in the tree, so that a name alone finds the file.
One line a violation; exit 1 if there is one. `--test` runs the checker on made-up trees instead.
"""
import pathlib, re, sys, tempfile

ALLOWED = {
    "include":       ["include"],
    "base":          ["base", "include"],
    "ir":            ["ir", "base", "include"],
    "frontend/onnx": ["frontend/onnx", "ir", "base", "include"],
    "frontend/lang": ["frontend/lang", "ir", "base", "include"],
    "frontend":      ["frontend", "ir", "base", "include"],
    "passes":        ["passes", "ir", "base", "include"],
    "backend/llvm":  ["backend/llvm", "backend", "ir", "base", "include"],
    "backend/c":     ["backend/c", "backend", "ir", "base", "include"],
    "backend/eval":  ["backend/eval", "backend", "ir", "base", "include"],
    "backend":       ["backend", "ir", "base", "include"],
    "runtime":       ["runtime"],
    "api":           ["api", "frontend", "frontend/onnx", "frontend/lang", "passes", "backend", "backend/llvm",
                      "backend/c", "backend/eval", "runtime", "ir", "base", "include"],
    "cli":           ["cli", "api", "ir", "base", "include"],
}
# what generated code asks and offers is plain C: those who emit it or load it may know these two
CONTRACT = ("runtime/runtime.h", "runtime/model.h")
GENERATED = re.compile(r"\.pb-c\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def layer(path):
    """The longest entry of ALLOWED that is a folder of path; None outside the layers (tests, examples)."""
    parts = path.split("/")[:-1]
    for n in range(len(parts), 0, -1):
        if "/".join(parts[:n]) in ALLOWED:
            return "/".join(parts[:n])
    return None


def check(root):
    wrong, seen, lines = [], {}, 0
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        own = layer(name)
        if own is None or file.suffix not in (".c", ".h", ".def"):
            continue
        # a .def in a folder of sections (base/diag/onnx.def) is found through its table, not by its name
        if file.suffix != ".def" and seen.setdefault(file.name, name) != name:
            wrong.append(f"{name}: the name is taken by {seen[file.name]}")
        text = file.read_text(errors="replace")
        for m in INCLUDE.finditer(text):
            lines += 1
            target = m.group(1)
            at = f"{name}:{text.count(chr(10), 0, m.start(1)) + 1}"
            if own == "runtime":
                if "/" in target or not (file.parent / target).exists():
                    wrong.append(f'{at}: "{target}": runtime stands alone, and its files lie side by side')
                continue
            if GENERATED.search(target):
                continue
            path = target if (root / target).exists() else "include/" + target
            if not (root / path).exists():
                wrong.append(f'{at}: "{target}" is no file counted from the root (or from include/)')
                continue
            if layer(path) not in ALLOWED[own] and not (own.startswith("backend") and path in CONTRACT):
                wrong.append(f'{at}: {own} may not include "{target}" (allowed: {", ".join(ALLOWED[own])})')
    return wrong, lines


def self_test():
    def of(**files):
        with tempfile.TemporaryDirectory() as d:
            root = pathlib.Path(d)
            for name, text in files.items():
                p = root / name.replace("__", "/").replace("_c", ".c").replace("_h", ".h")
                p.parent.mkdir(parents=True, exist_ok=True)
                p.write_text(text)
            return len(check(root)[0])
    base = {"base__base_h": "", "ir__graph_h": '#include "base/base.h"\n'}
    assert of(**base) == 0
    assert of(**base, base__up_c='#include "ir/graph.h"\n') == 1
    assert of(**base, passes__a_c='#include "ir/graph.h"\n#include <string.h>\n') == 0
    assert of(**base, passes__p_h="", frontend__onnx__x_c='#include "passes/p.h"\n') == 1
    assert of(**base, frontend__lang__l_h="", frontend__onnx__x_c='#include "frontend/lang/l.h"\n') == 1
    assert of(**base, ir__a_c='#include "graph.h"\n') == 1
    assert of(runtime__pool_h="", runtime__pool_c='#include "pool.h"\n') == 0
    assert of(**base, runtime__pool_c='#include "base/base.h"\n') == 1
    assert of(**base, ir__base_h="") == 1
    print("9 made-up trees judged as expected")


if __name__ == "__main__":
    if "--test" in sys.argv:
        self_test()
        sys.exit()
    wrong, lines = check(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(wrong + [f"{lines} includes, {len(wrong)} violations"]))
    sys.exit(bool(wrong))
