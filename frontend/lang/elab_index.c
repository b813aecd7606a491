/* elab_index: index notation and subscripts
 *
 * Each index is an axis. Inside the brackets a value is a single element, held as a tensor over the axes it
 * depends on (extent 1 elsewhere); a reduction appends its axes and reduces them away; the tensor of the
 * brackets is the value spread over all axes. A subscript by bare indices is a transpose; any other a gather,
 * with bare indices as its batch.
 *
 * Ranges are found before the body is elaborated, by a look at its subscripts (reference.md, section 4):
 * explicit ones; the dimension where an index stands alone; the largest that keeps sums of multiples inside.
 */
#include "frontend/lang/elab.h"

bool index_value(elab *e, env *n, const char *name, val *out)
{
    for (int64_t i = e->idx.n; i-- > n->hidden;) {
        index_axis *x = &e->idx.at[i];
        if (x->name != name || x->is_spread) continue;
        dim d[MAX_RANK];
        for (int k = 0; k <= x->first; k++) d[k] = dim_const(1);
        d[x->first] = x->size[0];
        graph *g = e->fr->g;
        value v = iota(g, DTYPE_i64, x->first + 1, d, x->first);
        if (!dim_is(x->lo[0], 0)) v = add(g, v, constant_dim(g, DTYPE_i64, x->lo[0]));
        *out = v_tensor(e, v);
        out->is_elem = out->is_weak = true;
        out->axes = x->first + 1;
        return true;
    }
    return false;
}

/* -- Ranges ---------------------------------------------------------------------------------------------- */

typedef struct { int index; int64_t scale; } term;
typedef struct {
    bool is_affine, is_plain, is_spread;
    int n;
    term terms[8];
    dim c;
    const ast *at;
} subscript_form;
/* one subscript, the dimension it reads */
typedef struct { subscript_form form; dim extent; bool has_else; } use_of;
typedef struct {
    elab *e; env *n;
    vec(index_axis) all;                   /* every index of the body, those around it first */
    vec(int) scope;                        /* which are visible now */
    vec(use_of) uses;
    vec(struct spread_use { int index; int n; dim d[MAX_RANK]; const ast *at; }) spreads;
} finder;

static int index_named(const finder *f, const char *name, bool is_spread)
{
    for (int64_t i = f->scope.n; i-- > 0;)
        if (f->all.at[f->scope.at[i]].name == name && f->all.at[f->scope.at[i]].is_spread == is_spread)
            return f->scope.at[i];
    return -1;
}

/* Does an index of this scope, or a name bound to a single element, occur? */
static bool mentions(const finder *f, const ast *x)
{
    if (!x) return false;
    if (x->kind == A_NAME || x->kind == A_SPREAD) {
        if (!x->name) return false;
        if (index_named(f, x->name, x->kind == A_SPREAD) >= 0) return true;
        bind *b = lookup(f->n, x->name);
        return b && b->v.k == V_TENSOR && b->v.is_elem;
    }
    for (int i = 0; i < x->n; i++)
        if (mentions(f, x->kid[i])) return true;
    return mentions(f, x->a) || mentions(f, x->b) || mentions(f, x->c) || mentions(f, x->d);
}

static val eval_outside(elab *e, env *n, ast *x)
{
    bool old = e->in_index;
    int hidden = n->hidden, axes = e->n_axes;
    e->in_index = false;
    n->hidden = (int)e->idx.n;
    e->n_axes = 0;
    val v = eval(e, n, x);
    e->in_index = old;
    n->hidden = hidden;
    e->n_axes = axes;
    return v;
}

static bool add_terms(subscript_form *s, const subscript_form *a, int64_t scale, dims *t)
{
    for (int i = 0; i < a->n; i++) {
        int k = 0;
        while (k < s->n && s->terms[k].index != a->terms[i].index) k++;
        if (k == 8) return false;
        if (k == s->n) s->terms[s->n++] = (term){ a->terms[i].index, 0 };
        s->terms[k].scale += scale * a->terms[i].scale;
    }
    s->c = dim_add(t, s->c, dim_mulk(t, a->c, scale));
    return true;
}

/* c1*i + c2*j + ... + c, or not. */
static bool affine(finder *f, ast *x, subscript_form *s)
{
    *s = (subscript_form){ .is_affine = true, .c = dim_const(0), .at = x };
    if (!mentions(f, x)) {
        val v = eval_outside(f->e, f->n, x);
        s->c = v.k == V_INT ? v.d : s->c;
        return s->is_affine = v.k == V_INT;
    }
    subscript_form a, b;
    if (x->kind == A_NAME) {
        int i = index_named(f, x->name, false);
        s->is_affine = i >= 0;
        s->n = 1;
        s->terms[0] = (term){ i, 1 };
        return i >= 0;
    }
    bool ok = false;
    if (x->kind == A_UN && x->name[0] == '-') ok = affine(f, x->a, &a) && add_terms(s, &a, -1, f->e->dims);
    else if (x->kind == A_BIN && (x->name[0] == '+' || x->name[0] == '-'))
        ok = affine(f, x->a, &a) && affine(f, x->b, &b) && add_terms(s, &a, 1, f->e->dims) &&
             add_terms(s, &b, x->name[0] == '+' ? 1 : -1, f->e->dims);
    else if (x->kind == A_BIN && x->name[0] == '*' && !x->name[1] && affine(f, x->a, &a) &&
             affine(f, x->b, &b)) {
        int64_t k;
        if (!a.n && dim_is_const(a.c, &k)) ok = add_terms(s, &b, k, f->e->dims);
        else if (!b.n && dim_is_const(b.c, &k)) ok = add_terms(s, &a, k, f->e->dims);
    }
    return s->is_affine = ok;
}

static subscript_form form_of(finder *f, ast *x)
{
    subscript_form s;
    affine(f, x, &s);
    s.is_plain = s.is_affine && s.n == 1 && s.terms[0].scale == 1 && dim_is(s.c, 0) && x->kind == A_NAME;
    return s;
}

static val base_value(elab *e, env *n, ast *x)
{
    for (int64_t i = e->base_ast.n; i-- > 0;)
        if (e->base_ast.at[i] == x) {
            val v = e->base_val.at[i];
            if (v.k == V_TENSOR) {
                v.v = here(e, &v);
                v.g = e->fr->g;
            }
            return v;
        }
    val v = eval_outside(e, n, x);
    if (v.k == V_LIST && v.n && (v.item[0].k == V_LIST || is_number(&v.item[0])))
        v = to_tensor(e, x, v, DTYPE_NONE);
    vec_push(e->a, &e->base_ast, x);
    vec_push(e->a, &e->base_val, v);
    return v;
}

static void look(finder *f, ast *x);

static void look_subscript(finder *f, ast *x)
{
    bool any = false;
    for (int i = 0; i < x->n; i++) any |= mentions(f, x->kid[i]);
    for (int i = 0; i < x->n; i++) look(f, x->kid[i]);
    look(f, x->b);
    if (!any || mentions(f, x->a)) { look(f, x->a); return; }
    val base = base_value(f->e, f->n, x->a);
    if (base.k != V_TENSOR || base.is_elem) return;
    int rank = rank_v(f->e, &base), spread = -1;
    for (int i = 0; i < x->n; i++)
        if (x->kid[i]->kind == A_SPREAD && x->kid[i]->name) spread = i;
    if (spread < 0 ? rank != x->n : rank < x->n - 1)
        elab_error(f->e, x, "inside index brackets a tensor has all its subscripts", subscript_count, x->n,
                   rank, rank == 1 ? "" : "s");
    for (int i = 0, axis = 0; i < x->n; i++) {
        if (i == spread) {
            struct spread_use u = { .index = index_named(f, x->kid[i]->name, true),
                                    .n = rank - (x->n - 1),
                                    .at = x->kid[i] };
            for (int k = 0; k < u.n; k++) u.d[k] = dim_v(f->e, &base, axis++);
            if (u.index >= 0) vec_push(f->e->a, &f->spreads, u);
            continue;
        }
        if (x->kid[i]->kind == A_SLICE || x->kid[i]->kind == A_SPREAD)
            elab_error(f->e, x->kid[i], NULL, part_in_index);
        use_of u = { .form = form_of(f, x->kid[i]),
                     .extent = dim_v(f->e, &base, axis++),
                     .has_else = x->b != NULL };
        vec_push(f->e->a, &f->uses, u);
    }
}

static int add_index(finder *f, const ast *b)
{
    index_axis x = { .name = b->name, .binder = b, .is_spread = b->flag, .n = 1 };
    if (b->a && b->b) {
        bool inside = mentions(f, b->a) || mentions(f, b->b);
        if (inside) elab_error(f->e, b, NULL, index_range_depends, b->name);
        val lo = eval_outside(f->e, f->n, b->a), hi = eval_outside(f->e, f->n, b->b);
        x.lo[0] = need_dim(f->e, b->a, &lo);
        x.size[0] = dim_sub(f->e->dims, need_dim(f->e, b->b, &hi), x.lo[0]);
        x.known = true;
    } else x.lo[0] = dim_const(0);
    vec_push(f->e->a, &f->all, x);
    return (int)f->all.n - 1;
}

static void look(finder *f, ast *x)
{
    if (!x) return;
    if (x->kind == A_SUB) { look_subscript(f, x); return; }
    if (x->kind == A_REDUCE) {
        int64_t mark = f->scope.n;
        for (int i = 0; i < x->n; i++) {
            int k = add_index(f, x->kid[i]);
            vec_push(f->e->a, &f->scope, k);
        }
        look(f, x->a);
        f->scope.n = mark;
        return;
    }
    if (x->kind == A_COMP || x->kind == A_FN) return;
    for (int i = 0; i < x->n; i++) look(f, x->kid[i]);
    look(f, x->a);
    look(f, x->b);
    look(f, x->c);
    look(f, x->d);
}

/* Rule 2: an index that stands alone has the dimension's range. */
static void plain_ranges(finder *f)
{
    elab *e = f->e;
    for (int64_t i = 0; i < f->spreads.n; i++) {
        struct spread_use *u = &f->spreads.at[i];
        index_axis *x = &f->all.at[u->index];
        if (!x->known) {
            x->known = true;
            x->n = u->n;
            for (int k = 0; k < u->n; k++) { x->lo[k] = dim_const(0); x->size[k] = u->d[k]; }
            continue;
        }
        bool same = x->n == u->n;
        for (int k = 0; same && k < u->n; k++) same = dim_same(x->size[k], u->d[k]);
        if (!same) elab_error(e, u->at, NULL, rest_index_sizes, x->name);
    }
    for (int64_t i = 0; i < f->uses.n; i++) {
        use_of *u = &f->uses.at[i];
        if (!u->form.is_plain) continue;
        index_axis *x = &f->all.at[u->form.terms[0].index];
        if (x->binder && x->binder->a) continue;
        if (!x->known) { x->known = true; x->size[0] = u->extent; }
        else if (!dim_same(x->size[0], u->extent))
            elab_error(e, u->form.at, NULL, index_sizes, x->name,
                       show_value(e, &(val){ .k = V_INT, .d = x->size[0] }),
                       show_value(e, &(val){ .k = V_INT, .d = u->extent }));
    }
}

/* The smallest and largest value of a subscript; skip: an index left out. */
static void form_range(finder *f, const subscript_form *s, int skip, dim *lo, dim *hi)
{
    dims *t = f->e->dims;
    *lo = *hi = s->c;
    for (int i = 0; i < s->n; i++) {
        if (s->terms[i].index == skip) continue;
        index_axis *x = &f->all.at[s->terms[i].index];
        dim first = x->lo[0], last = dim_addk(t, dim_add(t, x->lo[0], x->size[0]), -1);
        int64_t k = s->terms[i].scale;
        *lo = dim_add(t, *lo, dim_mulk(t, k > 0 ? first : last, k));
        *hi = dim_add(t, *hi, dim_mulk(t, k > 0 ? last : first, k));
    }
}

/* Rule 3: the largest range from 0 that keeps every subscript inside. */
static bool window_ranges(finder *f)
{
    bool changed = false;
    dims *t = f->e->dims;
    for (int64_t k = 0; k < f->all.n; k++) {
        index_axis *x = &f->all.at[k];
        if (x->known || x->is_spread) continue;
        bool ok = true, found = false;
        dim size = dim_const(0);
        for (int64_t i = 0; i < f->uses.n && ok; i++) {
            use_of *u = &f->uses.at[i];
            if (!u->form.is_affine || u->has_else) continue;
            int64_t scale = 0;
            for (int j = 0; j < u->form.n; j++)
                if (u->form.terms[j].index == k) scale = u->form.terms[j].scale;
            if (scale <= 0) continue;
            for (int j = 0; j < u->form.n; j++)
                if (u->form.terms[j].index != k && !f->all.at[u->form.terms[j].index].known) ok = false;
            if (!ok) break;
            dim lo, hi;
            form_range(f, &u->form, (int)k, &lo, &hi);
            dim s = dim_addk(t, dim_div(t, dim_sub(t, dim_addk(t, u->extent, -1), hi), dim_const(scale)), 1);
            size = found ? dim_min(t, size, s) : s;
            found = true;
        }
        if (!ok || !found) continue;
        x->known = changed = true;
        x->size[0] = size;
    }
    return changed;
}

/* Pushes the indices of a bracket with their ranges as new axes. */
static void push_indices(elab *e, env *n, ast *x)
{
    finder f = { .e = e, .n = n };
    bool need = x->kind == A_COMP;
    vec(index_axis) found = { 0 };
    for (int i = 0; i < x->n && !need; i++) {
        int64_t k = e->ranges.n;
        while (k-- > 0 && e->ranges.at[k].binder != x->kid[i]) continue;
        if (k < 0) need = true;
        else vec_push(e->a, &found, e->ranges.at[k]);
    }
    if (need) {
        for (int64_t i = n->hidden; i < e->idx.n; i++) {
            vec_push(e->a, &f.all, e->idx.at[i]);
            f.all.at[f.all.n - 1].known = true;
            vec_push(e->a, &f.scope, (int)i - n->hidden);
        }
        int first = (int)f.all.n;
        for (int i = 0; i < x->n; i++) {
            for (int64_t j = 0; j < f.scope.n; j++)
                if (f.all.at[f.scope.at[j]].name == x->kid[i]->name)
                    elab_error(e, x->kid[i], NULL, index_hides, x->kid[i]->name);
            int k = add_index(&f, x->kid[i]);
            vec_push(e->a, &f.scope, k);
        }
        look(&f, x->a);
        plain_ranges(&f);
        while (window_ranges(&f)) continue;
        for (int64_t i = first; i < f.all.n; i++)
            if (!f.all.at[i].known)
                elab_error(e, f.all.at[i].binder, NULL, index_range_open, f.all.at[i].name);
        found.n = 0;
        for (int i = 0; i < x->n; i++) vec_push(e->a, &found, f.all.at[first + i]);
        for (int64_t i = first + x->n; i < f.all.n; i++) vec_push(e->a, &e->ranges, f.all.at[i]);
    }
    for (int i = 0; i < x->n; i++) {
        index_axis a = found.at[i];
        a.first = e->n_axes;
        e->n_axes += a.n;
        if (e->n_axes >= MAX_RANK) elab_error(e, x, NULL, too_many_indices, MAX_RANK - 1);
        vec_push(e->a, &e->idx, a);
    }
}

/* An element as a tensor over all axes there are now, full in those from `full` on. */
static value spread_out(elab *e, const ast *at, val v, int full, int64_t first_index)
{
    graph *g = e->fr->g;
    v = to_tensor(e, at, v, DTYPE_NONE);
    if (!v.is_elem && rank_v(e, &v) > 0) elab_error(e, at, NULL, index_body_not_single, show_value(e, &v));
    type t = type_of(g, v.v);
    dim d[MAX_RANK];
    for (int i = 0; i < e->n_axes; i++) d[i] = v.is_elem && i < v.axes ? t.dims[i] : dim_const(1);
    value r = reshape(g, v.v, e->n_axes, d);
    for (int64_t i = first_index; i < e->idx.n; i++) {
        index_axis *x = &e->idx.at[i];
        for (int k = 0; k < x->n; k++)
            if (x->first + k >= full) d[x->first + k] = x->size[k];
    }
    return broadcast(g, r, e->n_axes, d);
}

val eval_comp(elab *e, env *n, ast *x)
{
    if (e->in_index) elab_error(e, x, NULL, index_in_index);
    int64_t mark = e->idx.n, ranges = e->ranges.n, bases = e->base_ast.n;
    int axes = e->n_axes, hidden = n->hidden;
    e->n_axes = 0;
    n->hidden = (int)mark;
    push_indices(e, n, x);
    e->in_index = true;
    val v = eval(e, n, x->a);
    e->in_index = false;
    val r = v_tensor(e, spread_out(e, x->a, v, 0, mark));
    e->idx.n = mark;
    e->ranges.n = ranges;
    e->base_ast.n = e->base_val.n = bases;
    e->n_axes = axes;
    n->hidden = hidden;
    return r;
}

val eval_reduction(elab *e, env *n, ast *x)
{
    bool outer = !e->in_index;
    int64_t mark = e->idx.n, ranges = e->ranges.n, bases = e->base_ast.n;
    int axes = e->n_axes, hidden = n->hidden;
    if (outer) { e->n_axes = 0; n->hidden = (int)mark; }
    int from = e->n_axes;
    push_indices(e, n, x);
    e->in_index = true;
    val v = eval(e, n, x->a);
    e->in_index = !outer;
    value full = spread_out(e, x->a, v, from, mark);
    uint32_t which = 0;
    for (int i = from; i < e->n_axes; i++) which |= 1u << i;
    val r;
    if (x->name[0] == 'a' && x->name[1] == 'r') {
        if (x->n != 1 || e->idx.at[mark].n != 1) elab_error(e, x, NULL, takes_one_index, x->name);
        r = reduce_value(e, x, x->name, full, which, false);
        if (!dim_is(e->idx.at[mark].lo[0], 0))
            r.v = add(e->fr->g, r.v, constant_dim(e->fr->g, DTYPE_i64, e->idx.at[mark].lo[0]));
    } else r = reduce_value(e, x, x->name, full, which, false);
    e->idx.n = mark;
    e->n_axes = outer ? axes : from;
    if (outer) { e->ranges.n = ranges; e->base_ast.n = e->base_val.n = bases; n->hidden = hidden; }
    r.is_elem = !outer;
    r.axes = outer ? 0 : from;
    return r;
}

/* -- Subscripts by indices ------------------------------------------------------------------------------- */

static value dim_value(elab *e, dim d) { return constant_dim(e->fr->g, DTYPE_i64, d); }

static val v_elem(elab *e, value v, int axes)
{
    val r = v_tensor(e, v);
    r.is_elem = true;
    r.axes = axes;
    return r;
}

/* All subscripts are bare indices of full range: a transpose. axis[k]: index axis of dimension k. */
static val transposed(elab *e, value base, int rank, const int *axis)
{
    graph *g = e->fr->g;
    int perm[MAX_RANK], n = 0, top = 0;
    dim d[MAX_RANK];
    for (int i = 0; i < rank; i++) if (axis[i] + 1 > top) top = axis[i] + 1;
    for (int a = 0; a < top; a++) {
        d[a] = dim_const(1);
        for (int i = 0; i < rank; i++)
            if (axis[i] == a) { perm[n++] = i; d[a] = dim_of(g, base, i); }
    }
    value v = transpose(g, base, perm);
    return v_elem(e, reshape(g, v, top, d), top);
}

/* -- Subscripts that are no axis ------------------------------------------------------------------------- */

/* Which axis of the expression each dim of the base follows, and the index tensors of those that follow
 * none. */
typedef struct {
    int rank, axis_of[MAX_RANK];      /* -1: gathered */
    int n, dim_of[MAX_RANK];          /* the gathered dims */
    val idx[MAX_RANK];
    val inside;                       /* has_inside: are all subscripts inside? */
    bool has_inside;
} gather_plan;

/* x[..s]: the base's dims from k on follow the axes of `..s`. The next k. */
static int follow_spread(elab *e, const ast *sub, finder *f, gather_plan *plan, bool *used, int k)
{
    int s = sub->name ? index_named(f, sub->name, true) : -1;
    if (s < 0) elab_error(e, sub, NULL, rest_index_unknown, sub->name ? sub->name : "");
    const index_axis *a = &f->all.at[s];
    for (int j = 0; j < a->n; j++) {
        if (used[a->first + j]) elab_error(e, sub, NULL, rest_index_twice, a->name);
        used[a->first + j] = true;
        plan->axis_of[k++] = a->first + j;
    }
    return k;
}

/* Notes in the plan where v is outside [0, extent). */
static void note_inside(elab *e, const ast *x, val v, dim extent, bool below, bool above, gather_plan *plan)
{
    val ok = v_bool(true), parts[2] = { { 0 } };
    if (below) parts[0] = arith(e, x, ">=", v, v_int(0));
    if (above) parts[1] = arith(e, x, "<", v, v_tensor(e, dim_value(e, extent)));
    for (int q = 0; q < 2; q++) {
        if (parts[q].k != V_TENSOR) continue;
        val y[2] = { ok, parts[q] };
        ok = ok.k == V_BOOL ? parts[q] : elementwise(e, x, "and", SCALAR_and, 2, y);
    }
    val y[2] = { plan->inside, ok };
    plan->inside = plan->has_inside ? elementwise(e, x, "and", SCALAR_and, 2, y) : ok;
    plan->has_inside = true;
}

/* The subscript's value as an index into a dim of this extent. Outside: what `else:` of x says, else clamped
 * if it depends on data, else an error. */
static val gathered_index(elab *e, env *n, ast *x, ast *sub, finder *f, const subscript_form *s, dim extent,
                          gather_plan *plan)
{
    dim lo = dim_const(0), hi = dim_const(0), last = dim_addk(e->dims, extent, -1);
    bool below = true, above = true;
    if (s->is_affine) {
        form_range(f, s, -1, &lo, &hi);
        below = !dim_known_le(e->dims, dim_const(0), lo);
        above = !dim_known_le(e->dims, hi, last);
        if (below && !x->b)
            elab_error(e, sub, NULL, subscript_too_low, show_value(e, &(val){ .k = V_INT, .d = lo }));
        if (above && !x->b)
            elab_error(e, sub, NULL, subscript_too_high, show_value(e, &(val){ .k = V_INT, .d = hi }),
                       show_value(e, &(val){ .k = V_INT, .d = last }));
    }
    val v = to_tensor(e, sub, eval(e, n, sub), DTYPE_i64);
    if (!is_int(dtype_v(&v)) || rank_v(e, &v))
        elab_error(e, sub, NULL, subscript_not_whole, show_value(e, &v));
    v = convert(e, sub, v, DTYPE_i64);
    if (x->b && (below || above)) {
        note_inside(e, x, v, extent, below, above, plan);
    } else if (!s->is_affine) {
        val y[2] = { v, v_tensor(e, scalar_i64(e->fr->g, DTYPE_i64, 0)) };
        v = elementwise(e, x, "max", SCALAR_max, 2, y);
        val z[2] = { v, v_tensor(e, dim_value(e, last)) };
        v = elementwise(e, x, "min", SCALAR_min, 2, z);
    }
    return v;
}

static void plan_gather(elab *e, env *n, ast *x, value base, finder *f, gather_plan *plan)
{
    bool used[MAX_RANK] = { false };
    for (int i = 0, k = 0; i < x->n; i++) {
        ast *sub = x->kid[i];
        if (sub->kind == A_SPREAD) {
            k = follow_spread(e, sub, f, plan, used, k);
            continue;
        }
        subscript_form s = form_of(f, sub);
        dim extent = dim_of(e->fr->g, base, k);
        const index_axis *a = s.is_plain ? &f->all.at[s.terms[0].index] : NULL;
        if (a && !used[a->first] && dim_is(a->lo[0], 0) && dim_same(a->size[0], extent)) {
            used[a->first] = true;
            plan->axis_of[k++] = a->first;
            continue;
        }
        plan->idx[plan->n] = gathered_index(e, n, x, sub, f, &s, extent, plan);
        plan->dim_of[plan->n++] = k;
        plan->axis_of[k++] = -1;
    }
}

/* The plan's index tensors, reshaped and stretched to one shape S over m axes. */
static int align_indices(graph *g, const gather_plan *plan, value *out, dim *S)
{
    int m = 0;
    for (int i = 0; i < plan->n; i++)
        if (plan->idx[i].is_elem && plan->idx[i].axes > m) m = plan->idx[i].axes;
    for (int a = 0; a < m; a++) S[a] = dim_const(1);
    for (int i = 0; i < plan->n; i++) {
        int have = plan->idx[i].is_elem ? plan->idx[i].axes : 0;
        type t = type_of(g, plan->idx[i].v);
        dim d[MAX_RANK];
        for (int a = 0; a < m; a++) {
            d[a] = a < have ? t.dims[a] : dim_const(1);
            if (!dim_is(d[a], 1)) S[a] = d[a];
        }
        out[i] = reshape(g, plan->idx[i].v, m, d);
    }
    for (int i = 0; i < plan->n; i++) out[i] = broadcast(g, out[i], m, S);
    return m;
}

/* v[S…, free…], the free dims of axes free_axis[nf], in the order of the axes; an axis of S that is also a
 * free one has size 1 there. *top: how many axes. */
static value in_axis_order(graph *g, value v, int m, const dim *S, int nf, const int *free_axis, int *top)
{
    type t = type_of(g, v);
    int perm[MAX_RANK], np = 0, kept[MAX_RANK], nk = 0;
    dim d[MAX_RANK], final[MAX_RANK];
    *top = m;
    for (int i = 0; i < nf; i++)
        if (free_axis[i] + 1 > *top) *top = free_axis[i] + 1;
    for (int a = 0; a < m; a++) {
        bool replaced = false;
        for (int i = 0; i < nf; i++) replaced |= free_axis[i] == a;
        if (replaced) continue;
        d[nk] = S[a];
        kept[nk++] = a;
    }
    for (int i = 0; i < nf; i++) d[nk + i] = t.dims[m + i];
    v = reshape(g, v, nk + nf, d);
    for (int a = 0; a < *top; a++) {
        final[a] = dim_const(1);
        for (int i = 0; i < nk; i++)
            if (kept[i] == a) { final[a] = S[a]; perm[np++] = i; }
        for (int i = 0; i < nf; i++)
            if (free_axis[i] == a) { final[a] = d[nk + i]; perm[np++] = nk + i; }
    }
    return reshape(g, transpose(g, v, perm), *top, final);
}

static val index_gather(elab *e, env *n, ast *x, val base, finder *f)
{
    graph *g = e->fr->g;
    value b = here(e, &base), idx[MAX_RANK];
    gather_plan plan = { .rank = rank_v(e, &base), .inside = v_bool(true) };
    plan_gather(e, n, x, b, f, &plan);
    if (!plan.n) return transposed(e, b, plan.rank, plan.axis_of);

    dim S[MAX_RANK];
    int m = align_indices(g, &plan, idx, S), n_batch = 0, batch_x[MAX_RANK], batch_s[MAX_RANK];
    int n_free = 0, free_axis[MAX_RANK], top;
    for (int k = 0; k < plan.rank; k++) {
        int axis = plan.axis_of[k];
        if (axis < 0) continue;
        if (axis < m && !dim_is(S[axis], 1)) {
            batch_x[n_batch] = k;
            batch_s[n_batch++] = axis;
        } else {
            free_axis[n_free++] = axis;
        }
    }
    value v = gather(g, b, plan.n, idx, plan.dim_of, n_batch, batch_x, batch_s);
    v = in_axis_order(g, v, m, S, n_free, free_axis, &top);
    val r = v_elem(e, v, top);
    return plan.has_inside ? where_v(e, x, plan.inside, r, eval(e, n, x->b)) : r;
}

/* -- Ordinary subscripts --------------------------------------------------------------------------------- */

static int64_t place_in(elab *e, const ast *at, int64_t i, int64_t n)
{
    int64_t k = i < 0 ? i + n : i;
    if (k < 0 || k >= n) elab_error(e, at, NULL, no_element, (long long)i, (long long)n);
    return k;
}

static val list_subscript(elab *e, env *n, ast *x, val base)
{
    if (x->n != 1) elab_error(e, x, NULL, list_subscript_count, x->n);
    ast *s = x->kid[0];
    if (s->kind != A_SLICE) {
        val v = eval(e, n, s);
        return base.item[place_in(e, s, need_int(e, s, &v, "a subscript of a list"), base.n)];
    }
    int64_t lo = 0, hi = base.n;
    if (s->a) { val v = eval(e, n, s->a); lo = need_int(e, s, &v, "a bound"); }
    if (s->b) { val v = eval(e, n, s->b); hi = need_int(e, s, &v, "a bound"); }
    if (lo < 0) lo += base.n;
    if (hi < 0) hi += base.n;
    if (s->c || lo < 0 || hi > base.n || lo > hi) elab_error(e, s, NULL, list_bounds, base.n);
    return v_list(e, (int)(hi - lo), base.item + lo);
}

static dim bound_of(elab *e, env *n, ast *x, dim extent, dim other)
{
    if (!x) return other;
    val v = eval(e, n, x);
    dim d = need_dim(e, x, &v);
    int64_t k;
    bool negative = dim_is_const(d, &k) ? k < 0 : dim_known_lt(e->dims, d, dim_const(0));
    return negative ? dim_add(e->dims, extent, d) : d;
}

/* x[a:b:c] along an axis */
static value slice_part(elab *e, env *n, ast *s, value v, int axis)
{
    graph *g = e->fr->g;
    dims *t = e->dims;
    dim extent = dim_of(g, v, axis);
    int64_t step = 1;
    if (s->c) { val c = eval(e, n, s->c); step = need_int(e, s->c, &c, "a step"); }
    if (step == 0) elab_error(e, s->c, NULL, step_zero);
    if (!s->a && !s->b && step == 1) return v;
    if (step < 0) {
        if (s->a || s->b) elab_error(e, s, NULL, bounds_with_negative_step);
        v = flip(g, v, axis);
        return slice_axis(g, v, axis, dim_const(0), dim_ceildiv(t, extent, dim_const(-step)), -step);
    }
    dim lo = bound_of(e, n, s->a, extent, dim_const(0)), hi = bound_of(e, n, s->b, extent, extent);
    if (!dim_known_le(t, dim_const(0), lo) || !dim_known_le(t, lo, hi) || !dim_known_le(t, hi, extent))
        elab_error(e, s, NULL, slice_bounds, show_value(e, &(val){ .k = V_INT, .d = lo }),
                   show_value(e, &(val){ .k = V_INT, .d = hi }),
                   show_value(e, &(val){ .k = V_INT, .d = extent }));
    return slice_axis(g, v, axis, lo, dim_ceildiv(t, dim_sub(t, hi, lo), dim_const(step)), step);
}

/* A subscript known at run time only: limited to the valid range. */
static value limited(elab *e, const ast *at, val i, dim extent)
{
    graph *g = e->fr->g;
    if (!is_int(dtype_v(&i))) elab_error(e, at, "convert it: i64(x)", subscript_not_whole, show_value(e, &i));
    value v = cast(g, here(e, &i), DTYPE_i64);
    v = bin(g, SCALAR_max, v, scalar_i64(g, DTYPE_i64, 0));
    return bin(g, SCALAR_min, v, dim_value(e, dim_addk(e->dims, extent, -1)));
}

static val tensor_subscript(elab *e, env *n, ast *x, val base)
{
    graph *g = e->fr->g;
    value v = here(e, &base);
    int rank = rank_v(e, &base), given = 0, axis = 0;
    bool spread = false;
    for (int i = 0; i < x->n; i++) {
        if (x->kid[i]->kind == A_SPREAD) spread = true;
        else if (x->kid[i]->kind != A_NONE) given++;
    }
    if (given > rank) elab_error(e, x, NULL, subscript_count, given, rank, rank == 1 ? "" : "s");
    if (x->b) elab_error(e, x->b, NULL, else_outside_index);
    (void)spread;
    for (int i = 0; i < x->n; i++) {
        ast *s = x->kid[i];
        if (s->kind == A_SPREAD) { axis += rank - given; continue; }
        if (s->kind == A_SLICE) { v = slice_part(e, n, s, v, axis++); continue; }
        val k = eval(e, n, s);
        if (k.k == V_NONE) {
            v = unsqueeze(g, v, 1u << axis);
            axis++;
            continue;
        }
        dim extent = dim_of(g, v, axis);
        int64_t c, m;
        if (k.k == V_INT) {
            dim at = k.d;
            if (dim_is_const(at, &c)) {
                if (dim_is_const(extent, &m)) at = dim_const(place_in(e, s, c, m));
                else if (c < 0) at = dim_add(e->dims, extent, at);
            }
            v = squeeze(g, slice_axis(g, v, axis, at, dim_const(1), 1), 1u << axis);
            continue;
        }
        if (k.k == V_LIST) k = to_tensor(e, s, k, DTYPE_i64);
        if (k.k != V_TENSOR || k.is_elem) elab_error(e, s, NULL, subscript_not_whole, show_kind(e, &k));
        int kr = rank_v(e, &k);
        v = take(g, v, limited(e, s, k, extent), axis);
        axis += kr;
    }
    return v_tensor(e, v);
}

val eval_subscript(elab *e, env *n, ast *x)
{
    finder f = { .e = e, .n = n };
    for (int64_t i = n->hidden; i < e->idx.n; i++) {
        vec_push(e->a, &f.all, e->idx.at[i]);
        vec_push(e->a, &f.scope, (int)f.all.n - 1);
    }
    bool any = false;
    for (int i = 0; i < x->n; i++) any |= mentions(&f, x->kid[i]);
    if (any && e->in_index) {
        if (mentions(&f, x->a)) elab_error(e, x->a, NULL, base_depends_on_index);
        val base = base_value(e, n, x->a);
        if (base.k != V_TENSOR) elab_error(e, x->a, NULL, subscripts_of, show_kind(e, &base));
        return index_gather(e, n, x, base, &f);
    }
    val base = eval(e, n, x->a);
    if (base.k == V_LIST || base.k == V_TUPLE) {
        bool ints = x->n == 1;
        for (int i = 0; i < x->n; i++) ints &= x->kid[i]->kind != A_SPREAD;
        if (ints && x->kid[0]->kind != A_SLICE) {
            val k = eval(e, n, x->kid[0]);
            if (k.k == V_TENSOR) return tensor_subscript(e, n, x, to_tensor(e, x->a, base, DTYPE_NONE));
        }
        return ints ? list_subscript(e, n, x, base)
                    : tensor_subscript(e, n, x, to_tensor(e, x->a, base, DTYPE_NONE));
    }
    if (base.k != V_TENSOR || base.is_elem) elab_error(e, x->a, NULL, subscripts_of, show_kind(e, &base));
    return tensor_subscript(e, n, x, base);
}
