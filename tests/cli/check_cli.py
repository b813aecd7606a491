#!/usr/bin/env python3
"""The command as its users see it: exit codes, messages, files in and out. $DLC is the command."""
import json
import os
import pathlib
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DLC = os.environ.get("DLC", str(ROOT / "build/bin/dlc"))
DIGITS = str(ROOT / "examples/digits/digits.onnx")
os.environ.setdefault("DLC_CACHE_DIR", "")       # nothing into the user's home
failed = []


def dlc(*args, code=0, out="", err="", cwd=None):
    r = subprocess.run([DLC, *map(str, args)], capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL)
    for want, got, what in ((code, r.returncode, "exit code"), ):
        if want != got:
            failed.append(f"dlc {' '.join(map(str, args))}: {what} {got}, expected {want}\n{r.stderr}")
    if out not in r.stdout:
        failed.append(f"dlc {' '.join(map(str, args))}: no {out!r} in\n{r.stdout}")
    if err not in r.stderr:
        failed.append(f"dlc {' '.join(map(str, args))}: no {err!r} in\n{r.stderr}")
    return r.stdout


def npy(path, shape, dtype="<f4", data=None, fortran=False):
    head = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    n = 1
    for d in shape:
        n *= d
    data = [0.0] * n if data is None else data
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack(f"<{len(data)}f", *data))


def has_llvm(folder):
    r = subprocess.run([DLC, "compile", DIGITS, "-o", str(folder / "a.so")], capture_output=True, text=True)
    return not (r.returncode == 2 and "LLVM" in r.stderr)


def examples(folder):
    """The examples of --help do what they say, from the root of the repository; what they write goes to the folder."""
    compiles = has_llvm(folder)
    for line in dlc("--help").split("examples:\n")[1].split("\n\n")[0].splitlines():
        words = line.split()[1:]
        dlc(words[0], "--help", out=line.strip())
        generates = words[0] in ("compile", "run", "bench", "train") or "--backend=jit" in words
        if words[0] == "test" or generates and not compiles:        # the official tests do not come with the repository
            continue
        dlc(*(word.replace("build/digits", str(folder)) for word in words), cwd=ROOT)


def usage(folder):
    dlc(code=2, err="commands:")
    dlc("--help", out="dlc COMMAND")
    dlc("--version", out="dlc 0.")
    dlc("complie", code=2, err="did you mean compile?")
    dlc("run", "--backnd=eval", DIGITS, code=2, err="did you mean --backend?")
    dlc("run", "--backend=evil", DIGITS, code=2, err="did you mean eval?")
    dlc("run", "--threads=zero", "--zero-inputs", DIGITS, code=2, err="whole number")
    dlc("compile", DIGITS, code=2, err="-o model.so")
    dlc("compile", DIGITS, "-o", "/no/folder/x.so", code=1, err="cannot write the file: No such file or directory")
    dlc("compile", DIGITS, "-o", "x.what", code=2, err="--output ends in one of .so, .o, .a, .ll, .s, .h, .c; found x.what")
    dlc("opt", "--pass=fsue", DIGITS, code=2, err="did you mean fuse?")
    assert dlc("--man").startswith(".TH DLC 1")
    for shell in "bash", "zsh", "fish":
        dlc(f"--completion={shell}", out="inspect")


def inputs(folder):
    picture = ROOT / "examples/digits/images/7.png"
    dlc("run", DIGITS, "--backend=loop", code=1, err="input x (f32[?, 1, 28, 28]) is not given")
    dlc("run", DIGITS, "no.npy", "--backend=loop", code=1, err="No such file")
    dlc("run", DIGITS, picture, "--backend=loop", out="y: f32[1, 10]")
    x = folder / "x.npy"
    npy(x, (2, 1, 28, 28))
    for name in "y.npy", "y.npz", "y.pb":
        dlc("run", DIGITS, f"x={x}", "--backend=loop", "-o", folder / name)
        assert (folder / name).stat().st_size > 80, name
    npy(x, (2, 1, 28, 27))
    dlc("run", DIGITS, x, "--backend=loop", code=1, err="expected f32[?, 1, 28, 28], found f32[2, 1, 28, 27]")
    npy(x, (2, 1, 28, 28), data=[0.0])
    dlc("run", DIGITS, x, "--backend=loop", code=1, err="bytes follow the npy header")
    dlc("run", DIGITS, "--random-inputs=7", "--dim", "N=2", "--backend=eval", out="y: f32[2, 10]")
    same = [dlc("run", DIGITS, "--random-inputs=7", "--backend=loop") for _ in range(2)]
    assert same[0] == same[1]
    dlc("run", DIGITS, "--zero-inputs", "--dim", "M=2", code=1, err="no open dimension of that name; it has N")


def passes(folder):
    text = folder / "g.txt"
    text.write_text(dlc("opt", "--until=fuse", DIGITS))
    assert dlc("opt", "--until=fuse", "--off=fuse,simplify,layout", text) == text.read_text()      # prints what it parses
    program = folder / "p.txt"
    dlc("opt", text, "-o", program, "--off=simplify,layout,fuse")
    dlc("opt", "--pass=fuse", program, code=2, err="a graph, and this is a loop program")
    dlc("opt", "--list", out="fuse")
    dlc("opt", "--until=fuse", "--stats", DIGITS, err="changes")
    for name, says in ("layout", "conv1 (Conv): contract"), ("fuse", "joins the kernel"), ("schedule", "vectorize"), ("plan", "bytes at"):
        dlc("opt", f"--explain={name}", "--dim", "N=1", DIGITS, err=says)
    schedules = folder / "s.txt"
    schedules.write_text(dlc("opt", "--print-schedule", DIGITS))
    dlc("opt", f"--schedule={schedules}", DIGITS, out="kernel @")
    schedules.write_text("@nothing: split(i, 4)\n")
    dlc("opt", f"--schedule={schedules}", DIGITS, code=1, err="names no kernel")


def pages(folder):
    dlc("inspect", DIGITS, out="conv1")
    d = json.loads(dlc("inspect", DIGITS, "--json"))
    assert d["inputs"] == [{"name": "x", "type": "f32[N, 1, 28, 28]"}] and d["params"] == 11274, d
    d = json.loads(dlc("inspect", DIGITS, "--json", "--dim", "N=2"))
    live = [(p["offset"], p["offset"] + p["bytes"], p["first"], p["last"]) for p in d["plan"]]
    assert live and max(end for _, end, _, _ in live) == d["workspace_bytes"] >= d["workspace_lower_bound"], d["plan"]
    for i, (a, b, first, last) in enumerate(live):              # what lives at the same time lies apart
        assert all(b <= c or e <= a or last < f or g < first for c, e, f, g in live[i + 1:]), live
    dlc("inspect", DIGITS, "--dim", "N=2", out="offset")
    dlc("inspect", DIGITS, "--dot", out="digraph")
    dlc("compare", DIGITS, "--backend=loop", "--with=eval", out="values agree")
    dlc("compare", DIGITS, DIGITS, "--backend=loop", "--bits", out="values agree")
    dlc("compare", DIGITS, "--backend=loop", "--bits", code=1, out="fc differs")       # the layer, not the result that follows from it
    dlc("ops", "conv", out="ConvTranspose")
    dlc("ops", "--scalar", out="tanh")
    dlc("ops", "--prim", out="contract")
    dlc("ops", "no such", code=1)


def reduced(folder):
    small = folder / "small.graph"
    dlc("reduce", DIGITS, "-o", small, "--status=0", "--", "grep", "-q", "window max", "{file}", err="-> 1 nodes")
    assert small.read_text() == """graph @digits(%relu1: f32[1, 1, 1, 1]) {
  %pool1 = window max %relu1, axis 1 at 2*o + k for k < 2, axis 2 at 2*o + k for k < 2 : f32[1, 1, 1, 1]
  return %pool1
}
""", small.read_text()
    for command in ("run", "--backend=loop", "--zero-inputs"), ("run", "--backend=eval", "--zero-inputs"), ("inspect",), ("opt",), \
                   ("compare", "--backend=loop"):
        dlc(*command, small)
    models = ROOT / "tests/models"
    both = dlc("reduce", models / "control.onnx", "--grep=while", "--", "cat", err="-> 1 nodes")        # the path is added
    assert "while carry" in both, both
    chain = folder / "chain.graph"
    chain.write_text("""graph @chain(%x: f32[N, 8], %y: f32[N, 8]) {
  %0 = map exp %x : f32[N, 8]
  %1 = map tanh %0 : f32[N, 8]
  %2 = map relu %1 : f32[N, 8]
  %3 = map add %2, %y : f32[N, 8]
  return %3, %0
}
""")
    tells = "import re, sys; s = open(sys.argv[1]).read(); sys.exit(3 if 'exp' in s and 'relu' in s else 0)"
    assert dlc("reduce", chain, "--status=3", "--", sys.executable, "-c", tells) == """graph @chain(%x: f32[1, 1]) {
  %0 = map exp %x : f32[1, 1]
  %1 = map relu %0 : f32[1, 1]
  return %1
}
"""
    dlc("reduce", chain, "--steps=1", "--grep=exp", "--", "cat", err="stopped by the limit")
    dlc("reduce", chain, "--", "true", code=1, err="the command does not fail on the graph as it was imported")
    dlc("reduce", chain, "--timeout=1", "--", "sh", "-c", "sleep 20", code=1, err="does not fail on the graph")
    dlc("reduce", chain, "--", "no-such-program", code=2, err="the command cannot be started")
    dlc("reduce", chain, code=2, err="MODEL -- COMMAND")


def cached(folder):
    """Code is kept in the user's cache, if there is one; a machine without home works too."""
    if not has_llvm(folder):
        return
    env = {k: v for k, v in os.environ.items() if k not in ("DLC_CACHE_DIR", "XDG_CACHE_HOME")}

    def y(*args, **more):
        r = subprocess.run([DLC, "run", DIGITS, str(ROOT / "examples/digits/images/7.png"), *args], capture_output=True, text=True,
                           env={**env, **more})
        assert r.returncode == 0, r.stderr
        return r.stdout

    kept = folder / ".cache/dlc"
    want = y("--no-cache", HOME=str(folder))
    assert y("--cache=off", HOME=str(folder)) == want and not kept.exists()
    assert y(HOME=str(folder)) == want and [oct(f.stat().st_mode & 0o777) for f in kept.iterdir()] == ["0o600"]
    assert kept.stat().st_mode & 0o777 == 0o700
    file = next(kept.iterdir())
    first = file.stat()
    assert y(HOME=str(folder)) == y("--cache=strict", HOME=str(folder)) == want
    assert file.stat().st_ino == first.st_ino and len(list(kept.iterdir())) == 1                # found, not made again
    file.write_bytes(b"x" + file.read_bytes()[1:])
    assert y(HOME=str(folder)) == want and file.stat().st_ino != first.st_ino                   # damaged: made again
    for home in "/dev/null", "/proc/1", "":
        assert y(HOME=home) == want
    assert y(DLC_CACHE_DIR="/proc/none/dlc") == want == y(DLC_CACHE_DIR="") == y(XDG_CACHE_HOME=str(folder / "xdg"))
    assert len(list((folder / "xdg/dlc").iterdir())) == 1
    out = folder / "step.h"
    dlc("compile", DIGITS, "--train", "--loss=cross_entropy:y", "--optimizer=sgd(0.1)", "-o", out)
    dlc("compile", DIGITS, "--train", "--loss=cross_entropy:z", "--optimizer=sgd(0.1)", "-o", out, code=1, err="names no output of the model; it has y")
    dlc("compile", DIGITS, "--train", "--statistics=most", "-o", out, code=2, err="kept|batch")
    made = []
    for k, args in enumerate([["--no-cache"], [], [], ["--cache=strict"]]):                     # files: made, kept, found, found
        out = folder / f"kept{k}/digits.so"
        out.parent.mkdir()
        r = subprocess.run([DLC, "compile", DIGITS, "-o", str(out), *args], capture_output=True, text=True,
                           env={**env, "HOME": str(folder)})
        assert r.returncode == 0, r.stderr
        made.append((out.read_bytes(), out.with_suffix(".h").read_bytes(), out.stat().st_mode,
                     [f.stat().st_ino for f in kept.glob("*.files")]))
    assert all(x[:3] == made[0][:3] for x in made) and made[0][3] == [] and len(made[1][3]) == 1
    assert made[1][3] == made[2][3] == made[3][3]
    dlc("run", DIGITS, "--cache=strikt", "--zero-inputs", code=2, err="did you mean strict?")


def trained(folder):
    """`dlc train`: the same values for any way to run; Ctrl-C leaves whole files, from which it goes on."""
    if not has_llvm(folder):
        return
    xor = (ROOT / "examples/xor.dl").read_text()
    plain = folder / "xor.dl"
    plain.write_text(xor.replace("steps: 1000", "steps: 20"))
    made = set()
    for k, args in enumerate([["--threads=1"], ["--threads=2"], ["--off=share,schedule"], ["--backend=loop"], ["--memory=1MiB", "-O1"], ["--vector-bytes=16"]]):
        dlc("train", plain, *args, "-o", folder / f"w{k}.npz", out="end on train")
        made.add((folder / f"w{k}.npz").read_bytes())
    assert len(made) == 1
    dlc("train", plain, "--off=shedule", code=2, err="did you mean schedule?")
    dlc("train", plain, "--weights", folder / "w0.npz", out="end on train")

    at = folder / "stopped"
    at.mkdir()
    (at / "long.dl").write_text(xor.replace("steps: 1000", 'epochs: 1000000000, checkpoint: "state.npz"'))
    for again in range(2):
        p = subprocess.Popen([DLC, "train", "long.dl", "-q", "-o", "end.npz"], cwd=at, stderr=subprocess.PIPE)
        seen = (at / "state.npz").stat().st_mtime_ns if again else 0
        until = time.time() + 60
        while time.time() < until and not ((at / "state.npz").exists() and (at / "state.npz").stat().st_mtime_ns > seen):
            time.sleep(0.02)
        time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        assert p.wait(30) == -signal.SIGINT, p.stderr.read()
        assert sorted(f.name for f in at.iterdir()) == ["long.dl", "state.npz"]
        with zipfile.ZipFile(at / "state.npz") as z:
            assert z.testzip() is None
            steps = struct.unpack("<q", z.read("=progress.npy")[-40:-32])[0]
        assert steps > 0 and (not again or steps > before), steps
        before = steps


def on_terminal(*args, **env):
    """What a terminal sees on stderr."""
    ours, theirs = pty.openpty()
    p = subprocess.Popen([DLC, *map(str, args)], stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL,
                         env={**os.environ, "TERM": "xterm", **env})
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert p.wait() == 0, seen
    return seen.decode()


def progress(folder):
    slow = "reduce", ROOT / "tests/models/control.onnx", "--grep=while", "--steps=3", "--", "sh", "-c", "sleep 0.5; cat {file}"
    seen = on_terminal(*slow)
    assert " nodes, " in seen.split("\r\x1b[K")[-2] and "\x1b[36m" in seen, repr(seen)        # a line, and gone at the end
    assert "runs (stopped by the limit)" in seen.split("\r\x1b[K")[-1], repr(seen)
    seen = on_terminal(*slow, NO_COLOR="1")
    assert "\x1b[36m" not in seen and "\r\x1b[K" in seen, repr(seen)
    for seen in on_terminal(*slow, TERM="dumb"), on_terminal("inspect", DIGITS):
        assert "\r\x1b" not in seen, repr(seen)
    assert "\x1b" not in subprocess.run([DLC, *map(str, slow)], capture_output=True, text=True).stderr


def generated(folder):
    """With generated code; skipped where LLVM is not built in."""
    if not has_llvm(folder):
        return
    for name in "a.so", "a.o", "a.a", "a.ll", "a.s", "b.so":
        dlc("compile", DIGITS, "-o", folder / name)
    assert (folder / "a.so").read_bytes() != b"" and "a_infer" in (folder / "a.h").read_text()
    twice = folder / "twice"
    twice.mkdir()
    dlc("compile", DIGITS, "-o", twice / "a.so")
    assert (twice / "a.so").read_bytes() == (folder / "a.so").read_bytes(), "two compiles give different files"
    picture = ROOT / "examples/digits/images/7.png"
    y = dlc("run", folder / "a.so", picture)
    assert y == dlc("run", DIGITS, picture, "--threads=2") == dlc("run", DIGITS, picture, "--backend=loop")
    dlc("inspect", folder / "a.so", out="f32[?, 1, 28, 28]")
    dlc("compare", folder / "a.so", DIGITS, "--bits", out="1 of 1 values agree")
    assert dlc("run", DIGITS, picture, "--backend=so") == y
    f = json.loads(dlc("bench", folder / "a.so", "--duration=50", "--json"))
    assert f["runs"] >= 3 and f["min_ms"] <= f["median_ms"] <= f["p90_ms"], f
    f = json.loads(dlc("bench", DIGITS, "--dim", "N=1", "--duration=50", "--json", "--profile"))
    assert f["peak_gflops"] > 0.1 and f["peak_gbs"] > 0.1 and len(f["kernels"]) > 4, f
    assert abs(sum(k["share"] for k in f["kernels"]) - 1) < 0.01 and all(k["calls"] == 1 for k in f["kernels"]), f
    assert sorted(k["layers"] for k in f["kernels"])[0] and any("(Conv)" in n for k in f["kernels"] for n in k["layers"]), f
    f = json.loads(dlc("bench", DIGITS, "--duration=50", "--json", "--profile"))             # N open: of the code for its size
    assert f["specialize_s"] > 0 and len(f["kernels"]) > 4, f
    f = json.loads(dlc("bench", DIGITS, "--duration=50", "--json", "--no-specialize"))
    assert f["specialize_s"] == 0, f
    dlc("bench", DIGITS, "--dim", "N=1", "--duration=50", "--profile", "--threads=1", out="GFLOP/s of f32 multiply-adds")
    dlc("bench", folder / "a.so", "--profile", code=2, err="needs the model")
    dlc("bench", DIGITS, "--profile", "--backend=loop", code=2, err="works with --backend=jit and so")
    (folder / "bad.onnx").write_bytes(b"nonsense")
    dlc("compile", folder / "bad.onnx", "-o", folder / "bad.so", code=1, err="error:")
    assert not list(folder.glob("bad.so*"))


for part in usage, examples, inputs, passes, pages, reduced, progress, cached, trained, generated:
    with tempfile.TemporaryDirectory() as d:
        part(pathlib.Path(d))
print("\n".join(failed) or "ok")
sys.exit(1 if failed else 0)
