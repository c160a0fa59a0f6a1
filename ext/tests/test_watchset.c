#include "check.h"

static void seeds_differ_and_the_set_does_not(void) {
    for (uint32_t seed = 0; seed < 3; seed++) {
        unsigned char seed32[32], outpoint[36], script[60];
        fill(seed32, 32, seed);
        lnf_watchset *set = lnf_watchset_create(seed32);
        CHECK(set && lnf_watchset_size(set) == 0);
        for (uint32_t i = 0; i < 3000; i++) {
            fill(outpoint, 36, i);
            CHECK(lnf_watchset_add_outpoint(set, outpoint));
        }
        for (size_t len = 1; len <= sizeof script; len++) {
            fill(script, len, (uint32_t)len);
            unsigned char *copy = exact_copy(script, len);
            CHECK(lnf_watchset_add_script(set, copy, len));
            free(copy);
        }
        CHECK(lnf_watchset_size(set) == 3060);
        for (uint32_t i = 0; i < 6000; i++) {
            fill(outpoint, 36, i);
            CHECK(lnf_watchset_count_outpoint(set, outpoint) == (i < 3000));
        }
        for (uint32_t i = 0; i < 3000; i += 2) {
            fill(outpoint, 36, i);
            CHECK(lnf_watchset_remove_outpoint(set, outpoint));
            CHECK(!lnf_watchset_remove_outpoint(set, outpoint));
        }
        for (uint32_t i = 0; i < 3000; i++) {
            fill(outpoint, 36, i);
            CHECK(lnf_watchset_count_outpoint(set, outpoint) == i % 2);
        }
        for (size_t len = 1; len <= sizeof script; len++) {
            fill(script, len, (uint32_t)len);
            CHECK(lnf_watchset_count_script(set, script, len) == 1);
            CHECK(lnf_watchset_remove_script(set, script, len));
            CHECK(lnf_watchset_count_script(set, script, len) == 0);
        }
        CHECK(lnf_watchset_size(set) == 1500);
        lnf_watchset_destroy(set);
    }
}

static void an_outpoint_is_not_a_script(void) {
    unsigned char bytes[36];
    fill(bytes, sizeof bytes, 1);
    lnf_watchset *set = lnf_watchset_create(bytes);
    CHECK(set && lnf_watchset_add_outpoint(set, bytes));
    CHECK(lnf_watchset_count_script(set, bytes, 36) == 0);
    CHECK(lnf_watchset_add_script(set, bytes, 36) && lnf_watchset_add_script(set, bytes, 36));
    CHECK(lnf_watchset_count_outpoint(set, bytes) == 1 && lnf_watchset_count_script(set, bytes, 36) == 2);
    lnf_watchset_destroy(set);
}

static void lengths(void) {
    unsigned char *script = exact(LNF_MAX_SCRIPT + 1);
    memset(script, 7, LNF_MAX_SCRIPT + 1);
    lnf_watchset *set = lnf_watchset_create(script);
    CHECK(set && !lnf_watchset_add_script(set, script, 0) && !lnf_watchset_add_script(set, script, LNF_MAX_SCRIPT + 1));
    CHECK(lnf_watchset_add_script(set, script, LNF_MAX_SCRIPT));
    CHECK(lnf_watchset_count_script(set, script, LNF_MAX_SCRIPT) == 1);
    CHECK(lnf_watchset_count_script(set, script, LNF_MAX_SCRIPT - 1) == 0);
    CHECK(lnf_watchset_size(set) == 1);
    lnf_watchset_destroy(set);
    lnf_watchset_destroy(NULL);
    free(script);
}

int main(void) {
    seeds_differ_and_the_set_does_not();
    an_outpoint_is_not_a_script();
    lengths();
    return 0;
}
