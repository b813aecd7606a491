/* base/map.c: hashing, the map from bytes to numbers, the table of hash-consing.
 *
 * Both tables use open addressing with linear probing, at most 3/4 full. The map keeps its entries in a list
 * in order of insertion and hashes only into slots, so that iteration never depends on hash values.
 */
#include "base/base.h"

enum { FIRST_SLOTS = 16 };

static uint64_t load64(const unsigned char *p, size_t n)        /* little-endian on every machine */
{
    uint64_t x = 0;
    if (n == 8) {
        memcpy(&x, p, 8);
        return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(x) : x;
    }
    for (size_t i = 0; i < n; i++) x |= (uint64_t)p[i] << (8 * i);
    return x;
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *s = p;
    uint64_t h = hash_u64(seed, n);
    for (; n >= 8; s += 8, n -= 8) h = hash_u64(h, load64(s, 8));
    if (n) h = hash_u64(h, load64(s, n));
    return hash_u64(h, 0);
}

/* -- Bytes -> u64 ---------------------------------------------------------------------------------------- */

void map_init(map_str *m, arena *a) { *m = (map_str){ .a = a }; }

static uint32_t map_slot(const map_str *m, const char *key, size_t len, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (m->n_slots - 1);
    for (; m->slots[i]; i = (i + 1) & (m->n_slots - 1)) {
        const struct map_entry *e = &m->entries[m->slots[i] - 1];
        if (e->hash == hash && e->len == len && (len == 0 || memcmp(e->key, key, len) == 0)) break;
    }
    return i;
}

uint64_t *map_find(const map_str *m, const char *key, size_t len)
{
    if (!m->n_slots) return NULL;
    uint32_t i = map_slot(m, key, len, hash_bytes(key, len, 0));
    return m->slots[i] ? &m->entries[m->slots[i] - 1].value : NULL;
}

static void map_rehash(map_str *m)
{
    uint32_t n_slots = m->n_slots ? m->n_slots * 2 : FIRST_SLOTS;
    uint32_t *slots = NEW_ARRAY(m->a, uint32_t, n_slots);
    for (int64_t e = 0; e < m->n; e++) {
        uint32_t i = (uint32_t)m->entries[e].hash & (n_slots - 1);
        while (slots[i]) i = (i + 1) & (n_slots - 1);
        slots[i] = (uint32_t)e + 1;
    }
    m->slots = slots;
    m->n_slots = n_slots;
}

uint64_t *map_put(map_str *m, const char *key, size_t len, uint64_t value, bool *fresh)
{
    if ((m->n + 1) * 4 > (int64_t)m->n_slots * 3) map_rehash(m);
    uint64_t hash = hash_bytes(key, len, 0);
    uint32_t i = map_slot(m, key, len, hash);
    if (fresh) *fresh = m->slots[i] == 0;
    if (m->slots[i]) return &m->entries[m->slots[i] - 1].value;
    const char *copy = arena_strndup(m->a, key, len);
    vec_reserve_(m->a, (void **)&m->entries, m->n, &m->cap, sizeof *m->entries, 1);
    m->entries[m->n] = (struct map_entry){ copy, len, hash, value };
    m->slots[i] = (uint32_t)++m->n;
    return &m->entries[m->n - 1].value;
}

/* -- Hash-consing ---------------------------------------------------------------------------------------- */

void cons_init(cons_table *t, arena *a) { *t = (cons_table){ .a = a }; }

bool cons_find(const cons_table *t, uint64_t hash, cons_equal eq, const void *owner, const void *key,
               uint32_t *id)
{
    if (!t->n_slots) return false;
    for (uint32_t i = (uint32_t)hash & (t->n_slots - 1); t->ids[i]; i = (i + 1) & (t->n_slots - 1)) {
        if (t->hashes[i] == hash && eq(owner, t->ids[i] - 1, key)) {
            *id = t->ids[i] - 1;
            return true;
        }
    }
    return false;
}

static void cons_put(uint64_t *hashes, uint32_t *ids, uint32_t n_slots, uint64_t hash, uint32_t id_plus_1)
{
    uint32_t i = (uint32_t)hash & (n_slots - 1);
    while (ids[i]) i = (i + 1) & (n_slots - 1);
    ids[i] = id_plus_1;
    hashes[i] = hash;
}

void cons_add(cons_table *t, uint64_t hash, uint32_t id)
{
    if ((uint64_t)(t->n + 1) * 4 > (uint64_t)t->n_slots * 3) {
        uint32_t n_slots = t->n_slots ? t->n_slots * 2 : FIRST_SLOTS;
        uint64_t *hashes = NEW_ARRAY(t->a, uint64_t, n_slots);
        uint32_t *ids = NEW_ARRAY(t->a, uint32_t, n_slots);
        for (uint32_t i = 0; i < t->n_slots; i++)
            if (t->ids[i]) cons_put(hashes, ids, n_slots, t->hashes[i], t->ids[i]);
        t->hashes = hashes;
        t->ids = ids;
        t->n_slots = n_slots;
    }
    cons_put(t->hashes, t->ids, t->n_slots, hash, id + 1);
    t->n++;
}
