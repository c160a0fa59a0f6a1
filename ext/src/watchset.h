/* The inside of a watch set, for the block walk, which asks it once for each input and output of a block.
 *
 * Open addressing with linear probing. A byte per slot (0: free) holds eight bits of the hash, apart from the entries:
 * a miss, which is nearly every lookup, reads eight of those bytes and nothing else, so 100,000 outpoints put 256 kB
 * before the block walk instead of 14 MB. */
#ifndef LNFAST_WATCHSET_H
#define LNFAST_WATCHSET_H

#include <string.h>

#include "lnfast.h"

enum { KIND_OUTPOINT = 1, KIND_SCRIPT = 2, KIND_LONG_SCRIPT = 3 };

#define OUTPOINT_LEN 36
/* Longer scripts are kept as their SHA-256: all that Lightning and wallets use are shorter. */
#define INLINE_LEN 40
/* Bytes that one look at the tags covers; the first ones are repeated behind the last. */
#define WINDOW 8

typedef struct {
    uint64_t hash;
    uint32_t count;
    uint8_t kind;
    uint8_t key_len;
    unsigned char key[INLINE_LEN];
} watch_entry;

struct lnf_watchset {
    uint64_t seed[5];
    size_t mask; /* slots - 1 */
    size_t size;
    size_t scripts;
    size_t long_scripts;
    uint8_t *tags;
    watch_entry *entries;
};

/* 64 x 64 bits, the halves of the product folded together. */
static inline uint64_t watch_mix(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low, cross = a_low * b_high, middle = a_high * b_low + (low >> 32) + (uint32_t)cross;
    return ((middle << 32) | (uint32_t)low) ^ (a_high * b_high + (cross >> 32) + (middle >> 32));
#endif
}

static inline uint64_t watch_load64(const unsigned char *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

static inline uint64_t watch_hash_outpoint(const lnf_watchset *set, const unsigned char *outpoint36) {
    const uint64_t *seed = set->seed;
    uint32_t index;
    memcpy(&index, outpoint36 + 32, 4);
    uint64_t low = watch_mix(watch_load64(outpoint36) ^ seed[0], watch_load64(outpoint36 + 8) ^ seed[1]);
    uint64_t high = watch_mix(watch_load64(outpoint36 + 16) ^ seed[2], watch_load64(outpoint36 + 24) ^ seed[3]);
    return watch_mix(low ^ high ^ index, seed[4]);
}

static inline uint64_t watch_hash_script(const lnf_watchset *set, const unsigned char *script, size_t len) {
    const uint64_t *seed = set->seed;
    uint64_t hash = seed[2] ^ len;
    while (len > 16) {
        hash = watch_mix(watch_load64(script) ^ seed[0], watch_load64(script + 8) ^ seed[1] ^ hash);
        script += 16;
        len -= 16;
    }
    unsigned char tail[16] = {0};
    memcpy(tail, script, len);
    hash = watch_mix(watch_load64(tail) ^ seed[3], watch_load64(tail + 8) ^ seed[1] ^ hash);
    return watch_mix(hash, seed[4]);
}

static inline uint8_t watch_tag(uint64_t hash) {
    uint8_t tag = (uint8_t)(hash >> 56);
    return tag ? tag : 1;
}

static inline void watch_prefetch(const lnf_watchset *set, uint64_t hash) {
    __builtin_prefetch(set->tags + (hash & set->mask));
}

/* 0 if nothing in the set has this hash; 1 if something may. */
static inline int watch_maybe(const lnf_watchset *set, uint64_t hash) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t tags = watch_load64(set->tags + (hash & set->mask));
    uint64_t differences = tags ^ (ones * watch_tag(hash));
    uint64_t equal = (differences - ones) & ~differences & highs;
    uint64_t free_slot = (tags - ones) & ~tags & highs;
    return equal != 0 || free_slot == 0;
}

/* The entry of this key, or NULL. A key is 36 bytes of an outpoint or a whole script. */
const watch_entry *watch_find(const lnf_watchset *set, uint64_t hash, int is_script, const unsigned char *key,
                              size_t len);
int watch_add(lnf_watchset *set, int is_script, const unsigned char *key, size_t len);
/* A set with the same seeds, so that a hash counts for both; NULL if memory ran out. */
lnf_watchset *watch_create_like(const lnf_watchset *set);

#endif
