#!/usr/bin/env python3
"""docs/library.md: every definition of the language's library, from frontend/lang/std/*.dl.

Each with its signature, the comment above it, and the shortest example of the tests that uses it: tests/lang/library.dl holds
models with the values they give, tests/lang/test_library.c pieces of programs that are trained. So the examples run. A
definition without a comment or without an example fails the test; --write writes the page.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STD = ROOT / "frontend/lang/std"
PAGE = ROOT / "docs/library.md"
FILES = [("layers", "Layers"), ("recurrent", "Recurrent layers"), ("attention", "Attention"), ("activations", "Activations"),
         ("losses", "Losses and penalties"), ("optimizers", "Optimizers"), ("schedules", "Schedules"), ("metrics", "Metrics"),
         ("init", "Initializers"), ("tensors", "Tensors"), ("data", "Data sets and pictures")]
HEAD = """# The library

Every definition of `frontend/lang/std/*.dl`, which is the library itself, in the language. This page is made from it by
`tests/check_library.py --write`; the examples are programs of the tests (`tests/lang/library.dl`, `tests/lang/test_library.c`),
with the values that they give there. `wave(shape, k)` in them is a tensor of that shape with known numbers. What is built into the
compiler instead stands in `language.md`, section 12.
"""


def definitions(text):
    """(name, signature, comment) of each definition; the comment is the lines of # right above."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        m = re.match(r"(fn|layer) (\w+)", line)
        if not m:
            continue
        comment, k = [], i - 1
        while k >= 0 and lines[k].startswith("# "):
            comment.insert(0, lines[k][2:])
            k -= 1
        rest, depth, n = "\n".join(lines[i:]), 0, len(m.group(0))
        while depth or not (rest[n] == "{" or (rest[n] == "=" and rest[n - 1] == " ")):
            depth += (rest[n] in "([") - (rest[n] in ")]")
            n += 1
        yield m.group(2), re.sub(r"\s+", " ", rest[len(m.group(1)):n]).replace(") (", ")(").strip(), " ".join(comment)


def examples():
    """Pieces of text that the tests run."""
    found = []
    for block in (ROOT / "tests/lang/library.dl").read_text().split("\n# = ")[1:]:
        value, code = block.split("\n", 1)
        code = code.split("\n\n")[0].strip()
        one = re.match(r"model \w+\(\) -> \(y: [^)]*\) = (.*)$", code)
        many = re.match(r"model \w+\(\) -> \(y: [^)]*\) \{\n(.*)\n\}$", code, re.S)
        code = one.group(1) if one else re.sub(r"^    ", "", many.group(1), flags=re.M)
        found.append((code, value if len(value) <= 80 else None))
    for text in re.findall(r'^        \{ "([^"]*)", ', (ROOT / "tests/lang/test_library.c").read_text(), re.M):
        found.append((text, None))
    return sorted(found, key=lambda e: len(e[0]) + (0 if e[1] else 15))


def page():
    all_examples, wrong, out = examples(), [], [HEAD]
    for file, title in FILES:
        text = (STD / f"{file}.dl").read_text()
        out.append(f"## {title}\n")
        for name, signature, comment in definitions(text):
            uses = [e for e in all_examples if re.search(rf"\b{name}\b", e[0])]
            if not comment:
                wrong.append(f"{file}.dl: {name} has no comment")
            if not uses:
                wrong.append(f"{file}.dl: no test uses {name}")
                continue
            code, value = uses[0]
            out.append(f"`{signature}`\n{comment}\n```\n{code}" + (f"\n# {value}" if value else "") + "\n```\n")
    for path in STD.glob("*.dl"):
        if path.stem not in dict(FILES):
            wrong.append(f"{path.name} has no section on the page")
    return "\n".join(out), wrong


def main():
    text, wrong = page()
    if "--write" in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        wrong.append("docs/library.md differs: run tests/check_library.py --write")
    print("\n".join(wrong) or f"{text.count('```') // 2} definitions with their examples: ok")
    return bool(wrong)


sys.exit(main())
