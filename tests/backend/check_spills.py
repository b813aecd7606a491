#!/usr/bin/env python3
"""Inner loops of register tiles keep their accumulators in registers: no vector goes to the stack between two multiply-adds.

Compiles blocked convolutions for processors with 16 and with 32 vector registers and reads the assembly: a block with at
least 8 multiply-adds must not touch the stack with a vector. Two shapes of tiles in one kernel are the case that failed.
"""
import os, re, subprocess, sys, tempfile
from pathlib import Path

DLC = Path(os.environ.get('DLC', 'build/bin/dlc'))
GRAPH = """graph @conv(%x: f32[1, 4, {h}, {w}, 16], %w: f32[4, 4, {k}, {k}, 16, 16]) {{
  %0 = contract %x, %w, [n, O, y, x, o | C, r, s, c] a[n, C, y + r - {p}, x + s - {p}, c] b[O, C, r, s, c, o] : f32[1, 4, {h}, {w}, 16]
  %1 = map relu %0 : f32[1, 4, {h}, {w}, 16]
  return %1
}}
"""


def blocks(assembly):
    """{label: lines} of the code between labels"""
    label, found = 'start', {}
    for line in assembly.splitlines():
        if m := re.match(r'([.\w]+):', line):
            label = m[1]
        found.setdefault(label, []).append(line)
    return found


def spills(assembly):
    for label, lines in blocks(assembly).items():
        n = sum('vfmadd' in line for line in lines)
        stack = [line.strip() for line in lines if re.search(r'%[xyz]mm', line) and '(%rsp)' in line]
        if n >= 8 and stack:
            yield label, n, stack


def main():
    bad = n_fma = 0
    with tempfile.TemporaryDirectory() as folder:
        text, out = Path(folder) / 'conv.txt', Path(folder) / 'conv.s'
        for h, w, k in [(56, 56, 3), (14, 14, 3), (7, 7, 3), (16, 64, 3), (16, 80, 3), (28, 28, 1)]:
            for cpu in ('haswell', 'skylake-avx512'):
                text.write_text(GRAPH.format(h=h, w=w, k=k, p=k // 2))
                r = subprocess.run([DLC, 'compile', text, '-o', out, f'--cpu={cpu}', '--target=x86_64-linux-gnu'], capture_output=True, text=True)
                if r.returncode:
                    print(r.stderr.strip())
                    return 77 if 'not available' in r.stderr else 1
                n_fma += out.read_text().count('vfmadd')
                for label, n, stack in spills(out.read_text()):
                    bad += 1
                    print(f'{h}x{w}, {k}x{k}, {cpu}: block {label} with {n} multiply-adds: {len(stack)} vectors on the stack, {stack[0]}')
    print(f'{n_fma} multiply-adds, {bad} blocks that spill')
    return int(bad > 0 or n_fma == 0)


if __name__ == '__main__':
    sys.exit(main())
