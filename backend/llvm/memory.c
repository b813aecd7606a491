/* backend/llvm/memory.c: buffers while a function is emitted: elements of memory, and register slices.
 *
 * Memory     a contiguous run of lanes is one vector access, aligned as its element; the same element in all
 *            lanes is a scalar; anything else goes lane by lane. Under a mask the masked intrinsics do the
 *            same.
 * Registers  A `reg` buffer whose indices are constants once unrolled becomes slices: allocas of exactly the
 *            vectors (or scalars) by which it is read, which mem2reg turns into values. Made inside a vector
 *            loop, each element is a vector over the lanes. Where an index is not constant the buffer is an
 *            array on the stack.
 */
#include "backend/llvm/function.h"
#include <assert.h>

enum { MAX_SLICES = 512 };

/* -- Is an access inside its buffer, whatever the condition around it? ----------------------------------- */

bool access_is_inside(fn_state *s, int buf, const expr *const *index)
{
    const buffer *b = &s->k->bufs.at[buf];
    for (int i = 0; i < b->rank; i++) {
        int64_t n;
        bounds r = bounds_of(s, index[i]);
        if (!dim_is_const(b->dims[i], &n) || r.lo < 0 || r.hi >= n) return false;
    }
    return true;
}

/* -- Memory ---------------------------------------------------------------------------------------------- */

static V align(V access, dtype t) { LLVMSetAlignment(access, (unsigned)dtype_bytes(t)); return access; }

static V from_memory(emitter *e, dtype t, V v)
{
    return t == DTYPE_bool ? LLVMBuildICmp(e->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "") : v;
}

static V to_memory(emitter *e, dtype t, V v, int n_lanes)
{
    return t == DTYPE_bool ? LLVMBuildZExt(e->b, v, lanes_of(e->i8, n_lanes), "") : v;
}

/* The pointers of all lanes, as a vector. */
static V lane_pointers(fn_state *s, int buf, const linear_form *f)
{
    emitter *e = s->e;
    linear_form uniform = *f;
    uniform.vec = NULL;
    V offset = iota_v(e, s->lanes, f->lane);
    if (f->vec) offset = LLVMBuildAdd(e->b, offset, f->vec, "");
    V base = pointer_at(s, buf, &uniform, 0);
    return LLVMBuildGEP2(e->b, memory_type(e, s->k->bufs.at[buf].dtype), base, &offset, 1, "");
}

static V pointer_of_lane(fn_state *s, int buf, const linear_form *f, int lane)
{
    linear_form uniform = *f;
    uniform.vec = NULL;
    V p = pointer_at(s, buf, &uniform, f->lane * lane);
    if (!f->vec) return p;
    V offset = LLVMBuildExtractElement(s->e->b, f->vec, k_i64(s->e, lane), "");
    return LLVMBuildGEP2(s->e->b, memory_type(s->e, s->k->bufs.at[buf].dtype), p, &offset, 1, "");
}

static V masked_call(emitter *e, const char *name, LLVMTypeRef data, LLVMTypeRef pointer, V first, V second,
                     V mask, V last, int element_bytes)
{
    LLVMTypeRef types[2] = { data, pointer };
#if DLC_LLVM_MAJOR >= 22
    V args[4];
    int n = 0;
    unsigned at = second ? 2 : 1;               /* the pointer's position among the parameters, from 1 */
    args[n++] = first;
    if (second) args[n++] = second;
    args[n++] = mask;
    if (last) args[n++] = last;
    V call = call_intrinsic(e, name, 2, types, n, args);
    unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
    LLVMAddCallSiteAttribute(call, at, LLVMCreateEnumAttribute(e->c, kind, (uint64_t)element_bytes));
    return call;
#else
    V args[5];
    int n = 0;
    args[n++] = first;
    if (second) args[n++] = second;
    args[n++] = LLVMConstInt(e->i32, (uint64_t)element_bytes, 0);
    args[n++] = mask;
    if (last) args[n++] = last;
    return call_intrinsic(e, name, 2, types, n, args);
#endif
}

static val load_memory(fn_state *s, int buf, const linear_form *f, bool is_safe)
{
    emitter *e = s->e;
    dtype t = s->k->bufs.at[buf].dtype;
    LLVMTypeRef one = memory_type(e, t);
    if (!f->lane && !f->vec) {
        V v = align(LLVMBuildLoad2(e->b, one, pointer_at(s, buf, f, 0), ""), t);
        return (val){ from_memory(e, t, v), t, 0 };
    }
    int n_lanes = s->lanes;
    LLVMTypeRef all = LLVMVectorType(one, (unsigned)n_lanes);
    V v, mask = is_safe ? NULL : s->mask;
    if (f->lane == 1 && !f->vec) {
        V p = pointer_at(s, buf, f, 0);
        v = mask ? masked_call(e, "llvm.masked.load", all, e->ptr, p, NULL, mask, LLVMConstNull(all),
                               dtype_bytes(t))
                 : align(LLVMBuildLoad2(e->b, all, p, ""), t);
    } else if (mask) {
        V p = lane_pointers(s, buf, f);
        v = masked_call(e, "llvm.masked.gather", all, LLVMTypeOf(p), p, NULL, mask, LLVMConstNull(all),
                        dtype_bytes(t));
    } else {
        v = LLVMGetPoison(all);
        for (int i = 0; i < n_lanes; i++) {
            V x = align(LLVMBuildLoad2(e->b, one, pointer_of_lane(s, buf, f, i), ""), t);
            v = LLVMBuildInsertElement(e->b, v, x, k_i64(e, i), "");
        }
    }
    return (val){ from_memory(e, t, v), t, n_lanes };
}

static void store_memory(fn_state *s, int buf, const linear_form *f, val x)
{
    emitter *e = s->e;
    dtype t = x.t;
    bool one_place = !f->lane && !f->vec;
    if (one_place && x.lanes)
        x = (val){ LLVMBuildExtractElement(e->b, x.v, k_i64(e, x.lanes - 1), ""), t, 0 };
    if (one_place) {
        align(LLVMBuildStore(e->b, to_memory(e, t, x.v, 0), pointer_at(s, buf, f, 0)), t);
        return;
    }
    x = widen(e, x, s->lanes);
    V v = to_memory(e, t, x.v, x.lanes);
    LLVMTypeRef all = LLVMTypeOf(v);
    if (f->lane == 1 && !f->vec) {
        V p = pointer_at(s, buf, f, 0);
        if (s->mask) masked_call(e, "llvm.masked.store", all, e->ptr, v, p, s->mask, NULL, dtype_bytes(t));
        else align(LLVMBuildStore(e->b, v, p), t);
    } else if (s->mask) {
        V p = lane_pointers(s, buf, f);
        masked_call(e, "llvm.masked.scatter", all, LLVMTypeOf(p), v, p, s->mask, NULL, dtype_bytes(t));
    } else {
        for (int i = 0; i < s->lanes; i++)
            align(LLVMBuildStore(e->b, LLVMBuildExtractElement(e->b, v, k_i64(e, i), ""),
                                 pointer_of_lane(s, buf, f, i)),
                  t);
    }
}

/* -- Register slices ------------------------------------------------------------------------------------- */

static LLVMTypeRef slice_type(fn_state *s, int buf)
{
    const buf_state *b = &s->buf[buf];
    return lanes_of(llvm_type(s->e, s->k->bufs.at[buf].dtype),
                    b->private_lanes ? b->private_lanes : b->width);
}

static V get_slice(fn_state *s, int buf, int64_t i)
{
    return LLVMBuildLoad2(s->e->b, slice_type(s, buf), s->buf[buf].slice[i], "");
}

static V get_element(fn_state *s, int buf, int64_t at)
{
    int width = s->buf[buf].width;
    if (!width) return get_slice(s, buf, at);
    return LLVMBuildExtractElement(s->e->b, get_slice(s, buf, at / width), k_i64(s->e, at % width), "");
}

static void put_element(fn_state *s, int buf, int64_t at, V x)
{
    int width = s->buf[buf].width;
    V *slice = s->buf[buf].slice;
    if (!width) { LLVMBuildStore(s->e->b, x, slice[at]); return; }
    V v = LLVMBuildInsertElement(s->e->b, get_slice(s, buf, at / width), x, k_i64(s->e, at % width), "");
    LLVMBuildStore(s->e->b, v, slice[at / width]);
}

/* `lanes` elements from `at`, `stride` apart. */
static V get_run(fn_state *s, int buf, int64_t at, int64_t stride, int n_lanes)
{
    emitter *e = s->e;
    int width = s->buf[buf].width;
    if (stride == 1 && width == n_lanes && at % width == 0) return get_slice(s, buf, at / width);
    if (stride == 1 && width && n_lanes < width && at % width + n_lanes <= width) {
        int *pick = NEW_ARRAY(e->a, int, n_lanes);
        for (int i = 0; i < n_lanes; i++) pick[i] = (int)(at % width) + i;
        V v = get_slice(s, buf, at / width);
        return shuffle(e, v, v, n_lanes, pick);
    }
    if (stride == 1 && width && at % width == 0 && n_lanes == 2 * width) {
        int *pick = NEW_ARRAY(e->a, int, n_lanes);
        for (int i = 0; i < n_lanes; i++) pick[i] = i;
        return shuffle(e, get_slice(s, buf, at / width), get_slice(s, buf, at / width + 1), n_lanes, pick);
    }
    V v = LLVMGetPoison(lanes_of(llvm_type(e, s->k->bufs.at[buf].dtype), n_lanes));
    for (int i = 0; i < n_lanes; i++)
        v = LLVMBuildInsertElement(e->b, v, get_element(s, buf, at + i * stride), k_i64(e, i), "");
    return v;
}

static V blend(fn_state *s, V x, V old)
{
    return s->mask ? LLVMBuildSelect(s->e->b, s->mask, x, old, "") : x;
}

static val load_slice(fn_state *s, int buf, const linear_form *f)
{
    const buf_state *b = &s->buf[buf];
    dtype t = s->k->bufs.at[buf].dtype;
    if (b->private_lanes)
        return (val){ get_slice(s, buf, f->constant / b->private_lanes), t, b->private_lanes };
    if (!f->lane) return (val){ get_element(s, buf, f->constant), t, 0 };
    return (val){ get_run(s, buf, f->constant, f->lane, s->lanes), t, s->lanes };
}

static void store_slice(fn_state *s, int buf, const linear_form *f, val x)
{
    emitter *e = s->e;
    const buf_state *b = &s->buf[buf];
    if (b->private_lanes) {
        int64_t i = f->constant / b->private_lanes;
        V v = widen(e, x, b->private_lanes).v;
        LLVMBuildStore(e->b, s->mask ? blend(s, v, get_slice(s, buf, i)) : v, b->slice[i]);
        return;
    }
    if (!f->lane) {
        if (x.lanes) x.v = LLVMBuildExtractElement(e->b, x.v, k_i64(e, x.lanes - 1), "");
        put_element(s, buf, f->constant, x.v);
        return;
    }
    V v = widen(e, x, s->lanes).v;
    if (f->lane == 1 && b->width == s->lanes && f->constant % b->width == 0) {
        int64_t i = f->constant / b->width;
        LLVMBuildStore(e->b, s->mask ? blend(s, v, get_slice(s, buf, i)) : v, b->slice[i]);
        return;
    }
    if (s->mask) v = blend(s, v, get_run(s, buf, f->constant, f->lane, s->lanes));
    for (int i = 0; i < s->lanes; i++)
        put_element(s, buf, f->constant + i * f->lane, LLVMBuildExtractElement(e->b, v, k_i64(e, i), ""));
}

/* -- Access ---------------------------------------------------------------------------------------------- */

val load_element(fn_state *s, int buf, const expr *const *index)
{
    linear_form f = address_form(s, buf, index);
    if (s->buf[buf].kind == BUF_slices) return load_slice(s, buf, &f);
    return load_memory(s, buf, &f, s->mask && access_is_inside(s, buf, index));
}

void store_element(fn_state *s, int buf, const expr *const *index, val x)
{
    linear_form f = address_form(s, buf, index);
    if (s->buf[buf].kind == BUF_slices) store_slice(s, buf, &f, x);
    else store_memory(s, buf, &f, x);
}

/* All of the buffer's elements combined in halves. */
val tree_of(fn_state *s, scalar fn, int buf)
{
    emitter *e = s->e;
    const buf_state *b = &s->buf[buf];
    dtype t = s->k->bufs.at[buf].dtype;
    int n = (int)b->n, n_lanes = b->private_lanes;
    if (n_lanes) {
        val *x = NEW_ARRAY(e->a, val, n);
        for (int i = 0; i < n; i++) {
            linear_form f = { .constant = (int64_t)i * n_lanes, .lane = b->kind == BUF_memory };
            x[i] = b->kind == BUF_slices ? load_slice(s, buf, &f) : load_memory(s, buf, &f, true);
        }
        for (int half = n / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) x[i] = row(e, fn, t, (val[]){ x[i], x[i + half] });
        return x[0];
    }
    V v;
    if (b->kind == BUF_slices) v = get_run(s, buf, 0, 1, n);
    else v = from_memory(e, t, align(LLVMBuildLoad2(e->b, lanes_of(memory_type(e, t), n), b->base, ""), t));
    int *pick = NEW_ARRAY(e->a, int, 2 * n);
    for (int i = 0; i < 2 * n; i++) pick[i] = i;
    for (int half = n / 2; half > 0; half /= 2) {
        V low = shuffle(e, v, v, half, pick), high = shuffle(e, v, v, half, pick + half);
        v = row(e, fn, t, (val[]){ { low, t, half }, { high, t, half } }).v;
    }
    return (val){ LLVMBuildExtractElement(e->b, v, k_i64(e, 0), ""), t, 0 };
}

/* -- Making buffers -----------------------------------------------------------------------------------------
 * The accesses of a `reg` buffer decide its form. `scan` walks the kernel as it will be emitted. */

typedef struct {
    fn_state *s;
    int buf;
    bool is_private;
    enum { SCAN_no, SCAN_const, SCAN_lane } *var;     /* what each loop variable is where we are */
    bool in_lanes, in_region, is_dynamic;
    int lanes, width;
} scan;

/* Is x constant once loops are copied, but for lane * *lane? */
static bool is_static(scan *c, const expr *x, int64_t *lane)
{
    int64_t a = 0, b = 0, k;
    *lane = 0;
    switch (x->kind) {
    case EXPR_const: return true;
    case EXPR_var: *lane = c->var[x->id] == SCAN_lane; return c->var[x->id] != SCAN_no;
    case EXPR_temp: return c->s->let_value[x->id] && is_static(c, c->s->let_value[x->id], lane);
    case EXPR_floordiv: case EXPR_mod:
        return is_static(c, x->args[0], &a) && is_static(c, x->args[1], &b) && !a && !b;
    case EXPR_op: break;
    default: return false;
    }
    if (scalar_info[x->fn].arity == 1) {
        if (!is_static(c, x->args[0], &a)) return false;
        *lane = -a;
        return x->fn == SCALAR_neg || !a;
    }
    if (scalar_info[x->fn].arity != 2 || !is_static(c, x->args[0], &a) || !is_static(c, x->args[1], &b))
        return false;
    switch (x->fn) {
    case SCALAR_add: *lane = a + b; return true;
    case SCALAR_sub: *lane = a - b; return true;
    case SCALAR_mul:
        if (!a && !b) return true;
        if (b && x_is_int(x->args[0], &k)) { *lane = b * k; return !a; }
        if (a && x_is_int(x->args[1], &k)) { *lane = a * k; return !b; }
        return false;
    default: return !a && !b;
    }
}

static void scan_access(scan *c, const expr *const *index)
{
    const buffer *b = &c->s->k->bufs.at[c->buf];
    const buf_state *state = &c->s->buf[c->buf];
    int64_t lane = 0, part;
    for (int i = 0; i < b->rank; i++) {
        if (!is_static(c, index[i], &part)) { c->is_dynamic = true; return; }
        lane += part * state->stride[i];
    }
    if (c->is_private && lane) c->is_dynamic = true;
    if (c->in_region && !c->s->in_region) c->is_dynamic = true;
    if (lane == 1 && c->lanes > c->width) c->width = c->lanes;
}

static void scan_expr(scan *c, const expr *x)
{
    if (x->kind == EXPR_load && x->id == c->buf) scan_access(c, x->args);
    if (x->kind == EXPR_tree && x->id == c->buf && c->in_region && !c->s->in_region) c->is_dynamic = true;
    for (int i = 0; i < x->n_args; i++) scan_expr(c, x->args[i]);
}

static void scan_block(scan *c, const block *body);

static void scan_loop(scan *c, const stmt *x)
{
    scan outer = *c;
    int64_t n, lo;
    bool fixed = const_extent(x, &n) && x_is_int(x->lo, &lo);
    loop_way way = way_of(c->s, x, c->in_lanes, c->in_region || c->s->in_region);
    c->var[x->var] = SCAN_no;
    if (fixed && (way == AS_copies || n == 1)) c->var[x->var] = SCAN_const;
    else if (fixed && way == AS_lanes) c->var[x->var] = SCAN_lane;
    if (way == AS_lanes) { c->in_lanes = true; c->lanes = (int)n; }
    if (way == AS_region) c->in_region = true;
    scan_block(c, &x->body);
    c->var[x->var] = SCAN_no;
    c->in_lanes = outer.in_lanes;
    c->lanes = outer.lanes;
    c->in_region = outer.in_region;
}

static void scan_block(scan *c, const block *body)
{
    for (int i = 0; i < body->n && !c->is_dynamic; i++) {
        const stmt *x = body->at[i];
        if (x->lo) scan_expr(c, x->lo);
        if (x->hi) scan_expr(c, x->hi);
        if (x->cond) scan_expr(c, x->cond);
        if (x->value) scan_expr(c, x->value);
        if (x->kind == STMT_store && x->id == c->buf) scan_access(c, x->index);
        if (x->kind == STMT_store || x->kind == STMT_prefetch)
            for (int j = 0; j < c->s->k->bufs.at[x->id].rank; j++) scan_expr(c, x->index[j]);
        if (x->kind == STMT_for) { scan_loop(c, x); continue; }
        scan_block(c, &x->body);
        scan_block(c, &x->other);
    }
}

static V new_slot(fn_state *s, LLVMTypeRef t, int64_t n)
{
    V token = at_level_start(s, 0);
    V slot = n ? LLVMBuildArrayAlloca(s->e->b, t, k_i64(s->e, n), "") : LLVMBuildAlloca(s->e->b, t, "");
    if (n) LLVMSetAlignment(slot, 64);
    back_to(s, token);
    return slot;
}

static void fill(fn_state *s, int buf, val x)
{
    emitter *e = s->e;
    buf_state *b = &s->buf[buf];
    int n_lanes = b->private_lanes ? b->private_lanes : b->width;
    if (b->kind == BUF_slices) {
        V v = widen(e, x, n_lanes).v;
        for (int64_t i = 0; i < b->n / (b->private_lanes || !b->width ? 1 : b->width); i++)
            LLVMBuildStore(e->b, s->mask && b->private_lanes ? blend(s, v, get_slice(s, buf, i)) : v,
                           b->slice[i]);
        return;
    }
    /* memory: a loop over all elements (each of `lanes` elements, if private) */
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), head, after;
    head = LLVMAppendBasicBlockInContext(e->c, s->fn, "fill");
    after = LLVMAppendBasicBlockInContext(e->c, s->fn, "");
    V v = to_memory(e, x.t, widen(e, x, n_lanes).v, n_lanes);
    LLVMBuildBr(e->b, head);
    LLVMPositionBuilderAtEnd(e->b, head);
    V i = LLVMBuildPhi(e->b, e->i64, ""), first = k_i64(e, 0);
    LLVMAddIncoming(i, &first, &before, 1);
    V offset = n_lanes ? LLVMBuildMul(e->b, i, k_i64(e, n_lanes), "") : i;
    V p = LLVMBuildGEP2(e->b, memory_type(e, x.t), b->base, &offset, 1, "");
    align(LLVMBuildStore(e->b, v, p), x.t);
    V next = LLVMBuildAdd(e->b, i, k_i64(e, 1), "");
    LLVMAddIncoming(i, &next, &head, 1);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next, k_i64(e, b->n), ""), head, after);
    LLVMPositionBuilderAtEnd(e->b, after);
}

/* Nothing of what the registers held in an earlier iteration is needed. Without these stores every tile's
 * accumulators would live through the loops around it, and be spilled in the other tiles. */
static void forget_slices(fn_state *s, int buf, int64_t n)
{
    V nothing = LLVMGetUndef(slice_type(s, buf));
    for (int64_t i = 0; i < n; i++) LLVMBuildStore(s->e->b, nothing, s->buf[buf].slice[i]);
}

void alloc_buffer(fn_state *s, const stmt *alloc)
{
    emitter *e = s->e;
    int id = alloc->id;
    const buffer *decl = &s->k->bufs.at[id];
    val first = { 0 };
    if (alloc->value) first = value_of(s, alloc->value);
    buf_state *b = &s->buf[id];
    *b = (buf_state){ .kind = BUF_memory, .private_lanes = s->lanes };
    buffer_strides(s, id);
    assert(b->n >= 0);
    scan c = { .s = s, .buf = id, .is_private = s->lanes > 0 };
    c.var = arena_array(e->a, (size_t)s->k->vars.n, sizeof *c.var);
    if (decl->space == SPACE_reg && b->n <= 4096) scan_block(&c, &s->k->body);
    if (decl->space == SPACE_reg && b->n <= 4096 && !c.is_dynamic) {
        int width = b->private_lanes || c.width < 2 || b->n % c.width ? 0 : c.width;
        int64_t n = width ? b->n / width : b->n;
        if (n <= MAX_SLICES) {
            b->kind = BUF_slices;
            b->width = width;
            b->slice = NEW_ARRAY(e->a, V, n);
            for (int64_t i = 0; i < n; i++) b->slice[i] = new_slot(s, slice_type(s, id), 0);
            if (!alloc->value) forget_slices(s, id, n);
        }
    }
    if (b->kind == BUF_memory && b->n > 0)
        b->base = new_slot(s, memory_type(e, decl->dtype), b->n * (b->private_lanes ? b->private_lanes : 1));
    if (b->kind == BUF_memory && b->n == 0) b->base = LLVMConstNull(e->ptr);
    if (alloc->value && b->n > 0) fill(s, id, first);
}
