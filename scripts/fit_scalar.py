"""Fits the polynomials of ir/expand*.c: weighted minimax (Remez exchange on a dense grid, mpmath), coefficients rounded
one after the other to the type they are used in, lowest first, the others fitted again.

    pip install mpmath;  python scripts/fit_scalar.py            prints every table as C
    python scripts/fit_scalar.py f32_exp f64_erf_tail            some of them

The error printed is the largest of |weight * (f - p)|, with rounded coefficients and exact evaluation; the weight makes it
relative to the function's result.
"""
import sys
from mpmath import mp, mpf, matrix, lu_solve
mp.prec = 180

def round_to(x, bits):
    if x == 0: return x
    e = mp.floor(mp.log(abs(x), 2)) + 1
    s = mpf(2) ** (bits - e)
    return mp.nint(x * s) / s

def evaluate(c, x):
    y = mpf(0)
    for a in reversed(c): y = y * x + a
    return y

def exchange(x, f, w, powers):
    """Coefficients of sum c_i x^powers[i], |w (f - p)| least at its largest over the grid."""
    n, m = len(powers), len(x)
    at = [round(i * (m - 1) / n) for i in range(n + 1)]
    for _ in range(30):
        A = matrix(n + 1, n + 1); b = matrix(n + 1, 1)
        for r, i in enumerate(at):
            for j, p in enumerate(powers): A[r, j] = w[i] * x[i] ** p
            A[r, n] = (-1) ** r; b[r] = w[i] * f[i]
        try: s = lu_solve(A, b)
        except ZeroDivisionError: break
        c = [s[j] for j in range(n)]; level = abs(s[n])
        e = [w[i] * (f[i] - sum(cj * x[i] ** p for cj, p in zip(c, powers))) for i in range(m)]
        peaks = []                                   # the largest of each run of one sign
        for i in range(m):
            if peaks and (e[i] > 0) == (e[peaks[-1]] > 0):
                if abs(e[i]) > abs(e[peaks[-1]]): peaks[-1] = i
            else: peaks.append(i)
        while len(peaks) > n + 1:
            peaks.pop(0 if abs(e[peaks[0]]) < abs(e[peaks[-1]]) else -1)
        worst = max(abs(v) for v in e)
        if len(peaks) < n + 1 or worst <= level * mpf('1.0005'): break
        at = peaks
    return c

def fit(name, f, lo, hi, n, weight, bits):
    m = max(400, 24 * n)
    lo, hi = mpf(lo), mpf(hi)
    x = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * (i + mpf(1) / 2) / m) for i in range(m)]
    y = [f(t) for t in x]; w = [weight(t) for t in x]
    fixed = []
    for i in range(n):                               # round c_i, fit the rest to what is left
        if lo < 0 < hi:                              # all powers but the 0th vanish at 0: no alternation
            fixed = [round_to(c, bits) for c in exchange(x, y, w, list(range(n)))]
            break
        rest = [v - evaluate(fixed, t) for v, t in zip(y, x)]
        c = exchange(x, rest, w, list(range(i, n)))
        fixed.append(round_to(c[0], bits))
    worst = max(abs(a * (v - evaluate(fixed, t))) for a, v, t in zip(w, y, x))
    digits = 9 if bits == 24 else 17
    print("/* %s: 2^%.1f */" % (name, float(mp.log(worst, 2))))
    text = ", ".join(mp.nstr(c, digits, min_fixed=-2, max_fixed=2) for c in fixed)
    print("static const double %s[] = { %s };" % (name, text), flush=True)

def ser(f, small):
    """f with cancellation: more digits near 0, the limit at 0."""
    def g(t):
        if abs(t) < mpf(2) ** -60: return small
        with mp.workprec(420): return f(mp.mpf(t))
    return g

ln2 = mp.log(2); half = ln2 / 2 * mpf('1.01')
exp_q = ser(lambda r: (mp.expm1(r) - r) / r ** 2, mpf(1) / 2)
exp_w = lambda r: r ** 2 / abs(mp.expm1(r)) if r else mpf(0)
log_p = ser(lambda f: (mp.log1p(f) - f + f * f / 2) / f ** 3, mpf(1) / 3)
log_w = lambda f: abs(f) ** 3 / abs(mp.log1p(f)) if f else mpf(0)
log_s = ser(lambda z: (mp.log((1 + mp.sqrt(z)) / (1 - mp.sqrt(z))) / mp.sqrt(z) - 2) / z, mpf(2) / 3)
log_sw = lambda z: z / 2
sin_p = ser(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, mpf(-1) / 6)
sin_w = lambda z: z
cos_p = ser(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z ** 2, mpf(1) / 24)
cos_w = lambda z: z * z
asin_p = ser(lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, mpf(1) / 6)
atan_p = ser(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, mpf(-1) / 3)
erf_p = ser(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 2 / mp.sqrt(mp.pi) - 1)
erf_q = lambda a: -mp.log(mp.erfc(a))
erf_mid = mpf(1)                                     # f64 expands around it: Horner around 0 cancels where the tail starts
erf_qw = lambda a: mp.erfc(a) / mp.erf(a)
quarter = (mp.pi / 4 * mpf('1.003')) ** 2
s_max = lambda ratio: ((mp.sqrt(ratio) - 1) / (mp.sqrt(ratio) + 1)) ** 2

FITS = {
    'f32_exp':      (exp_q, -half, half, 5, exp_w, 24),
    'f32_log':      (log_p, mp.sqrt(.5) - 1, mp.sqrt(2) - 1, 9, log_w, 24),
    'f32_erf':      (erf_p, 0, 1, 7, lambda z: mpf(1), 24),
    'f32_erf_tail': (erf_q, '.98', '4.0', 7, erf_qw, 24),
    'f32_asin':     (asin_p, 0, '.2501', 5, lambda z: z, 24),
    'f32_atan':     (atan_p, 0, (mp.sqrt(2) - 1) ** 2 * mpf('1.001'), 5, lambda z: z, 24),
    'f32_sin':      (sin_p, 0, quarter, 4, sin_w, 53),
    'f32_cos':      (cos_p, 0, quarter, 4, cos_w, 53),
    'f32_log_wide': (log_s, 0, s_max(2) * mpf('1.001'), 4, log_sw, 53),
    'f32_exp_wide': (exp_q, -half, half, 6, lambda r: r * r, 53),
    'f64_exp':      (exp_q, -half, half, 11, exp_w, 53),
    'f64_log':      (log_s, 0, s_max(2) * mpf('1.001'), 7, log_sw, 53),
    'f64_sin':      (sin_p, 0, quarter, 6, sin_w, 53),
    'f64_cos':      (cos_p, 0, quarter, 6, cos_w, 53),
    'f64_asin':     (asin_p, 0, '.2501', 13, lambda z: z, 53),
    'f64_atan':     (atan_p, 0, (mp.sqrt(2) - 1) ** 2 * mpf('1.001'), 11, lambda z: z, 53),
    'f64_erf':      (erf_p, 0, 1, 13, lambda z: mpf(1), 53),
    'f64_erf_tail': (lambda u: erf_q(u + erf_mid), mpf('.98') - erf_mid, mpf('5.95') - erf_mid, 19, lambda u: erf_qw(u + erf_mid), 53),
    'f64_pow_log':  (log_s, 0, s_max(mpf(2) ** (mpf(1) / 8)) * mpf('1.1'), 5, log_sw, 53),
}
for name in sys.argv[1:] or FITS:
    f, lo, hi, n, w, bits = FITS[name]
    fit(name, f, lo, hi, n, w, bits)
