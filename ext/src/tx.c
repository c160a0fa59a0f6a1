#include "tx.h"

#include <string.h>

#define MAX_MONEY_SAT 2100000000000000u /* no output of a valid transaction holds more */
#define MAX_WEIGHT 4000000u             /* of a block, so of a transaction */

typedef struct {
    const unsigned char *raw;
    size_t at, len;
} reader;

static int skip(reader *r, uint64_t len) {
    if (len > r->len - r->at) return 0;
    r->at += (size_t)len;
    return 1;
}

/* Refuses a number that has a shorter form, as Bitcoin Core does: two serialisations of one transaction must not exist. */
static int read_compact_size(uint64_t *n, reader *r) {
    const unsigned char *p = r->raw + r->at;
    if (!skip(r, 1)) return 0;
    if (p[0] < 0xfd) {
        *n = p[0];
        return 1;
    }
    if (p[0] == 0xfd) {
        if (!skip(r, 2)) return 0;
        *n = (uint64_t)p[1] | (uint64_t)p[2] << 8;
        return *n >= 0xfd;
    }
    if (p[0] == 0xfe) {
        if (!skip(r, 4)) return 0;
        *n = lnf_load_le32(p + 1);
        return *n > 0xffff;
    }
    if (!skip(r, 8)) return 0;
    *n = lnf_load_le64(p + 1);
    return *n > 0xffffffffu;
}

static int skip_bytes(reader *r) {
    uint64_t len;
    return read_compact_size(&len, r) && skip(r, len);
}

static const char *walk_inputs(lnf_tx *tx, reader *r) {
    uint64_t count;
    if (!read_compact_size(&count, r)) return "the number of inputs is cut off or not minimal";
    if (count == 0) return "no inputs";
    if (count > (r->len - r->at) / 41) return "more inputs than bytes";
    tx->input_count = (size_t)count;
    tx->inputs_at = r->at;
    for (; count != 0; count--) {
        if (!skip(r, 36) || !skip_bytes(r) || !skip(r, 4))
            return "an input is cut off or its script's length not minimal";
    }
    return NULL;
}

static const char *walk_outputs(lnf_tx *tx, reader *r) {
    uint64_t count;
    if (!read_compact_size(&count, r)) return "the number of outputs is cut off or not minimal";
    if (count == 0) return "no outputs";
    if (count > (r->len - r->at) / 9) return "more outputs than bytes";
    tx->output_count = (size_t)count;
    tx->outputs_at = r->at;
    for (; count != 0; count--) {
        const unsigned char *value = r->raw + r->at;
        if (!skip(r, 8) || !skip_bytes(r)) return "an output is cut off or its script's length not minimal";
        if (lnf_load_le64(value) > MAX_MONEY_SAT) return "an output of more than 21 million bitcoin";
    }
    return NULL;
}

static const char *walk_witnesses(const lnf_tx *tx, reader *r) {
    int any = 0;
    for (size_t i = 0; i < tx->input_count; i++) {
        uint64_t count;
        if (!read_compact_size(&count, r)) return "a witness is cut off or its size not minimal";
        if (count > r->len - r->at) return "more witness items than bytes";
        any |= count != 0;
        for (; count != 0; count--) {
            if (!skip_bytes(r)) return "a witness item is cut off or its length not minimal";
        }
    }
    return any ? NULL : "the witness is marked, but every input's is empty";
}

static const char *walk(lnf_tx *tx, reader *r) {
    const char *why;
    const unsigned char *raw = r->raw;
    if (!skip(r, 4)) return "the version is cut off";
    tx->version = lnf_load_le32(raw);
    tx->has_witness = r->len - r->at >= 2 && raw[4] == 0;
    if (tx->has_witness) {
        if (raw[5] != 1) return "no inputs, or an unknown flag";
        r->at += 2;
    }
    tx->body_at = r->at;
    if ((why = walk_inputs(tx, r)) != NULL || (why = walk_outputs(tx, r)) != NULL) return why;
    tx->witness_at = r->at;
    if (tx->has_witness && (why = walk_witnesses(tx, r)) != NULL) return why;
    tx->lock_time_at = r->at;
    if (!skip(r, 4)) return "the lock time is cut off";
    tx->lock_time = lnf_load_le32(raw + tx->lock_time_at);
    tx->len = r->at;
    tx->weight = 3 * (4 + tx->witness_at - tx->body_at + 4) + tx->len;
    if (tx->weight > MAX_WEIGHT) return "heavier than a block";
    return NULL;
}

int lnf_tx_walk(lnf_tx *tx, const char **why, const unsigned char *raw, size_t len) {
    reader r = {raw, 0, len};
    memset(tx, 0, sizeof *tx);
    *why = walk(tx, &r);
    if (*why != NULL) {
        memset(tx, 0, sizeof *tx);
        return 0;
    }
    tx->raw = raw;
    return 1;
}

int lnf_tx_parse(lnf_tx *tx, const char **why, const unsigned char *raw, size_t len) {
    if (!lnf_tx_walk(tx, why, raw, len)) return 0;
    if (tx->len == len) return 1;
    memset(tx, 0, sizeof *tx);
    *why = "bytes after the end";
    return 0;
}

/* The three readers below walk what lnf_tx_walk has found whole. */
static uint64_t known_compact_size(const unsigned char **p) {
    const unsigned char *q = *p;
    if (q[0] < 0xfd) {
        *p += 1;
        return q[0];
    }
    if (q[0] == 0xfd) {
        *p += 3;
        return (uint64_t)q[1] | (uint64_t)q[2] << 8;
    }
    *p += 5; /* 8-byte lengths do not fit into the weight of a block */
    return lnf_load_le32(q + 1);
}

size_t lnf_tx_input(lnf_tx_in *input, const lnf_tx *tx, size_t at) {
    const unsigned char *p = tx->raw + at;
    input->outpoint36 = p;
    p += 36;
    input->script_len = (size_t)known_compact_size(&p);
    input->script = p;
    p += input->script_len;
    input->sequence = lnf_load_le32(p);
    return (size_t)(p + 4 - tx->raw);
}

size_t lnf_tx_output(lnf_tx_out *output, const lnf_tx *tx, size_t at) {
    const unsigned char *p = tx->raw + at;
    output->value_sat = lnf_load_le64(p);
    p += 8;
    output->script_len = (size_t)known_compact_size(&p);
    output->script = p;
    return (size_t)(p + output->script_len - tx->raw);
}

size_t lnf_tx_compact_size(uint64_t *n, const lnf_tx *tx, size_t at) {
    const unsigned char *p = tx->raw + at;
    *n = known_compact_size(&p);
    return (size_t)(p - tx->raw);
}

void lnf_tx_txid(unsigned char *out32, const lnf_tx *tx) {
    lnf_sha256_ctx ctx;
    unsigned char digest32[32];
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, tx->raw, 4);
    lnf_sha256_update(&ctx, tx->raw + tx->body_at, tx->witness_at - tx->body_at);
    lnf_sha256_update(&ctx, tx->raw + tx->lock_time_at, 4);
    lnf_sha256_final(digest32, &ctx);
    lnf_sha256(out32, digest32, 32);
}

void lnf_tx_wtxid(unsigned char *out32, const lnf_tx *tx) { lnf_sha256d(out32, tx->raw, tx->len); }

void lnf_sighash_from_parts(unsigned char *out32, const lnf_sighash_parts *parts, const unsigned char *script_code,
                            size_t len) {
    unsigned char head[4 + 32 + 32 + 36 + 5], tail[8 + 4 + 32 + 4 + 4], *p = head;
    lnf_sha256_ctx ctx;
    lnf_store_le32(p, parts->version);
    memcpy(p + 4, parts->hash_prevouts32, 32);
    memcpy(p + 36, parts->hash_sequence32, 32);
    memcpy(p + 68, parts->outpoint36, 36);
    p = lnf_put_compact_size(p + 104, len);
    lnf_store_le64(tail, parts->value_sat);
    lnf_store_le32(tail + 8, parts->sequence);
    memcpy(tail + 12, parts->hash_outputs32, 32);
    lnf_store_le32(tail + 44, parts->lock_time);
    lnf_store_le32(tail + 48, parts->type);
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, head, (size_t)(p - head));
    lnf_sha256_update(&ctx, script_code, len);
    lnf_sha256_update(&ctx, tail, sizeof tail);
    lnf_sha256_final(out32, &ctx);
    lnf_sha256(out32, out32, 32);
}

static void finish_twice(unsigned char *out32, lnf_sha256_ctx *ctx) {
    lnf_sha256_final(out32, ctx);
    lnf_sha256(out32, out32, 32);
}

int lnf_tx_sighash_bip143(unsigned char *out32, const lnf_tx *tx, size_t index, const unsigned char *script_code,
                          size_t script_len, uint64_t value_sat, uint32_t type) {
    static const unsigned char ZERO[32];
    const int anyone = (type & LNF_SIGHASH_ANYONECANPAY) != 0;
    const uint32_t base = type & 0x1f;
    unsigned char prevouts32[32] = {0}, sequences32[32] = {0}, outputs32[32] = {0};
    lnf_sha256_ctx prevouts, sequences;
    lnf_tx_in input, mine;
    lnf_tx_out output;
    lnf_sighash_parts parts;
    size_t at = tx->inputs_at;

    memset(out32, 0, 32);
    if (index >= tx->input_count) return 0;
    memset(&mine, 0, sizeof mine);
    lnf_sha256_init(&prevouts);
    lnf_sha256_init(&sequences);
    for (size_t i = 0; i < tx->input_count; i++) {
        unsigned char sequence[4];
        at = lnf_tx_input(&input, tx, at);
        if (i == index) mine = input;
        lnf_store_le32(sequence, input.sequence);
        lnf_sha256_update(&prevouts, input.outpoint36, 36);
        lnf_sha256_update(&sequences, sequence, 4);
    }
    if (!anyone) finish_twice(prevouts32, &prevouts);
    if (!anyone && base != LNF_SIGHASH_SINGLE && base != LNF_SIGHASH_NONE) finish_twice(sequences32, &sequences);

    if (base == LNF_SIGHASH_SINGLE) {
        size_t start = tx->outputs_at;
        for (size_t i = 0; i < tx->output_count; i++) {
            const size_t next = lnf_tx_output(&output, tx, start);
            if (i == index) lnf_sha256d(outputs32, tx->raw + start, next - start);
            start = next;
        }
    } else if (base != LNF_SIGHASH_NONE) {
        lnf_sha256d(outputs32, tx->raw + tx->outputs_at, tx->witness_at - tx->outputs_at);
    }
    parts =
        (lnf_sighash_parts){tx->version, mine.sequence,   tx->lock_time, type, value_sat, anyone ? ZERO : prevouts32,
                            sequences32, mine.outpoint36, outputs32};
    lnf_sighash_from_parts(out32, &parts, script_code, script_len);
    return 1;
}
