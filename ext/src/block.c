/* A raw block, walked once: what it holds of what we watch, and whether its header is true to it. */
#include "watchset.h"

#define HEADER_LEN 80
#define MIN_INPUT 41
#define MIN_OUTPUT 9
#define MIN_TX 60
/* How far the lookups run behind the walk: long enough for a tag to come from memory, short enough for the first cache. */
#define LAG 64
/* How far ahead of the walk the block is asked for, in bytes: the processor's own prefetching stops at each page. */
#define AHEAD 3072
#define CACHE_LINE 64

typedef struct {
    uint64_t hash;
    uint32_t key_offset;
    uint32_t key_len;
    uint32_t tx_index;
    uint32_t tx_offset;
    uint32_t index;
    int is_script;
} lookup;

typedef struct {
    const lnf_watchset *set;
    const unsigned char *block;
    const unsigned char *end;
    const unsigned char *asked; /* prefetched up to here */
    uint32_t tx_index;
    uint32_t tx_offset;
    size_t head, tail;
    lnf_block_hit *hits;
    size_t n_hits, max_hits;
    /* The transaction whose hits still miss their txid. It was walked whole before a lookup of the next one is due. */
    int open;
    uint32_t open_tx_index, open_tx_offset;
    int open_spends;
    size_t open_first_hit;
    lnf_watchset *joined;
    int out_of_memory;
    lookup queue[LAG];
} walk;

/* Where the parts of a transaction are. `witness` is NULL where it has none. */
typedef struct {
    const unsigned char *start, *inputs, *outputs, *witness, *lock_time, *end;
    uint64_t n_inputs, n_outputs;
} layout;

/* The CompactSize at *at, or 0: missing bytes, or more bytes than the number needs. */
static inline int compact_size(uint64_t *value, const unsigned char **at, const unsigned char *end) {
    const unsigned char *p = *at;
    if (p >= end) return 0;
    uint8_t first = *p++;
    if (first < 253) {
        *value = first;
        *at = p;
        return 1;
    }
    size_t bytes = (size_t)2 << (first - 253);
    if ((size_t)(end - p) < bytes) return 0;
    uint64_t number = 0;
    for (size_t i = bytes; i-- > 0;) number = number << 8 | p[i];
    if (number < (bytes == 2 ? 253 : bytes == 4 ? 0x10000 : 0x100000000)) return 0;
    *value = number;
    *at = p + bytes;
    return 1;
}

/* A CompactSize and as many bytes, with `after` more behind them. */
static inline int skip_bytes(uint64_t *len, const unsigned char **at, const unsigned char *end, size_t after) {
    if (!compact_size(len, at, end)) return 0;
    size_t left = (size_t)(end - *at);
    if (*len > left || left - *len < after) return 0;
    *at += *len + after;
    return 1;
}

static void resolve(walk *w, const lookup *item);

static inline void ask_ahead(walk *w, const unsigned char *at) {
    while (w->asked < at + AHEAD && w->asked < w->end) {
        __builtin_prefetch(w->asked);
        w->asked += CACHE_LINE;
    }
}

static inline void look_up(walk *w, int is_script, uint64_t hash, const unsigned char *key, size_t len,
                           uint64_t index) {
    if (w->head - w->tail == LAG) resolve(w, &w->queue[w->tail++ % LAG]);
    watch_prefetch(w->set, hash);
    w->queue[w->head++ % LAG] = (lookup){.hash = hash,
                                         .key_offset = (uint32_t)(key - w->block),
                                         .key_len = (uint32_t)len,
                                         .tx_index = w->tx_index,
                                         .tx_offset = w->tx_offset,
                                         .index = (uint32_t)index,
                                         .is_script = is_script};
}

static inline void look_up_script(walk *w, const unsigned char *script, size_t len, uint64_t index) {
    if (len == 0 || len > LNF_MAX_SCRIPT || (len > INLINE_LEN && w->set->long_scripts == 0)) return;
    look_up(w, 1, watch_hash_script(w->set, script, len), script, len, index);
}

static inline int parse_inputs(const unsigned char **at, const unsigned char *end, uint64_t count, walk *w) {
    const unsigned char *p = *at;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t len;
        if ((size_t)(end - p) < MIN_INPUT) return 0;
        if (w) {
            ask_ahead(w, p);
            look_up(w, 0, watch_hash_outpoint(w->set, p), p, OUTPOINT_LEN, i);
        }
        p += OUTPOINT_LEN;
        if (!skip_bytes(&len, &p, end, 4)) return 0;
    }
    *at = p;
    return 1;
}

static inline int parse_outputs(const unsigned char **at, const unsigned char *end, uint64_t count, walk *w) {
    const unsigned char *p = *at;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t len;
        if ((size_t)(end - p) < MIN_OUTPUT) return 0;
        p += 8;
        if (!skip_bytes(&len, &p, end, 0)) return 0;
        if (w && w->set->scripts) {
            ask_ahead(w, p);
            look_up_script(w, p - len, (size_t)len, i);
        }
    }
    *at = p;
    return 1;
}

static inline int parse_witnesses(const unsigned char **at, const unsigned char *end, uint64_t n_inputs) {
    const unsigned char *p = *at;
    uint64_t any = 0;
    for (uint64_t i = 0; i < n_inputs; i++) {
        uint64_t items, len;
        if (!compact_size(&items, &p, end)) return 0;
        any |= items;
        for (uint64_t k = 0; k < items; k++)
            if (!skip_bytes(&len, &p, end, 0)) return 0;
    }
    *at = p;
    return any != 0;
}

/* Parses the transaction at p; with a walk, looks up its inputs and outputs. Inlined into each caller. */
static inline __attribute__((always_inline)) int parse_tx(layout *tx, const unsigned char *p, const unsigned char *end,
                                                          walk *w) {
    if ((size_t)(end - p) < MIN_TX) return 0;
    tx->start = p;
    tx->witness = NULL;
    p += 4;
    int segwit = p[0] == 0;
    if (segwit) {
        /* BIP 144: a marker that would be the count of no inputs, then the flag. */
        if (p[1] != 1) return 0;
        p += 2;
    }
    tx->inputs = p;
    if (!compact_size(&tx->n_inputs, &p, end) || tx->n_inputs == 0) return 0;
    if (tx->n_inputs > (size_t)(end - p) / MIN_INPUT) return 0;
    if (!parse_inputs(&p, end, tx->n_inputs, w)) return 0;
    tx->outputs = p;
    if (!compact_size(&tx->n_outputs, &p, end) || tx->n_outputs == 0) return 0;
    if (tx->n_outputs > (size_t)(end - p) / MIN_OUTPUT) return 0;
    if (!parse_outputs(&p, end, tx->n_outputs, w)) return 0;
    if (segwit) {
        tx->witness = p;
        if (!parse_witnesses(&p, end, tx->n_inputs)) return 0;
    }
    if ((size_t)(end - p) < 4) return 0;
    tx->lock_time = p;
    tx->end = p + 4;
    return 1;
}

static void layout_txid(unsigned char *txid32, const layout *tx) {
    if (!tx->witness) {
        lnf_sha256d(txid32, tx->start, (size_t)(tx->end - tx->start));
        return;
    }
    lnf_sha256_ctx ctx;
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, tx->start, 4);
    lnf_sha256_update(&ctx, tx->inputs, (size_t)(tx->witness - tx->inputs));
    lnf_sha256_update(&ctx, tx->lock_time, 4);
    lnf_sha256_final(txid32, &ctx);
    lnf_sha256(txid32, txid32, 32);
}

static void join(walk *w, const unsigned char *txid32, uint32_t index) {
    unsigned char outpoint36[OUTPOINT_LEN];
    memcpy(outpoint36, txid32, 32);
    for (int i = 0; i < 4; i++) outpoint36[32 + i] = (unsigned char)(index >> 8 * i);
    if (!w->joined) w->joined = watch_create_like(w->set);
    if (!w->joined || !watch_add(w->joined, 0, outpoint36, OUTPOINT_LEN)) w->out_of_memory = 1;
}

/* Gives the hits of the open transaction their txid and length, and watches what they created. The transaction is
 * parsed a second time: hits are rare, and the walk then keeps nothing about the transactions without one. */
static void close_tx(walk *w) {
    layout tx;
    unsigned char txid32[32];
    if (!w->open) return;
    w->open = 0;
    if (!parse_tx(&tx, w->block + w->open_tx_offset, w->end, NULL)) return;
    layout_txid(txid32, &tx);
    for (size_t i = w->open_first_hit; i < w->n_hits && i < w->max_hits; i++) {
        memcpy(w->hits[i].txid32, txid32, 32);
        w->hits[i].tx_len = (uint32_t)(tx.end - tx.start);
    }
    if (w->open_spends) {
        for (uint64_t i = 0; i < tx.n_outputs; i++) join(w, txid32, (uint32_t)i);
        return;
    }
    const unsigned char *p = tx.outputs;
    uint64_t count, len;
    if (!compact_size(&count, &p, w->end)) return;
    for (uint64_t i = 0; i < count; i++) {
        p += 8;
        if (!skip_bytes(&len, &p, w->end, 0)) return;
        uint64_t hash = watch_hash_script(w->set, p - len, (size_t)len);
        if (len && len <= LNF_MAX_SCRIPT && watch_find(w->set, hash, 1, p - len, (size_t)len))
            join(w, txid32, (uint32_t)i);
    }
}

static void record(walk *w, const lookup *item, uint32_t kind) {
    if (!w->open) {
        w->open = 1;
        w->open_tx_index = item->tx_index;
        w->open_tx_offset = item->tx_offset;
        w->open_first_hit = w->n_hits;
        w->open_spends = 0;
    }
    if (kind != LNF_HIT_SCRIPT) w->open_spends = 1;
    if (w->n_hits < w->max_hits) {
        lnf_block_hit *hit = &w->hits[w->n_hits];
        memset(hit, 0, sizeof(*hit));
        hit->tx_index = item->tx_index;
        hit->tx_offset = item->tx_offset;
        hit->kind = kind;
        hit->index = item->index;
    }
    w->n_hits++;
}

/* Some entry may have this hash, or an earlier transaction of the block has hit. */
static __attribute__((noinline)) void resolve_slowly(walk *w, const lookup *item) {
    const unsigned char *key = w->block + item->key_offset;
    if (w->open && w->open_tx_index != item->tx_index) close_tx(w);
    if (watch_find(w->set, item->hash, item->is_script, key, item->key_len))
        record(w, item, item->is_script ? LNF_HIT_SCRIPT : LNF_HIT_OUTPOINT);
    else if (!item->is_script && w->joined && watch_find(w->joined, item->hash, 0, key, OUTPOINT_LEN))
        record(w, item, LNF_HIT_JOINED);
}

static inline void resolve(walk *w, const lookup *item) {
    if (w->open || watch_maybe(w->set, item->hash) || (w->joined && watch_maybe(w->joined, item->hash)))
        resolve_slowly(w, item);
}

/* The walk itself. 0 if the bytes are not one block. */
static int walk_block(walk *w, size_t block_len) {
    const unsigned char *p;
    uint64_t n_txs;
    if (block_len < HEADER_LEN + 1 || block_len > LNF_MAX_BLOCK) return 0;
    w->end = w->block + block_len;
    p = w->block + HEADER_LEN;
    if (!compact_size(&n_txs, &p, w->end) || n_txs == 0 || n_txs > (size_t)(w->end - p) / MIN_TX) return 0;
    for (uint64_t i = 0; i < n_txs; i++) {
        layout tx;
        w->tx_index = (uint32_t)i;
        w->tx_offset = (uint32_t)(p - w->block);
        ask_ahead(w, p);
        if (!parse_tx(&tx, p, w->end, w)) return 0;
        p = tx.end;
    }
    if (p != w->end) return 0;
    while (w->tail != w->head) resolve(w, &w->queue[w->tail++ % LAG]);
    close_tx(w);
    return !w->out_of_memory;
}

int lnf_block_scan(unsigned char *hash32, lnf_block_hit *hits, size_t *n_hits, size_t max_hits, const lnf_watchset *set,
                   const unsigned char *block, size_t block_len) {
    walk w;
    memset(&w, 0, offsetof(walk, queue));
    w.set = set;
    w.block = w.asked = block;
    w.hits = hits;
    w.max_hits = max_hits;
    int good = walk_block(&w, block_len);
    lnf_watchset_destroy(w.joined);
    if (!good) {
        memset(hash32, 0, 32);
        if (max_hits) memset(hits, 0, max_hits * sizeof(*hits));
        *n_hits = 0;
        return 0;
    }
    lnf_sha256d(hash32, block, HEADER_LEN);
    *n_hits = w.n_hits;
    return 1;
}

/* ---- the header ------------------------------------------------------------------------------------------------- */

/* The number that the compact form stands for, little endian. 0 if it is negative, zero or over 256 bits. */
static int expand_target(unsigned char *target32, uint32_t bits) {
    uint32_t size = bits >> 24, mantissa = bits & 0x7fffff;
    memset(target32, 0, 32);
    if (mantissa == 0 || bits & 0x800000) return 0;
    for (int i = 0; i < 3; i++) {
        unsigned char byte = (unsigned char)(mantissa >> 8 * i);
        int64_t at = (int64_t)size - 3 + i;
        if (byte == 0 || at < 0) continue;
        if (at > 31) return 0;
        target32[at] = byte;
    }
    return 1;
}

/* Little endian numbers: a <= b. */
static int at_most(const unsigned char *a32, const unsigned char *b32) {
    for (int i = 31; i >= 0; i--)
        if (a32[i] != b32[i]) return a32[i] < b32[i];
    return 1;
}

int lnf_block_check_header(unsigned char *hash32, const unsigned char *header80, const unsigned char *prev32,
                           uint32_t limit_bits) {
    unsigned char target32[32], limit32[32];
    uint32_t bits =
        header80[72] | (uint32_t)header80[73] << 8 | (uint32_t)header80[74] << 16 | (uint32_t)header80[75] << 24;
    lnf_sha256d(hash32, header80, HEADER_LEN);
    if (prev32 && memcmp(header80 + 4, prev32, 32) != 0) return 0;
    if (!expand_target(target32, bits) || !expand_target(limit32, limit_bits)) return 0;
    return at_most(target32, limit32) && at_most(hash32, target32);
}

/* A binary counter of subtrees: level n holds the root of 2^n transactions, if there is one. */
typedef struct {
    unsigned char root[32][32];
    uint32_t count;
    int repeated;
} merkle;

static void merkle_pair(merkle *tree, unsigned char *out32, const unsigned char *left32, const unsigned char *right32) {
    unsigned char pair[64];
    memcpy(pair, left32, 32);
    memcpy(pair + 32, right32, 32);
    if (left32 != right32 && memcmp(left32, right32, 32) == 0) tree->repeated = 1;
    lnf_sha256d(out32, pair, 64);
}

static void merkle_add(merkle *tree, const unsigned char *hash32) {
    unsigned char node[32];
    int level = 0;
    memcpy(node, hash32, 32);
    for (; tree->count >> level & 1; level++) merkle_pair(tree, node, tree->root[level], node);
    memcpy(tree->root[level], node, 32);
    tree->count++;
}

static void merkle_finish(unsigned char *root32, merkle *tree) {
    int level = 0;
    while (!(tree->count >> level & 1)) level++;
    memcpy(root32, tree->root[level], 32);
    while (tree->count >> level != 1) {
        /* The odd one out of its level is paired with itself, and that may complete the levels above. */
        merkle_pair(tree, root32, root32, root32);
        tree->count += (uint32_t)1 << level;
        for (level++; !(tree->count >> level & 1); level++) merkle_pair(tree, root32, tree->root[level], root32);
    }
}

int lnf_block_check_merkle_root(const unsigned char *block, size_t block_len) {
    const unsigned char *p, *end;
    merkle tree;
    uint64_t n_txs;
    unsigned char root32[32];
    if (block_len < HEADER_LEN + 1 || block_len > LNF_MAX_BLOCK) return 0;
    p = block + HEADER_LEN;
    end = block + block_len;
    if (!compact_size(&n_txs, &p, end) || n_txs == 0 || n_txs > (size_t)(end - p) / MIN_TX) return 0;
    tree.count = 0;
    tree.repeated = 0;
    for (uint64_t i = 0; i < n_txs; i++) {
        layout tx;
        unsigned char txid32[32];
        if (!parse_tx(&tx, p, end, NULL)) return 0;
        layout_txid(txid32, &tx);
        merkle_add(&tree, txid32);
        p = tx.end;
    }
    if (p != end) return 0;
    merkle_finish(root32, &tree);
    return !tree.repeated && memcmp(root32, block + 36, 32) == 0;
}
