/* formula: which schedule a kernel gets
 *
 * Chosen from the nest and the target's numbers, never by measuring. What counts is how the addresses of a, b and out move
 * with each loop:
 *
 *   vector label  the innermost axis of out that runs contiguously there; best also in one operand, the other then is a
 *                 broadcast
 *   tile label    an axis the vector operand does not depend on: P of its positions share each loaded vector
 *
 * The register tile holds P * NV accumulators, NV vectors of the streamed operand and a broadcast:
 * P*NV + min(P, NV) + 1 <= R, P*NV >= latency * issue (Goto and van de Geijn, "Anatomy of high-performance matrix
 * multiplication", 2008, for the idea; the numbers are docs/kernels.md's). Summed labels are cut where their panel would
 * leave L1; border tests go to loop bounds, or to tiles of their own.
 */
#include "passes/schedule/schedule.h"

enum {
    MAX_PAR = 16,
    SETS_BYTES = 4096,        /* addresses this far apart share a set of L1 on every target here */
    WAYS = 8,
    GROUP = 4,                /* tiles that read one packed tile: copying costs 1.5 % then, and brings 11 % (64x1024x256) */
    SMALL_WORK = 8192,        /* scalar steps below which threads cost more than they bring */
    BAND = 14,                /* rows that share a chunk of weights in L1 (kernels.md §4) */
    SUM_CHUNK = 256,          /* kernels.md §4: a panel of 256 x 16 floats is half of L1 */
};

typedef struct {
    kernel_code *k;
    const machine *m;
    arena *a;
    text out;                 /* the schedule so far */
    const stmt *par[MAX_PAR]; int n_par;
    const stmt *sum[MAX_PAR]; int n_sum;
    const block *core, *inner;
} choice;

/* -- Looking at the nest --------------------------------------------------------------------------------------------------- */

static bool is_sum(const choice *c, const stmt *x)
{
    loop_role r = c->k->vars.at[x->var].role;
    return r == LOOP_sum || r == LOOP_sum_window;
}

static const char *name_of(const choice *c, const stmt *x) { return c->k->vars.at[x->var].name; }

static int64_t extent_of(const choice *c, const stmt *x)
{
    int64_t n;
    return x_is_int(x_sub(c->k, x->hi, x->lo), &n) ? n : -1;
}

/* The chain of parallel loops, then, if one loop stands inside among simple statements, the chain of summed ones. */
static bool look_at_block(choice *c, const block *b)
{
    while (b->n == 1 && b->at[0]->kind == STMT_for && !is_sum(c, b->at[0]) && c->n_par < MAX_PAR) {
        c->par[c->n_par++] = b->at[0];
        b = &b->at[0]->body;
    }
    c->inner = c->core = b;
    int found = -1;
    for (int i = 0; i < b->n; i++) {
        if (b->at[i]->kind == STMT_if) return false;
        if (b->at[i]->kind != STMT_for) continue;
        if (found >= 0) return false;
        found = i;
    }
    if (found < 0) return true;
    const stmt *x = b->at[found];
    while (is_sum(c, x) && c->n_sum < MAX_PAR) {
        c->sum[c->n_sum++] = x;
        c->core = &x->body;
        if (x->body.n != 1 || x->body.at[0]->kind != STMT_for) return true;
        x = x->body.at[0];
    }
    return false;
}

static bool look_at_nest(choice *c) { return look_at_block(c, &c->k->body); }

/* How far the address of the first access to `buf` moves when the variable steps: 0 not at all; -1 not affine or open. */
typedef struct { choice *c; int buf, var; bool seen; int64_t step; } motion;

static void look_access(motion *m, const expr *const *index)
{
    affine f;
    kernel_code *k = m->c->k;
    if (m->seen && m->step < 0) return;
    int64_t step = 0;
    if (!x_affine(k, x_address(k, m->buf, index), &f)) step = -1;
    else
        for (int i = 0; i < f.n; i++)
            if (f.var[i] == m->var && !dim_is_const(f.coef[i], &step)) step = -1;
    if (m->seen && step != m->step) step = -1;
    m->seen = true;
    m->step = step;
}

static void look_loads(motion *m, const expr *e)
{
    if (e->kind == EXPR_load && e->id == m->buf) look_access(m, e->args);
    for (int i = 0; i < e->n_args; i++) look_loads(m, e->args[i]);
}

static void look_block(motion *m, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->value) look_loads(m, x->value);
        if (x->cond) look_loads(m, x->cond);
        if (x->kind == STMT_store && x->id == m->buf) look_access(m, x->index);
        look_block(m, &x->body);
        look_block(m, &x->other);
    }
}

static int64_t step_of(choice *c, int buf, int var)
{
    motion m = { .c = c, .buf = buf, .var = var };
    look_block(&m, &c->k->body);
    return m.seen ? m.step : 0;
}

static int64_t largest_element(const kernel_code *k)
{
    int64_t n = 1;
    for (int i = 0; i < k->n_params; i++)
        if (dtype_bytes(k->bufs.at[i].dtype) > n) n = dtype_bytes(k->bufs.at[i].dtype);
    return n;
}

static int lanes_of(const choice *c)
{
    int64_t size = largest_element(c->k);
    return (int)(c->m->vector_bytes / (size < 4 ? 4 : size));
}

/* Product of extents; open ones count as many. */
static int64_t work_of(const choice *c)
{
    int64_t w = 1;
    for (int i = 0; i < c->n_par + c->n_sum; i++) {
        int64_t n = extent_of(c, i < c->n_par ? c->par[i] : c->sum[i - c->n_par]);
        if (n < 0) return INT64_MAX;
        if (!mul_ok(w, n, &w)) return INT64_MAX;
    }
    return w;
}

/* Is every store contiguous along this loop, and does nothing forbid lanes? */
static bool stores_contiguous(choice *c, int var)
{
    for (int i = 0; i < c->k->n_params; i++) {
        buf_role r = c->k->bufs.at[i].role;
        if ((r == ROLE_out || r == ROLE_inout) && step_of(c, i, var) != 1) return false;
    }
    return true;
}

static bool has_if(const block *b)
{
    for (int i = 0; i < b->n; i++)
        if (b->at[i]->kind == STMT_if || has_if(&b->at[i]->body)) return true;
    return false;
}

/* -- Elementwise ------------------------------------------------------------------------------------------------------------------ */

static void collect_innermost(const block *b, const stmt **found, int *n, int max)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind != STMT_for) { if (x->kind == STMT_if) collect_innermost(&x->body, found, n, max); continue; }
        int before = *n;
        collect_innermost(&x->body, found, n, max);
        if (*n == before && *n < max) found[(*n)++] = x;
    }
}

static bool try_steps(choice *c, const char *steps)
{
    kernel_code *trial = c->k;
    const char *why;
    return schedule_apply(&trial, steps, c->a, &why);
}

static bool divides(const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        const expr *all[3] = { x->value, x->cond, x->hi };
        for (int j = 0; j < 3; j++)
            if (all[j] && x_has_division(all[j])) return true;
        if (divides(&x->body) || divides(&x->other)) return true;
    }
    return false;
}

/* Axes that lie side by side in every buffer become one loop, from the inside out; the name of the innermost loop. */
static const char *merge_axes(choice *c)
{
    const char *name = name_of(c, c->par[c->n_par - 1]);
    for (int i = c->n_par - 2; i >= 0; i--) {
        const char *steps = arena_printf(c->a, "%sfuse(%s, %s) ", text_str(&c->out), name_of(c, c->par[i]), name), *why;
        kernel_code *trial = c->k;
        if (!schedule_apply(&trial, steps, c->a, &why) || divides(&trial->body)) break;
        name = arena_printf(c->a, "%s%s", name_of(c, c->par[i]), name);
        c->out.n = 0;
        text_put(&c->out, steps);
        c->n_par--;
    }
    return name;
}

/* The largest constant by which a multiple of one loop's variable is divided, and that loop's number; 0: none. */
typedef struct { choice *c; int64_t by; int loop; } division;

static void look_divisions(division *d, const expr *e)
{
    for (int i = 0; i < e->n_args; i++) look_divisions(d, e->args[i]);
    int64_t by, n;
    if ((e->kind != EXPR_floordiv && e->kind != EXPR_mod) || e->args[0]->kind != EXPR_var || !x_is_int(e->args[1], &by) || by <= d->by) return;
    for (int i = 0; i < d->c->n_par; i++) {
        n = extent_of(d->c, d->c->par[i]);
        if (d->c->par[i]->var != e->args[0]->id || n <= by || n % by) continue;
        d->by = by;
        d->loop = i;
    }
}

static void look_block_divisions(division *d, const block *b)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->value) look_divisions(d, x->value);
        for (int j = 0; x->index && j < d->c->k->bufs.at[x->id].rank; j++) look_divisions(d, x->index[j]);
        look_block_divisions(d, &x->body);
    }
}

/* Splits loops where their variable is divided, until nothing is: a reshape between blocked and plain order, then, has loops
 * of its own for each factor. The text of it; "" if that does not come out. */
static const char *factor_axes(choice *c)
{
    const char *steps = "", *why;
    choice now = *c;
    for (int i = 0; i < 8 && divides(&now.k->body); i++) {
        division d = { .c = &now };
        look_block_divisions(&d, &now.k->body);
        if (!d.by) return "";
        steps = arena_printf(c->a, "%ssplit(%s, %lld) ", steps, name_of(&now, now.par[d.loop]), (long long)d.by);
        now = (choice){ .k = c->k, .m = c->m, .a = c->a };
        if (!schedule_apply(&now.k, steps, c->a, &why) || !look_at_nest(&now) || now.n_par == 0) return "";
    }
    return divides(&now.k->body) ? "" : steps;
}

static void choose_plain_map(choice *c);

static void choose_map(choice *c)
{
    if (c->n_par == 0) return;
    const char *steps = factor_axes(c), *why;
    choice factored = { .k = c->k, .m = c->m, .a = c->a, .out = { .a = c->a } };
    if (*steps && schedule_apply(&factored.k, steps, c->a, &why) && look_at_nest(&factored)) {
        choose_plain_map(&factored);
        const char *all = arena_printf(c->a, "%s%s", steps, text_str(&factored.out));
        if (try_steps(c, all)) {
            text_put(&c->out, all);
            return;
        }
    }
    choose_plain_map(c);
}

static void choose_plain_map(choice *c)
{
    const char *inner = merge_axes(c);
    int v = lanes_of(c);
    const char *why;
    kernel_code *trial = c->k;
    if (text_str(&c->out)[0] && !schedule_apply(&trial, text_str(&c->out), c->a, &why)) return;
    choice merged = { .k = trial, .m = c->m, .a = c->a };
    if (!look_at_nest(&merged) || merged.n_par == 0) return;
    const stmt *last = merged.par[merged.n_par - 1];
    int64_t n = extent_of(&merged, last);
    bool is_parallel = work_of(&merged) >= SMALL_WORK;
    while (v > 1 && n >= 0 && n < v) v /= 2;
    bool vectors = v > 1 && stores_contiguous(&merged, last->var) && !has_if(&last->body);
    if (vectors) text_printf(&c->out, "split(%s, %d) vectorize(%s.i) ", inner, v, inner);
    if (is_parallel) text_printf(&c->out, "parallel(%s%s) ", name_of(&merged, merged.par[0]), merged.n_par == 1 && vectors ? ".o" : "");
}

/* Kernels of several nests (concat, scatter): each innermost loop that is contiguous. */
static void choose_nests(choice *c)
{
    const stmt *loops[64];
    int n = 0, v = lanes_of(c);
    collect_innermost(&c->k->body, loops, &n, 64);
    for (int i = 0; i < n; i++) {
        bool again = is_sum(c, loops[i]) || has_if(&loops[i]->body);
        for (int j = 0; j < i; j++) again |= loops[j]->var == loops[i]->var;
        int64_t extent = extent_of(c, loops[i]);
        if (again || (extent >= 0 && extent < v) || !stores_contiguous(c, loops[i]->var)) continue;
        text_printf(&c->out, "split(%s, %d) vectorize(%s.i) ", name_of(c, loops[i]), v, name_of(c, loops[i]));
    }
}

/* -- Rows ------------------------------------------------------------------------------------------------------------------------------ */

static const stmt *find_loop(const kernel_code *k, const block *b, const char *name)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_for && strcmp(k->vars.at[x->var].name, name) == 0) return x;
        const stmt *y = find_loop(k, &x->body, name);
        if (!y) y = find_loop(k, &x->other, name);
        if (y) return y;
    }
    return NULL;
}

/* Do the stores inside this loop run contiguously with it? */
static bool stores_run(choice *c, const block *b, int var)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        affine f;
        int64_t step = 0;
        if (x->kind == STMT_store) {
            if (!x_affine(c->k, x_address(c->k, x->id, x->index), &f)) return false;
            for (int j = 0; j < f.n; j++)
                if (f.var[j] == var && !dim_is_const(f.coef[j], &step)) return false;
            if (step != 1) return false;
        }
        if (!stores_run(c, &x->body, var) || !stores_run(c, &x->other, var)) return false;
    }
    return true;
}

/* Virtual lanes, and the pass that stores a row. */
static void choose_lanes(choice *c)
{
    int v = lanes_of(c);
    if (v > 16) v = 16;
    if (find_loop(c->k, &c->k->body, "lane")) {
        const char *steps = arena_printf(c->a, "split(lane, %d) unroll(lane.o) vectorize(lane.i) ", v);
        const char *open = arena_printf(c->a, "split(lane, %d) vectorize(lane.i) ", v);      /* rows of open length end in an open rest */
        if (try_steps(c, steps)) text_put(&c->out, steps);
        else if (try_steps(c, open)) text_put(&c->out, open);
    }
    const stmt *elem = find_loop(c->k, &c->k->body, "elem");
    if (elem && stores_run(c, &elem->body, elem->var)) {
        const char *steps = arena_printf(c->a, "%ssplit(elem, %d) vectorize(elem.i) ", text_str(&c->out), v);
        if (try_steps(c, steps)) {
            c->out.n = 0;
            text_put(&c->out, steps);
        }
    }
    if (c->n_par && work_of(c) >= 64) {
        text_put(&c->out, "parallel(");
        for (int i = 0; i < c->n_par; i++) text_printf(&c->out, "%s%s", i ? " " : "", name_of(c, c->par[i]));
        text_put(&c->out, ") ");
    }
}

/* Sums over outer axes: lanes run along the innermost kept axis. */
static void choose_columns(choice *c, bool single_sum)
{
    const stmt *last = c->n_par ? c->par[c->n_par - 1] : NULL;
    int v = lanes_of(c);
    if (!last || !stores_contiguous(c, last->var)) return;
    int64_t n = extent_of(c, last);
    while (v > 1 && n >= 0 && n < v) v /= 2;
    if (v == 1 || !single_sum) return;
    const char *name = name_of(c, last);
    int nv = n >= 0 && n % (4 * v) == 0 ? 4 : n >= 0 && n % (2 * v) == 0 ? 2 : 1;        /* chains side by side */
    text_printf(&c->out, "split(%s, %d) ", name, v * nv);
    if (nv > 1) text_printf(&c->out, "split(%s.i, %d) ", name, v);
    text_put(&c->out, "order(");
    for (int i = 0; i < c->n_par - 1; i++) text_printf(&c->out, "%s ", name_of(c, c->par[i]));
    text_printf(&c->out, "%s.o |", name);
    for (int i = 0; i < c->n_sum; i++) text_printf(&c->out, " %s", name_of(c, c->sum[i]));
    if (nv > 1) text_printf(&c->out, " %s.i.o %s.i.i) unroll(%s.i.o) vectorize(%s.i.i) ", name, name, name, name);
    else text_printf(&c->out, " %s.i) vectorize(%s.i) ", name, name);
    if (work_of(c) >= SMALL_WORK) text_printf(&c->out, "parallel(%s%s) ", name_of(c, c->par[0]), c->n_par == 1 ? ".o" : "");
}

/* -- Contracts ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    int a, b, out;                 /* buffers; -1 unknown */
    const stmt *vector, *tile;     /* tile may be NULL */
    const stmt *blocks;            /* the loop over blocks of the vector label, n_blocks of which share a tile; or NULL */
    int n_blocks;
    int v, nv, p;
    bool chunk_outer;              /* the first summed label goes outside the tile, with keep */
    const stmt *band;              /* an axis of which BAND positions share a chunk of weights; or NULL */
    int64_t cut;                   /* length the last long summed label is cut to; 0 not */
    const stmt *cut_label;
    const char *pack;              /* the operand whose rows lie a multiple of 4 KB apart: a tile of it is copied; or NULL */
} tiling;

static int buf_named(const kernel_code *k, const char *name)
{
    for (int i = 0; i < k->n_params; i++)
        if (strcmp(k->bufs.at[i].name, name) == 0) return i;
    return -1;
}

/* Positions of a tile on an open axis: what is left at its end runs without registers, so that shorter tiles gain more there than
 * they lose inside. Three 3x3 convolutions on AVX-512, 29 -> 8 positions: at a width of 17 0.21 -> 0.11 ms, at 224 1.12 -> 0.82. */
enum { OPEN_TILE = 8 };

/* P for NV vectors and an axis of n positions (n < 0: open). Of 32 registers one is left free. */
static int tile_size(const machine *m, int nv, int64_t n)
{
    int p = 1, free = m->vector_registers > 16 ? 1 : 0;
    for (int q = 1; q * nv + (q < nv ? q : nv) + 1 <= m->vector_registers - free; q++) p = q;
    if (n >= 0 && n < p) p = (int)n;
    if (n < 0 && p > OPEN_TILE) p = OPEN_TILE;
    return p;
}

/* Cycles of one step of the sum for all positions of the tile label, for each vector: multiply-adds, their latency (each
 * accumulator is one chain), loads (vectors and broadcasts), whichever is most. Even tiles as tiles() cuts them. */
static double cycles_a_vector(const machine *m, int nv, int p, int64_t n)
{
    if (n < 0) n = 8 * (int64_t)p;                        /* open: many */
    int64_t tiles = (n + p - 1) / p, big = (n + tiles - 1) / tiles, n_big = n - (big - 1) * tiles;
    double sum = 0;
    for (int small = 0; small < 2; small++) {
        double q = (double)(big - small), compute = q * nv / m->fma_per_cycle, loads = (q + nv) / m->loads_per_cycle;
        double cycles = compute > m->fma_latency ? compute : m->fma_latency;
        sum += (double)(small ? tiles - n_big : n_big) * (loads > cycles ? loads : cycles);
    }
    return sum / nv;
}

/* Blocks of the vector label, where it fills one: `by` of them side by side share their broadcasts. */
static const stmt *find_blocks(choice *c, const tiling *t, int stream, int by)
{
    const stmt *found = NULL;
    for (int i = 0; i < c->n_par; i++) {
        int64_t e = extent_of(c, c->par[i]);
        if (c->par[i] == t->vector || c->par[i] == t->tile || c->k->vars.at[c->par[i]->var].role != LOOP_free_b) continue;
        if (e >= by && e % by == 0 && step_of(c, stream, c->par[i]->var) > 0) found = c->par[i];
    }
    return found;
}

/* How many vectors wide, and how many positions. The usual form is two vectors (two blocks, if one fills a block); another
 * replaces it where the model says that it is clearly faster: 3 x 4 for 7 positions and 16 registers (4 x 2 and 3 x 2 leave
 * the pipeline half empty), 8 vectors where there is one position. */
static void choose_shape(choice *c, tiling *t, int64_t n, int stream)
{
    int64_t positions = t->tile ? extent_of(c, t->tile) : 1;
    t->nv = n >= 0 && n < 2 * t->v ? 1 : 2;
    if (n > 2 * t->v && n % (2 * t->v) != 0 && n % t->v == 0) t->nv = 1;
    bool by_blocks = n == (int64_t)t->nv * t->v;
    t->n_blocks = by_blocks && t->nv == 1 && find_blocks(c, t, stream, 2) ? 2 : 1;
    int total = t->n_blocks * t->nv;
    t->p = t->tile ? tile_size(c->m, total, positions) : 1;
    double usual = cycles_a_vector(c->m, total, t->p, positions);
    for (int wide = 2 * total; wide <= (by_blocks ? 4 : 8); wide *= 2) {
        bool fits = by_blocks ? find_blocks(c, t, stream, wide / t->nv) != NULL
                              : n >= 4 * (int64_t)wide * t->v || (n > 0 && n % ((int64_t)wide * t->v) == 0);
        int p = t->tile ? tile_size(c->m, wide, positions) : 1;
        if (!fits || p * wide + (p < wide ? p : wide) + 1 > c->m->vector_registers) continue;
        if (cycles_a_vector(c->m, wide, p, positions) > 0.95 * usual) continue;
        usual = cycles_a_vector(c->m, wide, p, positions);
        t->p = p;
        if (by_blocks) t->n_blocks = wide / t->nv;
        else t->nv = wide;
    }
    t->blocks = t->n_blocks > 1 ? find_blocks(c, t, stream, t->n_blocks) : NULL;
}

static bool choose_tile(choice *c, tiling *t)
{
    t->a = buf_named(c->k, "a");
    t->b = buf_named(c->k, "b");
    t->out = buf_named(c->k, "dst");
    if (t->a < 0) t->a = t->b;
    if (t->b < 0) t->b = t->a;
    int out = t->out >= 0 ? t->out : buf_named(c->k, "dst0");
    if (out < 0 || t->a < 0) return false;
    int best = -1;
    for (int i = 0; i < c->n_par; i++) {
        int64_t so = step_of(c, out, c->par[i]->var), sa = step_of(c, t->a, c->par[i]->var), sb = step_of(c, t->b, c->par[i]->var);
        if (so != 1) continue;
        int score = 1 + (sa == 1) + (sb == 1) + ((sa == 1 && sb == 0) || (sb == 1 && sa == 0));
        if (score > best) { best = score; t->vector = c->par[i]; }
    }
    if (!t->vector) return false;
    int64_t n = extent_of(c, t->vector), sb = step_of(c, t->b, t->vector->var);
    t->v = lanes_of(c);
    while (t->v > 1 && n >= 0 && n < t->v) t->v /= 2;
    if (t->v == 1) return false;
    int stream = sb != 0 ? t->b : t->a;                   /* the operand of vectors */
    /* The innermost axis that is long enough, else the longest; an open one only if there is no other. */
    int64_t longest = 0;
    for (int i = c->n_par - 1; i >= 0; i--) {
        const stmt *x = c->par[i];
        int64_t e = extent_of(c, x);
        if (x == t->vector || step_of(c, stream, x->var) != 0 || longest >= 4) continue;
        if (e < 0 ? t->tile == NULL : e > longest) t->tile = x;
        if (e > longest) longest = e;
    }
    choose_shape(c, t, n, stream);
    return true;
}

/* Does a border test on this tap depend on the tile label? Then it stays in the tile, where only the first and last
 * positions can fail it, and is asked once outside the innermost sum (unswitch): 97 % of peak at 56x56 with 12 accumulators,
 * 89 % without. Others are clipped. */
static bool test_moves_with(const choice *c, const block *b, int tap, int label)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_if && x_uses_var(x->cond, tap) && x_test_links(x->cond, tap, label)) return true;
        if (test_moves_with(c, &x->body, tap, label)) return true;
    }
    return false;
}

static bool is_tested(const block *b, int tap)
{
    for (int i = 0; i < b->n; i++) {
        const stmt *x = b->at[i];
        if (x->kind == STMT_if && x_uses_var(x->cond, tap)) return true;
        if (is_tested(&x->body, tap)) return true;
    }
    return false;
}

/* The innermost summed loop, if border tests that stay in the tile do not move with it. */
static const char *loop_to_unswitch(choice *c, const tiling *t)
{
    const stmt *last = c->sum[c->n_sum - 1];
    bool any = false;
    for (int i = 0; t->tile && i < c->n_sum; i++) any |= test_moves_with(c, &c->k->body, c->sum[i]->var, t->tile->var);
    return any && !is_tested(&c->k->body, last->var) ? name_of(c, last) : NULL;
}

static const char *write_contract(choice *c, const tiling *t, bool keep, bool borders, bool unswitch)
{
    text o = { .a = c->a };
    const char *v = name_of(c, t->vector), *p = t->tile ? name_of(c, t->tile) : NULL;
    int64_t n_tile = t->tile ? extent_of(c, t->tile) : 0;
    if (t->tile) {
        if (n_tile > 0) text_printf(&o, "tiles(%s, %d even) ", p, t->p);
        else text_printf(&o, "split(%s, %d) ", p, t->p);
    }
    const char *blocks = t->blocks ? name_of(c, t->blocks) : NULL;
    text_printf(&o, "split(%s, %d) split(%s.i, %d) ", v, t->v * t->nv, v, t->v);
    if (blocks) text_printf(&o, "split(%s, %d) ", blocks, t->n_blocks);
    if (t->pack) text_printf(&o, "split(%s.o, %d) ", blocks, GROUP);
    const stmt *cut = keep ? t->cut_label : NULL;
    if (cut) text_printf(&o, "split(%s, %lld) ", name_of(c, cut), (long long)t->cut);
    bool outer = keep && t->chunk_outer && !cut;
    const stmt *band = outer ? t->band : NULL;
    if (band) text_printf(&o, "split(%s, %d) ", name_of(c, band), BAND);
    text_put(&o, "order(");
    /* Outer parallel loops, then the chunk of the sum, then the tiles. */
    for (int i = 0; i < c->n_par; i++)
        if (c->par[i] != t->vector && c->par[i] != t->tile) text_printf(&o, "%s%s ", name_of(c, c->par[i]), c->par[i] == t->blocks && t->pack ? ".o.o" : c->par[i] == t->blocks || c->par[i] == band ? ".o" : "");
    if (outer) text_printf(&o, "%s ", name_of(c, c->sum[0]));
    if (cut) text_printf(&o, "%s.o ", name_of(c, cut));
    if (band) text_printf(&o, "%s.i ", name_of(c, band));
    if (t->pack) text_printf(&o, "%s.o %s.o.i ", p, blocks);
    text_printf(&o, "%s.o ", v);
    if (p && !t->pack) text_printf(&o, "%s.o ", p);
    text_put(&o, "|");
    for (int i = outer; i < c->n_sum; i++) text_printf(&o, " %s%s", name_of(c, c->sum[i]), c->sum[i] == cut ? ".i" : "");
    /* The wider side is streamed through one register: the loop over it stands outside. */
    bool stream_vectors = t->n_blocks * t->nv > t->p;
    if (p && !stream_vectors) text_printf(&o, " %s.i", p);
    if (blocks) text_printf(&o, " %s.i", blocks);
    text_printf(&o, " %s.i.o", v);
    if (p && stream_vectors) text_printf(&o, " %s.i", p);
    text_printf(&o, " %s.i.i) ", v);
    if (outer || cut) text_put(&o, "keep(acc, dst) ");
    for (int i = 0; borders && i < c->n_sum; i++) {
        if (!is_tested(&c->k->body, c->sum[i]->var)) continue;
        bool moves = t->tile && test_moves_with(c, &c->k->body, c->sum[i]->var, t->tile->var);
        if (!moves) text_printf(&o, "clip(%s) ", name_of(c, c->sum[i]));
    }
    text_put(&o, "unroll(");
    if (p) text_printf(&o, "%s.i ", p);
    if (blocks) text_printf(&o, "%s.i ", blocks);
    text_printf(&o, "%s.i.o) ", v);
    const char *inside = unswitch ? loop_to_unswitch(c, t) : NULL;
    if (inside) text_printf(&o, "unswitch(%s%s) ", inside, cut && cut == c->sum[c->n_sum - 1] ? ".i" : "");
    text_printf(&o, "vectorize(%s.i.i) ", v);
    if (t->pack) text_printf(&o, "pack(%s at %s.o) split(%s.i.%s, %d) vectorize(%s.i.%s.i) ", t->pack, p, name_of(c, cut), t->pack, t->v, name_of(c, cut), t->pack);
    if (work_of(c) >= SMALL_WORK) {
        bool any = false;
        for (int i = 0; i < c->n_par; i++) {
            if (c->par[i] == t->vector || c->par[i] == t->tile) continue;
            text_printf(&o, "%s%s%s", any ? " " : "parallel(", name_of(c, c->par[i]), c->par[i] == t->blocks && t->pack ? ".o.o" : c->par[i] == t->blocks || c->par[i] == band ? ".o" : "");
            any = true;
        }
        if (!any && !outer && !cut) { text_printf(&o, "parallel(%s.o", v); any = true; }
        if (any) text_put(&o, ") ");
    }
    return text_str(&o);
}

static void plan_sum(choice *c, tiling *t)
{
    /* keep needs the accumulator's type in out, and out for itself. */
    if (t->out < 0 || c->n_sum == 0) return;
    if (c->n_sum >= 3 && c->k->vars.at[c->sum[0]->var].role == LOOP_sum && extent_of(c, c->sum[0]) > 1) t->chunk_outer = true;
    for (int i = 0; t->chunk_outer && i < c->n_par; i++)
        if (c->par[i] != t->tile && c->k->vars.at[c->par[i]->var].role == LOOP_window_out && extent_of(c, c->par[i]) > BAND) t->band = c->par[i];
    const stmt *only = c->n_sum == 1 ? c->sum[0] : NULL;
    if (only && extent_of(c, only) >= 2 * SUM_CHUNK) {
        int64_t n = extent_of(c, only), chunks = (n + SUM_CHUNK - 1) / SUM_CHUNK;
        t->cut_label = only;
        t->cut = (n + chunks - 1) / chunks;
    }
}

/* Rows of the broadcast operand that share a few sets of the cache: more of them in a tile than a set has ways. */
static void plan_pack(choice *c, tiling *t)
{
    if (!t->cut_label || !t->tile || !t->blocks || t->p <= WAYS || t->a == t->b) return;
    int stream = step_of(c, t->b, t->vector->var) != 0 ? t->b : t->a, other = stream == t->b ? t->a : t->b;
    const buffer *b = &c->k->bufs.at[other];
    int64_t step = step_of(c, other, t->tile->var) * dtype_bytes(b->dtype);
    if (step <= 0 || step % SETS_BYTES || extent_of(c, t->blocks) < 2 * (int64_t)GROUP * t->n_blocks) return;
    if (step_of(c, other, t->cut_label->var) == 1) t->pack = b->name;
}

static void choose_contract(choice *c)
{
    tiling t = { 0 };
    if (!choose_tile(c, &t)) return;
    plan_sum(c, &t);
    plan_pack(c, &t);
    if (t.pack) {
        const char *steps = write_contract(c, &t, true, true, true);
        if (try_steps(c, steps)) {
            text_put(&c->out, steps);
            return;
        }
        t.pack = NULL;
    }
    /* From the best on down: what a kernel cannot have is left out. */
    for (int attempt = 0; attempt < 8; attempt++) {
        const char *steps = write_contract(c, &t, !(attempt & 4), !(attempt & 2), !(attempt & 1));
        if (!try_steps(c, steps)) continue;
        text_put(&c->out, steps);
        return;
    }
}

/* Divided subscripts (transposed convolutions, gradients of strided ones and of pools): one dense nest for each residue; what
 * is chosen for the nest with the longest sum serves them all. */
static void choose_phases(choice *c, void (*choose)(choice *))
{
    text steps = { .a = c->a };
    for (int i = 0; i < c->n_par; i++) {
        const char *more = arena_printf(c->a, "%sphase(%s) ", text_str(&steps), name_of(c, c->par[i]));
        if (!try_steps(c, more)) continue;
        steps.n = 0;
        text_put(&steps, more);
    }
    const char *why;
    kernel_code *phases = c->k;
    if (!text_str(&steps)[0] || !schedule_apply(&phases, text_str(&steps), c->a, &why)) {
        choose(c);
        return;
    }
    choice best = { 0 };
    for (int i = 0; i < phases->body.n; i++) {
        choice one = { .k = phases, .m = c->m, .a = c->a, .out = { .a = c->a } };
        block b = { 0 };
        block_push(phases, &b, phases->body.at[i]);
        if (look_at_block(&one, &b) && (!best.k || work_of(&one) > work_of(&best))) best = one;
    }
    if (!best.k) return;
    text_put(&best.out, text_str(&steps));
    choose(&best);
    c->out = best.out;
}

/* Blocked pools: lanes along the channels of a block. One tap (a gradient whose windows do not overlap) leaves no sum. */
static void choose_window(choice *c)
{
    const stmt *last = c->n_par ? c->par[c->n_par - 1] : NULL;
    if (!last || c->k->vars.at[last->var].role != LOOP_batch) return;
    if (c->n_sum > 0) {
        choose_columns(c, true);
        return;
    }
    int v = lanes_of(c);
    int64_t n = extent_of(c, last);
    while (v > 1 && n >= 0 && n < v) v /= 2;
    if (v == 1 || !stores_contiguous(c, last->var)) return;
    text_printf(&c->out, "split(%s, %d) vectorize(%s.i) ", name_of(c, last), v, name_of(c, last));
    if (c->n_par > 1 && work_of(c) >= SMALL_WORK) text_printf(&c->out, "parallel(%s) ", name_of(c, c->par[0]));
}

/* -- All -------------------------------------------------------------------------------------------------------------------------------------- */

const char *schedule_choose(kernel_code *k, const machine *m, arena *scratch)
{
    choice c = { .k = k, .m = m, .a = scratch, .out = { .a = scratch } };
    bool single = look_at_nest(&c);
    bool has_lanes = find_loop(k, &k->body, "lane") != NULL;
    switch (k->anchor) {
    case ANCHOR_map:
        if (single && c.n_sum == 0) choose_map(&c);
        break;
    case ANCHOR_row:
        if (has_lanes) choose_lanes(&c);
        else choose_columns(&c, single && c.n_sum > 0);
        break;
    case ANCHOR_contract:
        if (has_lanes) choose_lanes(&c);
        else if (single && c.n_sum > 0) choose_phases(&c, choose_contract);
        break;
    case ANCHOR_window:
        if (single && c.n_sum > 0) choose_phases(&c, choose_window);
        break;
    case ANCHOR_move: case ANCHOR_scatter:
        choose_nests(&c);
        break;
    case ANCHOR_sort: case ANCHOR_compact: case ANCHOR_COUNT:
        break;
    }
    return text_str(&c.out);
}
