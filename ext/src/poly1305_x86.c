/* Poly1305 over 4 or 8 blocks at once. Lane i holds every n-th block from the i-th on: it is multiplied by r^n from one
 * group to the next, and at the end by the power that it lacks. */
#include "poly1305.h"

#ifdef LNF_X86
#include <immintrin.h>

#include "secp.h"

#define MASK44 0xfffffffffffull
#define MASK42 0x3ffffffffffull
#define MASK26 0x3ffffffull

/* ---- AVX-512 IFMA: 8 blocks, limbs of 44, 44 and 42 bits -------------------------------------------------------- */

#define IFMA __attribute__((target("avx512f,avx512ifma"), always_inline)) static inline

typedef struct {
    __m512i v[3];
} limbs8;

/* h * r, with r[1] and r[2] times 20 in s: see blocks() in poly1305.c. Limbs below 2^45 in, the same out. */
IFMA limbs8 multiply8(limbs8 h, limbs8 r, limbs8 s) {
    const __m512i zero = _mm512_setzero_si512(), mask44 = _mm512_set1_epi64(MASK44), mask42 = _mm512_set1_epi64(MASK42);
    __m512i low[3], high[3], carry;
    const __m512i factors[3][3] = {{r.v[0], s.v[2], s.v[1]}, {r.v[1], r.v[0], s.v[2]}, {r.v[2], r.v[1], r.v[0]}};
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        low[i] = _mm512_madd52lo_epu64(zero, h.v[0], factors[i][0]);
        high[i] = _mm512_madd52hi_epu64(zero, h.v[0], factors[i][0]);
        low[i] = _mm512_madd52lo_epu64(low[i], h.v[1], factors[i][1]);
        high[i] = _mm512_madd52hi_epu64(high[i], h.v[1], factors[i][1]);
        low[i] = _mm512_madd52lo_epu64(low[i], h.v[2], factors[i][2]);
        high[i] = _mm512_madd52hi_epu64(high[i], h.v[2], factors[i][2]);
    }
    /* The high halves weigh 2^52: 2^8 of the next limb, or 2^10 after the limb of 42 bits. */
    h.v[0] = _mm512_and_si512(low[0], mask44);
    carry = _mm512_add_epi64(_mm512_srli_epi64(low[0], 44), _mm512_slli_epi64(high[0], 8));
    low[1] = _mm512_add_epi64(low[1], carry);
    h.v[1] = _mm512_and_si512(low[1], mask44);
    carry = _mm512_add_epi64(_mm512_srli_epi64(low[1], 44), _mm512_slli_epi64(high[1], 8));
    low[2] = _mm512_add_epi64(low[2], carry);
    h.v[2] = _mm512_and_si512(low[2], mask42);
    carry = _mm512_add_epi64(_mm512_srli_epi64(low[2], 42), _mm512_slli_epi64(high[2], 10));
    h.v[0] = _mm512_add_epi64(h.v[0], _mm512_add_epi64(carry, _mm512_slli_epi64(carry, 2)));
    h.v[1] = _mm512_add_epi64(h.v[1], _mm512_srli_epi64(h.v[0], 44));
    h.v[0] = _mm512_and_si512(h.v[0], mask44);
    return h;
}

IFMA limbs8 times20_8(limbs8 r) {
    limbs8 s;
    s.v[0] = _mm512_setzero_si512();
    for (int i = 1; i < 3; i++) s.v[i] = _mm512_add_epi64(_mm512_slli_epi64(r.v[i], 4), _mm512_slli_epi64(r.v[i], 2));
    return s;
}

/* h plus 8 blocks, in the lanes' order 0 4 1 5 2 6 3 7: what two unpacks give. */
IFMA limbs8 add_blocks8(limbs8 h, const unsigned char *data) {
    const __m512i mask44 = _mm512_set1_epi64(MASK44);
    __m512i a = _mm512_loadu_si512(data), b = _mm512_loadu_si512(data + 64);
    __m512i low = _mm512_unpacklo_epi64(a, b), high = _mm512_unpackhi_epi64(a, b);
    h.v[0] = _mm512_add_epi64(h.v[0], _mm512_and_si512(low, mask44));
    h.v[1] = _mm512_add_epi64(
        h.v[1], _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20)), mask44));
    h.v[2] = _mm512_add_epi64(h.v[2], _mm512_or_si512(_mm512_srli_epi64(high, 24), _mm512_set1_epi64(1ll << 40)));
    return h;
}

__attribute__((target("avx512f,avx512ifma"))) void
lnf_poly1305_blocks8_avx512(uint64_t h[3], const uint64_t powers[8][3], const unsigned char *data, size_t groups) {
    limbs8 acc, r8, last;
    for (int i = 0; i < 3; i++) {
        acc.v[i] = _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, (long long)h[i]);
        r8.v[i] = _mm512_set1_epi64((long long)powers[7][i]);
        /* Block k of a group lacks r^(8 - k), which is powers[7 - k]. */
        last.v[i] = _mm512_set_epi64((long long)powers[0][i], (long long)powers[4][i], (long long)powers[1][i],
                                     (long long)powers[5][i], (long long)powers[2][i], (long long)powers[6][i],
                                     (long long)powers[3][i], (long long)powers[7][i]);
    }
    const limbs8 s8 = times20_8(r8);
    acc = add_blocks8(acc, data);
    for (size_t i = 1; i < groups; i++) acc = add_blocks8(multiply8(acc, r8, s8), data + 128 * i);
    acc = multiply8(acc, last, times20_8(last));
    for (int i = 0; i < 3; i++) h[i] = (uint64_t)_mm512_reduce_add_epi64(acc.v[i]);
}

/* ---- AVX2: 4 blocks, limbs of 26 bits --------------------------------------------------------------------------- */

#define AVX2 __attribute__((target("avx2"), always_inline)) static inline

typedef struct {
    __m256i v[5];
} limbs4;

static void to_26(uint64_t out[5], const uint64_t in[3]) {
    uint64_t in2 = in[2] + (in[1] >> 44), in1 = in[1] & MASK44;
    uint64_t low = in[0] | in1 << 44, high = in1 >> 20 | in2 << 24;
    out[0] = low & MASK26;
    out[1] = low >> 26 & MASK26;
    out[2] = (low >> 52 | high << 12) & MASK26;
    out[3] = high >> 14 & MASK26;
    out[4] = in2 >> 16;
}

static void from_26(uint64_t out[3], const uint64_t in[5]) {
    uint64_t limbs[5], carry = 0;
    for (int i = 0; i < 5; i++) {
        limbs[i] = in[i] + carry;
        carry = limbs[i] >> 26;
        if (i < 4) limbs[i] &= MASK26;
    }
    out[0] = (limbs[0] | limbs[1] << 26) & MASK44;
    out[1] = (limbs[1] >> 18 | limbs[2] << 8 | limbs[3] << 34) & MASK44;
    out[2] = limbs[3] >> 10 | limbs[4] << 16;
}

/* Limbs below 2^28 in, below 2^26 and a little out. */
AVX2 limbs4 multiply4(limbs4 h, limbs4 r, limbs4 s) {
    const __m256i mask = _mm256_set1_epi64x(MASK26);
    __m256i d[5], carry;
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        d[i] = _mm256_mul_epu32(h.v[0], r.v[i]);
#pragma GCC unroll 4
        for (int j = 1; j < 5; j++)
            d[i] = _mm256_add_epi64(d[i], _mm256_mul_epu32(h.v[j], j <= i ? r.v[i - j] : s.v[5 + i - j]));
    }
    /* Two chains of carries at a time: 0 1 2 and 3 4 0 1. */
#define CARRY(from, to)                        \
    carry = _mm256_srli_epi64(d[from], 26);    \
    d[from] = _mm256_and_si256(d[from], mask); \
    d[to] = _mm256_add_epi64(d[to], carry);
    CARRY(0, 1)
    CARRY(3, 4)
    CARRY(1, 2)
    carry = _mm256_srli_epi64(d[4], 26);
    d[4] = _mm256_and_si256(d[4], mask);
    d[0] = _mm256_add_epi64(d[0], _mm256_add_epi64(carry, _mm256_slli_epi64(carry, 2)));
    CARRY(2, 3)
    CARRY(0, 1)
    CARRY(3, 4)
#undef CARRY
    for (int i = 0; i < 5; i++) h.v[i] = d[i];
    return h;
}

AVX2 limbs4 times5_4(limbs4 r) {
    for (int i = 0; i < 5; i++) r.v[i] = _mm256_add_epi64(r.v[i], _mm256_slli_epi64(r.v[i], 2));
    return r;
}

/* h plus 4 blocks, in the lanes' order 0 2 1 3. */
AVX2 limbs4 add_blocks4(limbs4 h, const unsigned char *data) {
    const __m256i mask = _mm256_set1_epi64x(MASK26);
    __m256i a = _mm256_loadu_si256((const __m256i *)data), b = _mm256_loadu_si256((const __m256i *)(data + 32));
    __m256i low = _mm256_unpacklo_epi64(a, b), high = _mm256_unpackhi_epi64(a, b);
    h.v[0] = _mm256_add_epi64(h.v[0], _mm256_and_si256(low, mask));
    h.v[1] = _mm256_add_epi64(h.v[1], _mm256_and_si256(_mm256_srli_epi64(low, 26), mask));
    h.v[2] = _mm256_add_epi64(
        h.v[2], _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(low, 52), _mm256_slli_epi64(high, 12)), mask));
    h.v[3] = _mm256_add_epi64(h.v[3], _mm256_and_si256(_mm256_srli_epi64(high, 14), mask));
    h.v[4] = _mm256_add_epi64(h.v[4], _mm256_or_si256(_mm256_srli_epi64(high, 40), _mm256_set1_epi64x(1 << 24)));
    return h;
}

__attribute__((target("avx2"))) void lnf_poly1305_blocks4_avx2(uint64_t h[3], const uint64_t powers[4][3],
                                                               const unsigned char *data, size_t groups) {
    uint64_t h26[5], r26[4][5], sums[5];
    limbs4 acc, r4, last;
    to_26(h26, h);
    for (int i = 0; i < 4; i++) to_26(r26[i], powers[i]);
    for (int i = 0; i < 5; i++) {
        acc.v[i] = _mm256_set_epi64x(0, 0, 0, (long long)h26[i]);
        r4.v[i] = _mm256_set1_epi64x((long long)r26[3][i]);
        last.v[i] =
            _mm256_set_epi64x((long long)r26[0][i], (long long)r26[2][i], (long long)r26[1][i], (long long)r26[3][i]);
    }
    const limbs4 s4 = times5_4(r4);
    acc = add_blocks4(acc, data);
    for (size_t i = 1; i < groups; i++) acc = add_blocks4(multiply4(acc, r4, s4), data + 64 * i);
    acc = multiply4(acc, last, times5_4(last));
    for (int i = 0; i < 5; i++) {
        __m128i half = _mm_add_epi64(_mm256_castsi256_si128(acc.v[i]), _mm256_extracti128_si256(acc.v[i], 1));
        sums[i] = (uint64_t)_mm_cvtsi128_si64(_mm_add_epi64(half, _mm_unpackhi_epi64(half, half)));
    }
    from_26(h, sums);
    lnf_wipe(h26, sizeof h26);
    lnf_wipe(r26, sizeof r26);
    lnf_wipe(sums, sizeof sums);
}
#endif
