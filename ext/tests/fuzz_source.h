/* An input read from its start: what a fuzz target decides by single bytes. Behind the end come zeros. */
#ifndef LNF_FUZZ_SOURCE_H
#define LNF_FUZZ_SOURCE_H

#include "check.h"

typedef struct {
    const unsigned char *data;
    size_t left;
} source;

static inline unsigned next(source *from) {
    if (from->left == 0) return 0;
    from->left--;
    return *from->data++;
}

static inline void next_bytes(unsigned char *out, size_t len, source *from) {
    for (size_t i = 0; i < len; i++) out[i] = (unsigned char)next(from);
}

static inline uint64_t next_number(source *from, size_t bytes) {
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++) number = number << 8 | next(from);
    return number;
}

/* Memory of exactly the next `len` bytes, or fewer if there are fewer. */
static inline unsigned char *next_exact(size_t *got, size_t len, source *from) {
    *got = len < from->left ? len : from->left;
    unsigned char *memory = exact_copy(from->data, *got);
    from->data += *got;
    from->left -= *got;
    return memory;
}

/* One of the levels of code that a CPU may have. */
static inline void next_level(source *from) {
    static const unsigned LEVELS[] = {0, LNF_CPU_AVX2, ~0u, LNF_CPU_SHA_NI};
    lnf_cpu_restrict(LEVELS[next(from) % 4]);
}

#endif
