/* ChaCha20, one block a vector lane. */
#include "chacha.h"

#ifdef LNF_X86
#include <immintrin.h>

/* A double round over v[0..15], with ADD, XOR and the four rotations of the vector type. */
#define QUARTER(a, b, c, d)        \
    v[a] = ADD(v[a], v[b]);        \
    v[d] = ROT16(XOR(v[d], v[a])); \
    v[c] = ADD(v[c], v[d]);        \
    v[b] = ROT12(XOR(v[b], v[c])); \
    v[a] = ADD(v[a], v[b]);        \
    v[d] = ROT8(XOR(v[d], v[a]));  \
    v[c] = ADD(v[c], v[d]);        \
    v[b] = ROT7(XOR(v[b], v[c]));
#define DOUBLE_ROUND      \
    QUARTER(0, 4, 8, 12)  \
    QUARTER(1, 5, 9, 13)  \
    QUARTER(2, 6, 10, 14) \
    QUARTER(3, 7, 11, 15) \
    QUARTER(0, 5, 10, 15) \
    QUARTER(1, 6, 11, 12) \
    QUARTER(2, 7, 8, 13)  \
    QUARTER(3, 4, 9, 14)

/* ---- AVX2: 8 blocks --------------------------------------------------------------------------------------------- */

#define ADD _mm256_add_epi32
#define XOR _mm256_xor_si256
#define SHIFT_ROT(x, n) _mm256_or_si256(_mm256_slli_epi32(x, n), _mm256_srli_epi32(x, 32 - (n)))
#define ROT16(x) _mm256_shuffle_epi8(x, rot16)
#define ROT12(x) SHIFT_ROT(x, 12)
#define ROT8(x) _mm256_shuffle_epi8(x, rot8)
#define ROT7(x) SHIFT_ROT(x, 7)

__attribute__((target("avx2"))) static inline void put32(unsigned char *out, const unsigned char *in, size_t at,
                                                         __m256i stream) {
    if (in != NULL) stream = _mm256_xor_si256(stream, _mm256_loadu_si256((const __m256i *)(in + at)));
    _mm256_storeu_si256((__m256i *)(out + at), stream);
}

__attribute__((target("avx2"))) void lnf_chacha20_8_avx2(unsigned char *out, const unsigned char *in,
                                                         const uint32_t state[16], const uint32_t *word12,
                                                         const uint32_t *word14) {
    const __m256i rot16 =
        _mm256_set_epi64x(0x0d0c0f0e09080b0a, 0x0504070601000302, 0x0d0c0f0e09080b0a, 0x0504070601000302);
    const __m256i rot8 =
        _mm256_set_epi64x(0x0e0d0c0f0a09080b, 0x0605040702010003, 0x0e0d0c0f0a09080b, 0x0605040702010003);
    const __m256i v12 = _mm256_loadu_si256((const __m256i *)word12), v14 = _mm256_loadu_si256((const __m256i *)word14);
    __m256i v[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) v[i] = _mm256_set1_epi32((int)state[i]);
    v[12] = v12;
    v[14] = v14;
    for (int i = 0; i < 10; i++) { DOUBLE_ROUND }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        v[i] = _mm256_add_epi32(v[i], i == 12 ? v12 : i == 14 ? v14 : _mm256_set1_epi32((int)state[i]));
    /* Groups of four words: afterwards v[4 * g + j] has the words 4 * g to 4 * g + 3 of the blocks j and j + 4. */
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += 4) {
        __m256i a = _mm256_unpacklo_epi32(v[g], v[g + 1]), b = _mm256_unpackhi_epi32(v[g], v[g + 1]);
        __m256i c = _mm256_unpacklo_epi32(v[g + 2], v[g + 3]), d = _mm256_unpackhi_epi32(v[g + 2], v[g + 3]);
        v[g] = _mm256_unpacklo_epi64(a, c);
        v[g + 1] = _mm256_unpackhi_epi64(a, c);
        v[g + 2] = _mm256_unpacklo_epi64(b, d);
        v[g + 3] = _mm256_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        put32(out, in, (size_t)(64 * j), _mm256_permute2x128_si256(v[j], v[4 + j], 0x20));
        put32(out, in, (size_t)(64 * j + 32), _mm256_permute2x128_si256(v[8 + j], v[12 + j], 0x20));
        put32(out, in, (size_t)(64 * j + 256), _mm256_permute2x128_si256(v[j], v[4 + j], 0x31));
        put32(out, in, (size_t)(64 * j + 288), _mm256_permute2x128_si256(v[8 + j], v[12 + j], 0x31));
    }
}

#undef ADD
#undef XOR
#undef ROT16
#undef ROT12
#undef ROT8
#undef ROT7

/* ---- AVX-512: 16 blocks ----------------------------------------------------------------------------------------- */

#define ADD _mm512_add_epi32
#define XOR _mm512_xor_si512
#define ROT16(x) _mm512_rol_epi32(x, 16)
#define ROT12(x) _mm512_rol_epi32(x, 12)
#define ROT8(x) _mm512_rol_epi32(x, 8)
#define ROT7(x) _mm512_rol_epi32(x, 7)

__attribute__((target("avx512f"))) static inline void put64(unsigned char *out, const unsigned char *in, int block,
                                                            __m512i stream) {
    if (in != NULL) stream = _mm512_xor_si512(stream, _mm512_loadu_si512(in + 64 * block));
    _mm512_storeu_si512(out + 64 * block, stream);
}

__attribute__((target("avx512f"))) void lnf_chacha20_16_avx512(unsigned char *out, const unsigned char *in,
                                                               const uint32_t state[16], const uint32_t *word12,
                                                               const uint32_t *word14) {
    const __m512i v12 = _mm512_loadu_si512(word12), v14 = _mm512_loadu_si512(word14);
    __m512i v[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) v[i] = _mm512_set1_epi32((int)state[i]);
    v[12] = v12;
    v[14] = v14;
    for (int i = 0; i < 10; i++) { DOUBLE_ROUND }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        v[i] = _mm512_add_epi32(v[i], i == 12 ? v12 : i == 14 ? v14 : _mm512_set1_epi32((int)state[i]));
    /* Afterwards v[4 * g + j] has the words 4 * g to 4 * g + 3 of the blocks j, j + 4, j + 8 and j + 12. */
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += 4) {
        __m512i a = _mm512_unpacklo_epi32(v[g], v[g + 1]), b = _mm512_unpackhi_epi32(v[g], v[g + 1]);
        __m512i c = _mm512_unpacklo_epi32(v[g + 2], v[g + 3]), d = _mm512_unpackhi_epi32(v[g + 2], v[g + 3]);
        v[g] = _mm512_unpacklo_epi64(a, c);
        v[g + 1] = _mm512_unpackhi_epi64(a, c);
        v[g + 2] = _mm512_unpacklo_epi64(b, d);
        v[g + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i low = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x44), high = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xee);
        __m512i low2 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x44),
                high2 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xee);
        put64(out, in, j, _mm512_shuffle_i32x4(low, low2, 0x88));
        put64(out, in, j + 4, _mm512_shuffle_i32x4(low, low2, 0xdd));
        put64(out, in, j + 8, _mm512_shuffle_i32x4(high, high2, 0x88));
        put64(out, in, j + 12, _mm512_shuffle_i32x4(high, high2, 0xdd));
    }
}
#endif
