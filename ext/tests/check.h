/* What every C test uses. A test is a program that prints nothing and returns 0. */
#ifndef LNF_CHECK_H
#define LNF_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lnfast.h"

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

/* Heap memory of exactly this size: one byte too far is an error of AddressSanitizer. */
static inline unsigned char *exact(size_t len) {
    if (len == 0) return NULL;
    CHECK(len < 1u << 30);
    unsigned char *memory = malloc(len);
    CHECK(memory != NULL);
    return memory;
}

static inline unsigned char *exact_copy(const unsigned char *from, size_t len) {
    unsigned char *memory = exact(len);
    if (len != 0) memcpy(memory, from, len);
    return memory;
}

/* A fixed sequence of bytes, the same in every run. */
static inline void fill(unsigned char *out, size_t len, uint32_t seed) {
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (unsigned char)(seed >> 24);
    }
}

/* Returns the length. */
static inline size_t from_hex(unsigned char *out, const char *hex) {
    size_t len = strlen(hex) / 2;
    for (size_t i = 0; i < len; i++) {
        unsigned value;
        CHECK(sscanf(hex + 2 * i, "%2x", &value) == 1);
        out[i] = (unsigned char)value;
    }
    return len;
}

static inline int is_hex(const unsigned char *data, const char *hex) {
    unsigned char expected[4096];
    CHECK(strlen(hex) / 2 <= sizeof expected);
    size_t len = from_hex(expected, hex);
    return memcmp(data, expected, len) == 0;
}

static inline int is_zero(const unsigned char *data, size_t len) {
    unsigned char any = 0;
    for (size_t i = 0; i < len; i++) any |= data[i];
    return any == 0;
}

/* So that the compiler cannot leave out the reads that made the sum. */
static inline void use_sum(unsigned sum) {
    static volatile unsigned used;
    used = sum;
    (void)used;
}

/* Runs `test` on every level of code that this CPU has. */
static inline void on_every_level(void (*test)(void)) {
    static const unsigned LEVELS[] = {0, LNF_CPU_SHA_NI, LNF_CPU_AVX2, LNF_CPU_AVX2 | LNF_CPU_AVX512};
    for (size_t i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++) {
        if (lnf_cpu_restrict(LEVELS[i]) == LEVELS[i]) test();
    }
    lnf_cpu_restrict(~0u);
}

#endif
