#include "fuzz_block.c"

/* A parent with a witness that pays the watched script, and a child of it. */
static size_t small_block(unsigned char *block) {
    unsigned char parent[200], txid[32], *p = block + 80;
    memset(block, 0, 80);
    *p++ = 2;
    unsigned char *start = p;
    memcpy(p, "\x02\0\0\0\0\x01\x01", 7);
    p += 7;
    memset(p, 0xaa, 36);
    p += 36;
    memcpy(p, "\x01\x00\xff\xff\xff\xff\x02", 7);
    p += 7;
    memcpy(p, "\x10\0\0\0\0\0\0\0\x01\x51", 10);
    memcpy(p + 10, "\x20\0\0\0\0\0\0\0\x02\x6a\x52", 11);
    p += 21;
    unsigned char *witness = p;
    memcpy(p, "\x02\x03\x01\x02\x03\x00\0\0\0\0", 10);
    p += 10;
    memcpy(parent, start, 4);
    memcpy(parent + 4, start + 6, (size_t)(witness - start - 6));
    memcpy(parent + (witness - start) - 2, p - 4, 4);
    lnf_sha256d(txid, parent, (size_t)(witness - start) + 2);
    memcpy(p, "\x01\0\0\0\x01", 5);
    p += 5;
    memcpy(p, txid, 32);
    memcpy(p + 32, "\0\0\0\0\x00\xff\xff\xff\xff\x01", 10);
    p += 42;
    memcpy(p, "\x30\0\0\0\0\0\0\0\x00\0\0\0\0", 13);
    return (size_t)(p + 13 - block);
}

static void hits_of_a_small_block(void) {
    unsigned char block[300], hash[32], hash_of_header[32], *exact_block;
    lnf_block_hit hits[4];
    size_t found, len = small_block(block);
    exact_block = exact_copy(block, len);
    lnf_watchset *set = watch_some(exact_block, len);
    CHECK(lnf_block_scan(hash, hits, &found, 4, set, exact_block, len));
    CHECK(found == 3);
    lnf_sha256d(hash_of_header, block, 80);
    CHECK(memcmp(hash, hash_of_header, 32) == 0);
    CHECK(hits[0].tx_index == 0 && hits[0].tx_offset == 81 && hits[0].kind == LNF_HIT_OUTPOINT && hits[0].index == 0);
    CHECK(hits[1].tx_index == 0 && hits[1].tx_offset == 81 && hits[1].kind == LNF_HIT_SCRIPT && hits[1].index == 0);
    CHECK(hits[2].tx_index == 1 && hits[2].kind == LNF_HIT_JOINED && hits[2].index == 0);
    CHECK(hits[2].tx_offset == 81 + hits[0].tx_len && hits[2].tx_offset + hits[2].tx_len == len);
    CHECK(memcmp(hits[0].txid32, hits[1].txid32, 32) == 0 &&
          memcmp(hits[0].txid32, block + hits[2].tx_offset + 5, 32) == 0);
    CHECK(lnf_watchset_size(set) == 2);
    memset(hits, 0xee, sizeof hits);
    CHECK(lnf_block_scan(hash, hits, &found, 1, set, exact_block, len) && found == 3);
    CHECK(hits[0].tx_len != 0xeeeeeeee && hits[1].tx_len == 0xeeeeeeee);
    CHECK(!lnf_block_scan(hash, hits, &found, 4, set, exact_block, len - 1));
    CHECK(found == 0 && is_zero(hash, 32) && is_zero((unsigned char *)hits, 3 * sizeof *hits));
    lnf_watchset_destroy(set);
    free(exact_block);
}

static void every_length_and_every_byte(void) {
    static const unsigned char VALUES[] = {0, 1, 2, 0x7f, 0xfc, 0xfd, 0xfe, 0xff};
    unsigned char block[300];
    size_t len = small_block(block);
    for (size_t cut = 0; cut <= len; cut++) LLVMFuzzerTestOneInput(block, cut);
    for (size_t at = 0; at < len; at++) {
        unsigned char was = block[at];
        for (size_t i = 0; i < sizeof VALUES; i++) {
            block[at] = VALUES[i];
            LLVMFuzzerTestOneInput(block, len);
        }
        block[at] = was;
    }
}

static void many_bytes_at_once(void) {
    unsigned char block[300], chance[4];
    size_t len = small_block(block);
    for (uint32_t round = 0; round < 20000; round++) {
        if (round % 8 == 0) len = small_block(block);
        fill(chance, 4, round);
        block[80 + (chance[0] + 256u * chance[1]) % (len - 80)] =
            chance[2] < 128 ? chance[3] : (unsigned char)(0xfc + chance[3] % 4);
        LLVMFuzzerTestOneInput(block, len - (chance[2] % 16 == 0 ? chance[3] % len : 0));
    }
}

int main(void) {
    hits_of_a_small_block();
    every_length_and_every_byte();
    many_bytes_at_once();
    return 0;
}
