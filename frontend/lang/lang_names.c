/* lang_names: are all names of a file known, and every value used? One walk over each definition, used or
 * not.
 *
 * A stack of names in scope; blocks of if and unrolled for share the scope around them, as in elaboration.
 * Index names whose reduction has ended are remembered, for the message.
 */
#include "frontend/lang/elab.h"

typedef struct { lang *l; module *m; vec(const char *) in_scope; vec(const char *) ended, indices; } names;

static const char *const values_everywhere[] = {
    "step", "epoch", "val_loss", "training", "batch", "onnx", "pi", "inf", "nan", NULL
};
static const char *const settings[] = {
    "epochs", "steps", "batch", "seed", "shuffle", "monitor", "patience", "save", "load", "checkpoint",
    "trials", NULL
};

static bool listed(const char *s, const char *const *list)
{
    for (int i = 0; list[i]; i++)
        if (strcmp(list[i], s) == 0) return true;
    return false;
}

static bool in_scope(const names *k, const char *s)
{
    for (int64_t i = k->in_scope.n; i-- > 0;)
        if (k->in_scope.at[i] == s) return true;
    return false;
}

static void put_name(names *k, const char *s) { vec_push(k->l->a, &k->in_scope, s); }

static bool known(const names *k, const char *s)
{
    module *home;
    return in_scope(k, s) || module_find(k->m, s, &home) || module_as(k->m, s) || prim_exists(s) ||
           dtype_named(s) != DTYPE_NONE || listed(s, values_everywhere);
}

static const char *near_name(names *k, const char *s)
{
    vec(const char *) all = { 0 };
    for (int64_t i = 0; i < k->in_scope.n; i++) vec_push(k->l->a, &all, k->in_scope.at[i]);
    for (int i = 0; i < k->m->file->n; i++)
        if (k->m->file->kid[i]->name) vec_push(k->l->a, &all, k->m->file->kid[i]->name);
    for (int p = 0; k->m->std && p < k->m->std->n_parts; p++)
        for (int i = 0; i < k->m->std->parts[p]->file->n; i++)
            vec_push(k->l->a, &all, k->m->std->parts[p]->file->kid[i]->name);
    int n;
    const char *const *prims = prim_names(&n);
    for (int i = 0; i < n; i++) vec_push(k->l->a, &all, prims[i]);
    return lang_near(s, (int)all.n, all.at);
}

static void use(names *k, const ast *x, const char *s)
{
    if (known(k, s)) return;
    for (int64_t i = 0; i + 1 < k->ended.n; i += 2)
        if (k->ended.at[i] == s)
            lang_error(k->l, x->src, x->line, x->col, NULL, index_out_of_scope, s, k->ended.at[i + 1]);
    const char *n = near_name(k, s);
    lang_error(k->l, x->src, x->line, x->col, n ? arena_printf(k->l->a, "did you mean `%s`?", n) : NULL,
               unknown_name, s);
}

static void walk(names *k, ast *x);

/* A pattern: names not known yet are bound by it. */
static void pattern_dim(names *k, ast *d)
{
    if (!d) return;
    if (d->kind == A_NAME || (d->kind == A_SPREAD && d->name)) {
        if (!known(k, d->name)) put_name(k, d->name);
        return;
    }
    pattern_dim(k, d->a);
    pattern_dim(k, d->b);
    for (int i = 0; i < d->n; i++) pattern_dim(k, d->kid[i]);
}

static void pattern(names *k, ast *t)
{
    if (!t) return;
    if (t->kind == A_TYPE && !known(k, t->name)) put_name(k, t->name);
    for (int i = 0; i < t->n; i++)
        if (t->kind == A_RESULT) pattern(k, t->kid[i]);
        else pattern_dim(k, t->kid[i]);
}

static void parameters(names *k, ast *const *p, int n)
{
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < i; j++)
            if (p[j]->name == p[i]->name)
                lang_error(k->l, p[i]->src, p[i]->line, p[i]->col, NULL, defined_twice, p[i]->name);
        pattern(k, p[i]->a);
    }
    for (int i = 0; i < n; i++) {
        if (p[i]->b) walk(k, p[i]->b);
        put_name(k, p[i]->name);
    }
}

static void walk_kids(names *k, ast *x)
{
    for (int i = 0; i < x->n; i++) walk(k, x->kid[i]);
    walk(k, x->a);
    walk(k, x->b);
    walk(k, x->c);
    walk(k, x->d);
}

static bool is_statement(const ast *x)
{
    switch (x->kind) {
    case A_BIND:
    case A_PARAM_ST:
    case A_STATE_ST:
    case A_ASSERT:
    case A_YIELD:
    case A_DATA:
    case A_MINIMIZE:
    case A_REPORT:
    case A_SEARCH:
    case A_IF: return true;
    case A_FOR: return !x->flag;
    default: return false;
    }
}

static void walk_block(names *k, ast *x, bool has_value)
{
    for (int i = 0; i < x->n; i++) {
        walk(k, x->kid[i]);
        if (!is_statement(x->kid[i]) && (i + 1 < x->n || !has_value))
            lang_error(k->l, x->kid[i]->src, x->kid[i]->line, x->kid[i]->col,
                       "give it a name, `y = ...`, or take it away", value_not_used);
    }
}

static void walk_indexed(names *k, ast *x)
{
    for (int i = 0; i < x->n; i++) { walk(k, x->kid[i]->a); walk(k, x->kid[i]->b); }
    int64_t mark = k->in_scope.n, indices = k->indices.n;
    for (int i = 0; i < x->n; i++) {
        for (int64_t j = 0; j < k->indices.n; j++)
            if (k->indices.at[j] == x->kid[i]->name)
                lang_error(k->l, x->kid[i]->src, x->kid[i]->line, x->kid[i]->col, "give it another name",
                           index_hides, x->kid[i]->name);
        vec_push(k->l->a, &k->indices, x->kid[i]->name);
        put_name(k, x->kid[i]->name);
    }
    walk(k, x->a);
    k->in_scope.n = mark;
    k->indices.n = indices;
    for (int i = 0; i < x->n && x->kind == A_REDUCE; i++) {
        vec_push(k->l->a, &k->ended, x->kid[i]->name);
        vec_push(k->l->a, &k->ended, x->name);
    }
    if (x->kind == A_COMP) k->ended.n = 0;
}

static void walk(names *k, ast *x)
{
    if (!x) return;
    int64_t mark = k->in_scope.n;
    switch (x->kind) {
    case A_NAME: use(k, x, x->name); return;
    case A_SPREAD: if (x->name) use(k, x, x->name); return;
    case A_COMP: case A_REDUCE: walk_indexed(k, x); return;
    case A_FN:
        parameters(k, x->kid, x->n);
        pattern(k, x->c);
        walk(k, x->d);
        k->in_scope.n = mark;
        return;
    case A_BIND:
        walk(k, x->a);
        for (int i = 0; i < x->n; i++) put_name(k, x->kid[i]->name);
        return;
    case A_PARAM_ST: case A_STATE_ST:
        for (int i = 0; i < x->a->n; i++) walk(k, x->a->kid[i]);
        if (!known(k, x->a->name)) use(k, x->a, x->a->name);
        walk(k, x->b);
        put_name(k, x->name);
        return;
    case A_DATA: walk(k, x->a); put_name(k, x->name); return;
    case A_BLOCK: walk_block(k, x, true); return;
    case A_SEARCH:
        for (int i = 0; i < x->n; i++) { walk(k, x->kid[i]->a); use(k, x->kid[i], x->kid[i]->name); }
        return;
    case A_FOR:
        walk(k, x->a);
        walk(k, x->b);
        for (int i = 0; i < x->n; i++) walk(k, x->kid[i]->a);
        put_name(k, x->name);
        for (int i = 0; i < x->n; i++) put_name(k, x->kid[i]->name);
        walk(k, x->d);
        if (x->flag) k->in_scope.n = mark;
        return;
    case A_WHILE:
        for (int i = 0; i < x->n; i++) walk(k, x->kid[i]->a);
        for (int i = 0; i < x->n; i++) put_name(k, x->kid[i]->name);
        walk(k, x->a);
        walk(k, x->d);
        k->in_scope.n = mark;
        return;
    default: walk_kids(k, x);
    }
}

static void check_definition(names *k, ast *d)
{
    k->in_scope.n = k->ended.n = k->indices.n = 0;
    if (d->kind == A_USE) return;
    if (d->kind == A_DEF_TRAIN) {
        for (int i = 0; d->a && i < d->a->n; i++) {
            const ast *s = d->a->kid[i];
            int n = 0;
            while (settings[n]) n++;
            const char *near = lang_near(s->name, n, settings);
            if (!listed(s->name, settings))
                lang_error(k->l, s->src, s->line, s->col,
                           near ? arena_printf(k->l->a, "did you mean `%s`?", near) : NULL,
                           no_training_setting, s->name);
            walk(k, s->a);
        }
        walk_block(k, d->d, false);
        return;
    }
    if (d->a) parameters(k, d->a->kid, d->a->n);
    if (d->b) parameters(k, d->b->kid, d->b->n);
    pattern(k, d->c);
    walk(k, d->d);
}

void names_check(lang *l, module *m)
{
    names k = { .l = l, .m = m };
    for (int i = 0; i < m->file->n; i++) {
        ast *d = m->file->kid[i];
        for (int j = 0; j < i && d->kind != A_USE; j++)
            if (m->file->kid[j]->kind != A_USE && m->file->kid[j]->name == d->name)
                lang_error(l, d->src, d->line, d->col,
                           arena_printf(l->a, "it is defined in line %d already", m->file->kid[j]->line),
                           defined_twice, d->name);
    }
    for (int i = 0; i < m->file->n; i++) check_definition(&k, m->file->kid[i]);
}
