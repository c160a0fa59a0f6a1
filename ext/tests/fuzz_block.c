/* Any bytes as a block: nothing is read outside of them, and what is reported lies inside.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I../include -I../src fuzz_block.c ../src/<all>.c
 *
 * test_block.c runs it over mutations of one block, so that it is exercised without a fuzzer too. */
#include "check.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

/* Where the first input of the first transaction stands in a small block: the set watches what is there. */
#define FIRST_INPUT 88

static lnf_watchset *watch_some(const unsigned char *data, size_t len) {
    static const unsigned char SEED[32] = {1, 2, 3};
    lnf_watchset *set = lnf_watchset_create(SEED);
    CHECK(set);
    CHECK(lnf_watchset_add_script(set, (const unsigned char *)"\x51", 1));
    if (len >= FIRST_INPUT + 36) CHECK(lnf_watchset_add_outpoint(set, data + FIRST_INPUT));
    return set;
}

static void check_hits(const lnf_block_hit *hits, size_t count, size_t len) {
    for (size_t i = 0; i < count; i++) {
        CHECK(hits[i].kind >= LNF_HIT_OUTPOINT && hits[i].kind <= LNF_HIT_JOINED);
        CHECK(hits[i].tx_offset > 80 && hits[i].tx_len >= 60);
        CHECK((size_t)hits[i].tx_offset + hits[i].tx_len <= len);
        CHECK(i == 0 || hits[i].tx_index >= hits[i - 1].tx_index);
        CHECK(!is_zero(hits[i].txid32, 32));
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    unsigned char *block = exact_copy(data, len);
    lnf_watchset *set = watch_some(data, len);
    unsigned char hash[32];
    size_t found, again;
    if (lnf_block_scan(hash, NULL, &found, 0, set, block, len)) {
        CHECK(!is_zero(hash, 32));
        lnf_block_hit *hits = found ? (lnf_block_hit *)exact(found * sizeof *hits) : NULL;
        CHECK(lnf_block_scan(hash, hits, &again, found, set, block, len) && again == found);
        check_hits(hits, found, len);
        free(hits);
    } else {
        CHECK(found == 0 && is_zero(hash, 32));
        CHECK(!lnf_block_check_merkle_root(block, len));
    }
    lnf_block_check_merkle_root(block, len);
    if (len >= 80) lnf_block_check_header(hash, block, NULL, 0x207fffff);
    lnf_watchset_destroy(set);
    free(block);
    return 0;
}
