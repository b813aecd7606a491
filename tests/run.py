#!/usr/bin/env python3
"""Runs text tests: tests/**/*.test (docs/text-form.md has the syntax of graphs).

    tests/run.py [FILE...] [-k PART] [--bless] [-v]

A file:

    # run: dlc opt --pass=sink_transpose        the command; the input is the last argument, as case.txt
    # exit: 1                                   expected exit code (0 if left out)
    # same: bits                                bits, close (error against float64 at most twice the input's) or none:
                                                interpret input and output with random inputs first
                                                (bits for `dlc opt`, else none)
    ## name of a case
    input
    ---
    expected output, standard error after standard output; `unchanged`: the input as it is printed

Expected text proves form, not meaning; so where `same` is not none, --bless writes a new expectation only if meaning
stayed. $DLC_BUILD is the build folder (default build); a command that is not built skips its file.
"""
import argparse, difflib, os, re, shlex, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get('DLC_BUILD', ROOT / 'build'))
PROGRAMS = {'dlc': BUILD / 'bin/dlc'}


def program(name):
    return PROGRAMS.get(name, BUILD / 'tests' / name)


class Case:
    def __init__(self, name, line):
        self.name, self.line, self.input, self.expected = name, line, [], None


def read(path):
    """-> header {key: text}, lines before the first case, cases"""
    head, lines, cases = {}, [], []
    for i, line in enumerate(path.read_text().splitlines(keepends=True), 1):
        if line.startswith('## '):
            cases.append(Case(line[3:].strip(), i))
        elif not cases:
            lines.append(line)
            if m := re.match(r'# (\w+): *(.*)', line):
                head[m[1]] = m[2].strip()
        elif line.rstrip() == '---' and cases[-1].expected is None:
            cases[-1].expected = []
        elif cases[-1].expected is None:
            cases[-1].input.append(line)
        else:
            cases[-1].expected.append(line)
    return head, lines, cases


def trim(lines):
    text = ''.join(lines).strip('\n')
    return text + '\n' if text else ''


def call(argv, cwd):
    try:
        r = subprocess.run([str(a) for a in argv], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120)
    except subprocess.TimeoutExpired:
        return 'timeout', ''
    out = (r.stdout + r.stderr).decode('utf-8', 'backslashreplace')
    return r.returncode, '\n'.join(x.rstrip() for x in out.splitlines()).strip('\n') + '\n' if out.strip() else ''


def graph_of(text):
    """The graph in an output that may hold messages too."""
    m = re.search(r'^(symbol |graph )', text, re.M)
    return text[m.start():] if m else ''


def same_meaning(how, before, after, cwd):
    """None, or what differs."""
    tool = program('dlc_text')
    if not tool.exists() or not graph_of(after):
        return None
    (cwd / 'before.txt').write_text(before)
    (cwd / 'after.txt').write_text(graph_of(after))
    code, out = call([tool, '--same', 'before.txt', 'after.txt'] + (['--close'] if how == 'close' else []), cwd)
    return None if code == 0 else out or f'exit {code}'


def run_case(case, argv, head, cwd):
    """-> actual text, list of complaints other than a different text"""
    text = trim(case.input)
    (cwd / 'case.txt').write_text(text)
    code, out = call(argv + ['case.txt'], cwd)
    wrong = []
    if str(code) != head.get('exit', '0'):
        wrong.append(f'exit {code}, expected {head.get("exit", "0")}')
    how = head.get('same', 'bits' if argv[0].name == 'dlc' and 'opt' in argv else 'none')
    if how != 'none' and not wrong and (m := same_meaning(how, text, out, cwd)):
        wrong.append('the output computes something else: ' + m)
    return out, wrong


def expected_of(case, cwd):
    want = trim(case.expected or [])
    if want != 'unchanged\n':
        return want
    return call([program('dlc_text'), 'case.txt'], cwd)[1]


def show(path, case, want, out, wrong):
    print(f'FAILED {path.relative_to(ROOT)}:{case.line} ({case.name})')
    for w in wrong:
        print('  ' + w.rstrip())
    for d in list(difflib.unified_diff(want.splitlines(), out.splitlines(), 'expected', 'found', lineterm=''))[2:]:
        print('  ' + d)


def bless(path, lines, cases):
    with open(path, 'w') as f:
        f.writelines(lines)
        for c in cases:
            f.write(f'## {c.name}\n' + trim(c.input) + '---\n' + trim(c.expected or []) + '\n')


def run_file(path, args, count):
    head, lines, cases = read(path)
    if 'run' not in head:
        sys.exit(f'{path}: no line "# run: COMMAND"')
    words = shlex.split(head['run'])
    argv = [program(words[0])] + words[1:]
    chosen = [c for c in cases if args.k in c.name]
    if not argv[0].exists():
        count['skipped'] += len(chosen)
        return
    changed = False
    for case in chosen:
        count['cases'] += 1
        with tempfile.TemporaryDirectory() as d:
            out, wrong = run_case(case, argv, head, Path(d))
            want = expected_of(case, Path(d))
        if args.v:
            print(f'{path.relative_to(ROOT)} ({case.name})')
        if out == want and not wrong:
            continue
        if args.bless and not wrong:
            case.expected, changed = [out], True
            continue
        count['failed'] += 1
        show(path, case, want, out, wrong)
    if changed:
        bless(path, lines, cases)
        print(f'blessed {path.relative_to(ROOT)}')


def main():
    p = argparse.ArgumentParser(description='runs text tests')
    p.add_argument('files', nargs='*', help='test files, or paths below tests/ (default: all)')
    p.add_argument('-k', default='', metavar='PART', help='only cases whose name contains PART')
    p.add_argument('-v', action='store_true', help='name each case')
    p.add_argument('--bless', action='store_true', help='write what is found as what is expected')
    args = p.parse_args()
    files = [Path(f) if Path(f).exists() else ROOT / 'tests' / f for f in args.files]
    files = [f.resolve() for f in files] or sorted((ROOT / 'tests').rglob('*.test'))
    count = {'cases': 0, 'failed': 0, 'skipped': 0}
    for f in files:
        run_file(f, args, count)
    print(f"run.py: {count['cases']} cases, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
