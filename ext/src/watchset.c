/* A counted set of outpoints and scripts. */
#include "watchset.h"

#include <stdlib.h>

#define FIRST_SLOTS 64

static int make_table(lnf_watchset *set, size_t slots) {
    uint8_t *tags = calloc(slots + WINDOW, 1);
    watch_entry *entries = calloc(slots, sizeof(*entries));
    if (!tags || !entries) {
        free(tags);
        free(entries);
        return 0;
    }
    set->tags = tags;
    set->entries = entries;
    set->mask = slots - 1;
    return 1;
}

static void set_tag(lnf_watchset *set, size_t slot, uint8_t tag) {
    set->tags[slot] = tag;
    if (slot < WINDOW) set->tags[set->mask + 1 + slot] = tag;
}

lnf_watchset *lnf_watchset_create(const unsigned char *seed32) {
    lnf_watchset *set = calloc(1, sizeof(*set));
    if (!set) return NULL;
    unsigned char material[33], digest[32];
    memcpy(material, seed32, 32);
    memcpy(set->seed, seed32, 32);
    material[32] = 1;
    lnf_sha256(digest, material, sizeof(material));
    memcpy(&set->seed[4], digest, 8);
    set->seed[4] |= 1;
    if (!make_table(set, FIRST_SLOTS)) {
        free(set);
        return NULL;
    }
    return set;
}

lnf_watchset *watch_create_like(const lnf_watchset *model) {
    lnf_watchset *set = calloc(1, sizeof(*set));
    if (!set) return NULL;
    memcpy(set->seed, model->seed, sizeof(set->seed));
    if (!make_table(set, FIRST_SLOTS)) {
        free(set);
        return NULL;
    }
    return set;
}

void lnf_watchset_destroy(lnf_watchset *set) {
    if (!set) return;
    free(set->tags);
    free(set->entries);
    free(set);
}

/* What an entry keeps of a key. */
static void fill(watch_entry *entry, uint64_t hash, int is_script, const unsigned char *key, size_t len) {
    memset(entry, 0, sizeof(*entry));
    entry->hash = hash;
    entry->count = 1;
    if (is_script && len > INLINE_LEN) {
        entry->kind = KIND_LONG_SCRIPT;
        entry->key_len = 32;
        lnf_sha256(entry->key, key, len);
        return;
    }
    entry->kind = is_script ? KIND_SCRIPT : KIND_OUTPOINT;
    entry->key_len = (uint8_t)len;
    memcpy(entry->key, key, len);
}

static int same(const watch_entry *entry, uint64_t hash, int is_script, const unsigned char *key, size_t len) {
    if (entry->hash != hash) return 0;
    watch_entry wanted;
    fill(&wanted, hash, is_script, key, len);
    return entry->kind == wanted.kind && entry->key_len == wanted.key_len &&
           memcmp(entry->key, wanted.key, INLINE_LEN) == 0;
}

/* The slot of this key, or the free one where it belongs. */
static size_t probe(const lnf_watchset *set, uint64_t hash, int is_script, const unsigned char *key, size_t len) {
    uint8_t tag = watch_tag(hash);
    size_t slot = hash & set->mask;
    while (set->tags[slot]) {
        if (set->tags[slot] == tag && same(&set->entries[slot], hash, is_script, key, len)) return slot;
        slot = (slot + 1) & set->mask;
    }
    return slot;
}

const watch_entry *watch_find(const lnf_watchset *set, uint64_t hash, int is_script, const unsigned char *key,
                              size_t len) {
    size_t slot = probe(set, hash, is_script, key, len);
    return set->tags[slot] ? &set->entries[slot] : NULL;
}

static uint64_t hash_of(const lnf_watchset *set, int is_script, const unsigned char *key, size_t len) {
    return is_script ? watch_hash_script(set, key, len) : watch_hash_outpoint(set, key);
}

static int grow(lnf_watchset *set) {
    lnf_watchset old = *set;
    if (!make_table(set, 2 * (old.mask + 1))) return 0;
    for (size_t i = 0; i <= old.mask; i++) {
        if (!old.tags[i]) continue;
        size_t slot = old.entries[i].hash & set->mask;
        while (set->tags[slot]) slot = (slot + 1) & set->mask;
        set_tag(set, slot, old.tags[i]);
        set->entries[slot] = old.entries[i];
    }
    free(old.tags);
    free(old.entries);
    return 1;
}

static void tally(lnf_watchset *set, const watch_entry *entry, size_t one) {
    set->size += one;
    if (entry->kind != KIND_OUTPOINT) set->scripts += one;
    if (entry->kind == KIND_LONG_SCRIPT) set->long_scripts += one;
}

int watch_add(lnf_watchset *set, int is_script, const unsigned char *key, size_t len) {
    uint64_t hash = hash_of(set, is_script, key, len);
    size_t slot = probe(set, hash, is_script, key, len);
    if (set->tags[slot]) {
        if (set->entries[slot].count == UINT32_MAX) return 0;
        set->entries[slot].count++;
        return 1;
    }
    /* Half full at most: a miss then nearly always finds a free slot within one window. */
    if (2 * (set->size + 1) > set->mask + 1) {
        if (!grow(set)) return 0;
        slot = probe(set, hash, is_script, key, len);
    }
    fill(&set->entries[slot], hash, is_script, key, len);
    set_tag(set, slot, watch_tag(hash));
    tally(set, &set->entries[slot], 1);
    return 1;
}

/* Closes the gap, so that no lookup ever has to step over a grave. */
static void take_out(lnf_watchset *set, size_t gap) {
    tally(set, &set->entries[gap], (size_t)-1);
    for (size_t slot = (gap + 1) & set->mask; set->tags[slot]; slot = (slot + 1) & set->mask) {
        size_t home = set->entries[slot].hash & set->mask;
        if (((slot - home) & set->mask) < ((slot - gap) & set->mask)) continue;
        set->entries[gap] = set->entries[slot];
        set_tag(set, gap, set->tags[slot]);
        gap = slot;
    }
    memset(&set->entries[gap], 0, sizeof(set->entries[gap]));
    set_tag(set, gap, 0);
}

static int watch_remove(lnf_watchset *set, int is_script, const unsigned char *key, size_t len) {
    size_t slot = probe(set, hash_of(set, is_script, key, len), is_script, key, len);
    if (!set->tags[slot]) return 0;
    if (--set->entries[slot].count == 0) take_out(set, slot);
    return 1;
}

static uint32_t watch_count(const lnf_watchset *set, int is_script, const unsigned char *key, size_t len) {
    const watch_entry *entry = watch_find(set, hash_of(set, is_script, key, len), is_script, key, len);
    return entry ? entry->count : 0;
}

static int is_script_len(size_t len) { return len >= 1 && len <= LNF_MAX_SCRIPT; }

int lnf_watchset_add_outpoint(lnf_watchset *set, const unsigned char *outpoint36) {
    return watch_add(set, 0, outpoint36, OUTPOINT_LEN);
}

int lnf_watchset_add_script(lnf_watchset *set, const unsigned char *script, size_t script_len) {
    return is_script_len(script_len) && watch_add(set, 1, script, script_len);
}

int lnf_watchset_remove_outpoint(lnf_watchset *set, const unsigned char *outpoint36) {
    return watch_remove(set, 0, outpoint36, OUTPOINT_LEN);
}

int lnf_watchset_remove_script(lnf_watchset *set, const unsigned char *script, size_t script_len) {
    return is_script_len(script_len) && watch_remove(set, 1, script, script_len);
}

uint32_t lnf_watchset_count_outpoint(const lnf_watchset *set, const unsigned char *outpoint36) {
    return watch_count(set, 0, outpoint36, OUTPOINT_LEN);
}

uint32_t lnf_watchset_count_script(const lnf_watchset *set, const unsigned char *script, size_t script_len) {
    return is_script_len(script_len) ? watch_count(set, 1, script, script_len) : 0;
}

size_t lnf_watchset_size(const lnf_watchset *set) { return set->size; }
