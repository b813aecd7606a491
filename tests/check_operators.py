#!/usr/bin/env python3
"""The lists of ONNX operators in README.md and docs/operators.md are what `dlc ops` says; --write renews them."""
import difflib
import os
import pathlib
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
DLC = os.environ.get("DLC", str(ROOT / "build/bin/dlc"))
BEGIN, END = "<!-- operators: from `dlc ops`, by tests/check_operators.py --write -->\n", "<!-- end of operators -->\n"


def ops(*options):
    return subprocess.run([DLC, "ops", *options], capture_output=True, text=True, check=True).stdout


def short_list():
    domains = {}
    for line in ops().splitlines():
        domain, _, name = line.split()[0].rpartition(".")
        domains.setdefault(domain or "ai.onnx", []).append(name)
    return "\n".join("\n".join(textwrap.wrap(f"**{domain}** ({len(names)}): {', '.join(sorted(names))}", 120)) + "\n"
                     for domain, names in domains.items())


def with_list(page, content):
    head, rest = page.split(BEGIN)
    return head + BEGIN + "\n" + content + "\n" + END + rest.split(END)[1]


wanted = {
    ROOT / "README.md": lambda page: with_list(page, short_list()),
    ROOT / "docs/operators.md": lambda page: with_list(page, ops("--markdown")),
}
stale = []
for path, renew in wanted.items():
    old = path.read_text()
    new = renew(old)
    if new != old and "--write" in sys.argv:
        path.write_text(new)
    elif new != old:
        stale += list(difflib.unified_diff(old.splitlines(), new.splitlines(), path.name, "dlc ops", lineterm="", n=0))
print("\n".join(stale + ["run tests/check_operators.py --write"]) if stale else "ok")
sys.exit(1 if stale else 0)
