/* A watch set against a list: every count is the same after every change. */
#include "fuzz_source.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

#define KEYS 64
#define MAX_STEPS 4000

static size_t make_key(unsigned char *key, unsigned which) {
    static const size_t LENS[] = {36, 1, 22, 34, 40, 41, 200};
    const size_t len = which < KEYS / 2 ? LENS[0] : LENS[which % 7];
    memset(key, 0, 200);
    key[0] = (unsigned char)which;
    return len;
}

static int is_outpoint(unsigned which) { return which < KEYS / 2; }

static uint32_t count(const lnf_watchset *set, unsigned which) {
    unsigned char key[200];
    const size_t len = make_key(key, which);
    return is_outpoint(which) ? lnf_watchset_count_outpoint(set, key) : lnf_watchset_count_script(set, key, len);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    unsigned char seed32[32] = {0}, key[200];
    uint32_t counts[KEYS] = {0};
    size_t entries = 0;
    if (len != 0) seed32[0] = data[0];
    lnf_watchset *set = lnf_watchset_create(seed32);
    CHECK(set != NULL);
    for (size_t i = 1; i < len && i < MAX_STEPS; i++) {
        const unsigned which = data[i] % KEYS, remove = data[i] / KEYS % 2;
        const size_t key_len = make_key(key, which);
        unsigned char *copy = exact_copy(key, key_len);
        if (remove) {
            const int there = is_outpoint(which) ? lnf_watchset_remove_outpoint(set, copy)
                                                 : lnf_watchset_remove_script(set, copy, key_len);
            CHECK(there == (counts[which] != 0));
            counts[which] -= counts[which] != 0;
            entries -= there && counts[which] == 0;
        } else {
            CHECK(is_outpoint(which) ? lnf_watchset_add_outpoint(set, copy)
                                     : lnf_watchset_add_script(set, copy, key_len));
            entries += counts[which]++ == 0;
        }
        free(copy);
        CHECK(count(set, which) == counts[which] && lnf_watchset_size(set) == entries);
    }
    for (unsigned which = 0; which < KEYS; which++) CHECK(count(set, which) == counts[which]);
    lnf_watchset_destroy(set);
    return 0;
}
