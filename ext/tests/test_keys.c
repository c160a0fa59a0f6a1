/* The per-commitment secrets: BOLT 3, appendix D, and every prefix of an index. */
#include "check.h"

#define LAST ((1ull << 48) - 1)

static void generation(void) {
    unsigned char seed[32], out[32];
    memset(seed, 0, 32);
    lnf_per_commitment_secret(out, seed, LAST);
    CHECK(is_hex(out, "02a40c85b6f28da08dfdbe0926c53fab2de6d28c10301f8f7c4073d5e42e3148"));
    memset(seed, 0xff, 32);
    lnf_per_commitment_secret(out, seed, 0xaaaaaaaaaaaull);
    CHECK(is_hex(out, "56f4008fb007ca9acf0e15b054d5c9fd12ee06cea347914ddbaed70d1c13a528"));
    lnf_per_commitment_secret(seed, seed, 0x555555555555ull);
    CHECK(is_hex(seed, "9015daaeb06dba4ccc05b91b2f73bd54405f2be9f217fbacd3c5ac2e62327d31"));
}

static void storage(void) {
    unsigned char seed[32], known[32], out[32], expected[32];
    const uint64_t index = 0x123456789abcull;
    fill(seed, 32, 1);
    lnf_per_commitment_secret(expected, seed, index);
    for (unsigned bits = 0; bits <= 48; bits++) {
        uint64_t prefix = index >> bits << bits;
        lnf_per_commitment_secret(known, seed, prefix);
        CHECK(lnf_shachain_derive(out, known, prefix, index) && memcmp(out, expected, 32) == 0);
        /* A bit of the prefix that differs. */
        CHECK(prefix == 0 ||
              (!lnf_shachain_derive(out, known, prefix, index ^ (prefix & -prefix)) && is_zero(out, 32)));
    }
    CHECK(!lnf_shachain_derive(out, seed, 0, LAST + 1) && is_zero(out, 32));
    CHECK(!lnf_shachain_derive(out, seed, LAST + 1, 0) && is_zero(out, 32));
    CHECK(lnf_shachain_derive(known, known, index, index));
}

static void test(void) {
    generation();
    storage();
}

int main(void) {
    on_every_level(test);
    return 0;
}
