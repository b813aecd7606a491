#!/usr/bin/env python3
"""The recipes of recipes.txt print, parse and run to equal bits; --time measures them as shares of the machine's peak. And
what the steps refuse, with the messages of refusals.txt.

    tests/recipes/check_recipes.py [-k PART]            small sizes, lanes 8 and 16: the plain nest against the scheduled one
    tests/recipes/check_recipes.py --time [-k PART]     full sizes, one thread, the best width; peak measured beside each
"""
import argparse, os, re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get('DLC_BUILD', ROOT / 'build')).resolve()
DLC = BUILD / 'bin/dlc'
PLAIN = '--off=simplify,layout'

PEAK = """#include <stdio.h>
#include <time.h>
#ifdef __AVX512F__
#define N 16
#else
#define N 8
#endif
typedef float v __attribute__((vector_size(4 * N)));
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec; }
int main(void)
{
    double best = 1e9;
    v m = (v){ 0 } + 0.999f, c = (v){ 0 } + 0.001f, a = c, b = c, d = c, e = c, f = c, g = c, h = c, i = c, j = c, k = c;
    for (int r = 0; r < 5; r++) {
        double t = now();
        for (int n = 0; n < 2000000; n++) {
            a = a * m + c; b = b * m + c; d = d * m + c; e = e * m + c; f = f * m + c;
            g = g * m + c; h = h * m + c; i = i * m + c; j = j * m + c; k = k * m + c;
            __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k));
        }
        t = now() - t;
        if (t < best) best = t;
    }
    printf("%f\\n", 2e6 * 10 * N * 2 / best / 1e9);
}
"""


def read():
    """-> [(name, {small: sizes, full: sizes}, graph, steps)]"""
    for part in re.split(r'^## ', (ROOT / 'tests/recipes/recipes.txt').read_text(), flags=re.M)[1:]:
        name, rest = part.split('\n', 1)
        sizes = dict(re.findall(r'^(small|full): (.*)\n', rest, re.M))
        body, steps = re.sub(r'^(small|full): .*\n', '', rest, flags=re.M).split('---\n')
        yield name, sizes, body.strip() + '\n', steps.strip()


def numbers(text):
    env = {}
    for word in text.split():
        key, value = word.split('=', 1)
        env[key] = eval(value, {}, env)
    return env


def fill(template, env):
    def one(m):
        try:
            return str(eval(m[1], {}, env))
        except (SyntaxError, NameError, TypeError):
            return m[0]                            # the braces of the graph's body
    return re.sub(r'\{([^{}\n]+)\}', one, template)


def call(*words):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True)


def check(name, sizes, graph, steps, folder):
    """What is wrong, or None."""
    for lanes in (8, 16):
        env = dict(numbers(sizes['small']), V=lanes)
        text, sched = folder / 'g.txt', folder / 'g.sched'
        text.write_text(fill(graph, env))
        plain = call(DLC, 'opt', PLAIN, '--until=lower', text)
        if plain.returncode:
            return plain.stderr
        kernel = re.search(r'kernel @(\w+)', plain.stdout)[1]
        sched.write_text(f'@{kernel}: {fill(steps, env)}\n')
        done = call(DLC, 'opt', PLAIN, '--until=schedule', '--verify', f'--schedule={sched}', text)
        if done.returncode:
            return done.stderr
        (folder / 'a.loop').write_text(plain.stdout)
        (folder / 'b.loop').write_text(done.stdout)
        again = call(BUILD / 'tests/loop_text', folder / 'b.loop')
        if again.returncode or again.stdout.strip() != done.stdout.strip():
            return 'parsed again it prints otherwise:\n' + again.stdout[:2000]
        same = call(BUILD / 'tests/loop_text', '--same', folder / 'a.loop', folder / 'b.loop')
        if same.returncode:
            return f'lanes {lanes}: ' + same.stdout
    return None


def check_refusals(folder, part):
    """-> (how many, what is wrong)"""
    n, wrong = 0, []
    text, sched = folder / 'g.txt', folder / 'g.sched'
    for one in re.split(r'^## ', (ROOT / 'tests/recipes/refusals.txt').read_text(), flags=re.M)[1:]:
        graph, lines = one.split('\n', 1)[1].split('---\n')
        text.write_text(graph)
        kernel = re.search(r'kernel @(\w+)', call(DLC, 'opt', PLAIN, '--until=lower', '--brief', text).stdout)[1]
        for line in lines.strip().split('\n'):
            steps, message = line.split(' => ')
            if part not in line:
                continue
            n += 1
            sched.write_text(f'@{kernel}: {steps}\n')
            r = call(DLC, 'opt', PLAIN, '--until=schedule', f'--schedule={sched}', text)
            found = re.search(r'error: (.*)', r.stderr)
            if not r.returncode or not found or found[1] != message:
                wrong.append(f'{steps}: expected "{message}", found "{found[1] if found else "no error"}"')
    return n, wrong


def compiled_peak(folder):
    (folder / 'peak.c').write_text(PEAK)
    call('cc', '-O2', '-march=native', '-ffp-contract=fast', folder / 'peak.c', '-o', folder / 'peak')
    return folder / 'peak'


def best_seconds(*words):
    r = call(*words)
    m = re.search(r'least ([\d.]+) (\S+)', r.stdout)
    return float(m[1]) * {'s': 1, 'ms': 1e-3, 'us': 1e-6, 'µs': 1e-6, 'ns': 1e-9}[m[2]] if m else print(r.stderr)


def measure(name, sizes, graph, steps, folder, peak, cpu):
    if 'full' not in sizes:
        return
    wide = not cpu and 'avx512f' in Path('/proc/cpuinfo').read_text()
    env = dict(numbers(sizes['full']), V=16 if wide else 8)
    text, sched = folder / 'g.txt', folder / 'g.sched'
    text.write_text(fill(graph, env))
    kernel = re.search(r'kernel @(\w+)', call(DLC, 'opt', PLAIN, '--until=lower', '--brief', text).stdout)[1]
    sched.write_text(f'@{kernel}: {fill(steps, env)}\n')
    bench = [DLC, 'bench', text, PLAIN, '--threads=1', '--duration=300', '--random-inputs=1'] + ([f'--cpu={cpu}'] if cpu else [])
    recipe, formula = best_seconds(*bench, f'--schedule={sched}'), best_seconds(*bench)
    if not recipe or not formula:
        return
    top = float(call(peak).stdout)
    share = [f'{env["flop"] / t / 1e9:6.1f} GFLOP/s {100 * env["flop"] / t / 1e9 / top:3.0f} %' if 'flop' in env else '' for t in (recipe, formula)]
    print(f'{name[:60]:60s} {recipe * 1e6:9.1f} us {share[0]:20s}  formula {formula * 1e6:9.1f} us {share[1]}', flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('-k', default='')
    ap.add_argument('--time', action='store_true')
    ap.add_argument('--cpu', help='with --time: as for dlc')
    a = ap.parse_args()
    bad = n = 0
    with tempfile.TemporaryDirectory() as folder:
        peak = compiled_peak(Path(folder)) if a.time else None
        for recipe in read():
            if a.k not in recipe[0]:
                continue
            n += 1
            if a.time:
                measure(*recipe, Path(folder), peak, a.cpu)
            elif wrong := check(*recipe, Path(folder)):
                bad += 1
                print(f'{recipe[0]}: {wrong.strip()}')
        refused, wrong = check_refusals(Path(folder), a.k) if not a.time else (0, [])
    for line in wrong:
        print(line)
    print(f'{n} recipes, {bad} wrong; {refused} refusals, {len(wrong)} wrong')
    return int(bad > 0 or bool(wrong) or n + refused == 0)


if __name__ == '__main__':
    sys.exit(main())
