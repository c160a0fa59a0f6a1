/* Any bytes as a transaction: nothing is read outside of them, and the hashes agree with what was found. */
#include "check.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

/* Reads everything that the walk found, so that AddressSanitizer sees every offset. */
static void read_all(const lnf_tx *tx) {
    unsigned sum = 0;
    size_t at = tx->inputs_at;
    unsigned char hash32[32];
    for (size_t i = 0; i < tx->input_count; i++) {
        lnf_tx_in input;
        at = lnf_tx_input(&input, tx, at);
        sum += input.outpoint36[35];
        for (size_t k = 0; k < input.script_len; k++) sum += input.script[k];
        for (uint32_t type = 0; type < 256; type += 41)
            CHECK(lnf_tx_sighash_bip143(hash32, tx, i, input.script, input.script_len, 1, type));
    }
    at = tx->outputs_at;
    for (size_t i = 0; i < tx->output_count; i++) {
        lnf_tx_out output;
        at = lnf_tx_output(&output, tx, at);
        for (size_t k = 0; k < output.script_len; k++) sum += output.script[k];
    }
    CHECK(at == tx->witness_at);
    for (size_t i = 0; tx->has_witness && i < tx->input_count; i++) {
        uint64_t items, len;
        for (at = lnf_tx_compact_size(&items, tx, at); items != 0; items--) {
            at = lnf_tx_compact_size(&len, tx, at);
            for (; len != 0; len--) sum += tx->raw[at++];
        }
    }
    CHECK(at == tx->lock_time_at);
    CHECK(tx->len == at + 4);
    CHECK(!lnf_tx_sighash_bip143(hash32, tx, tx->input_count, hash32, 0, 0, 1) && is_zero(hash32, 32));
    use_sum(sum);
}

/* BIP 141: three times the size without witness and once the size with it; the txid hashes the former. */
static void check_hashes(const lnf_tx *tx) {
    unsigned char txid32[32], wtxid32[32], hash32[32];
    const size_t body_len = tx->witness_at - tx->body_at, stripped_len = 4 + body_len + 4;
    unsigned char *stripped = exact(stripped_len);
    memcpy(stripped, tx->raw, 4);
    memcpy(stripped + 4, tx->raw + tx->body_at, body_len);
    memcpy(stripped + 4 + body_len, tx->raw + tx->lock_time_at, 4);
    lnf_tx_txid(txid32, tx);
    lnf_tx_wtxid(wtxid32, tx);
    lnf_sha256d(hash32, stripped, stripped_len);
    CHECK(memcmp(txid32, hash32, 32) == 0);
    lnf_sha256d(hash32, tx->raw, tx->len);
    CHECK(memcmp(wtxid32, hash32, 32) == 0);
    CHECK(tx->weight == 3 * stripped_len + tx->len);
    free(stripped);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    const char *why;
    lnf_tx tx, whole;
    if (lnf_tx_walk(&tx, &why, data, len)) {
        CHECK(why == NULL && tx.len <= len);
        /* Each signature hash of each input costs two passes. */
        if (tx.input_count <= 50) read_all(&tx);
        check_hashes(&tx);
        CHECK(lnf_tx_parse(&whole, &why, data, tx.len) && whole.weight == tx.weight);
    } else {
        CHECK(why != NULL && is_zero((const unsigned char *)&tx, sizeof tx));
    }
    CHECK(lnf_tx_parse(&whole, &why, data, len) == (tx.raw != NULL && tx.len == len));
    return 0;
}
