/* RIPEMD-160 (Dobbertin, Bosselaers, Preneel 1996): Bitcoin's HASH160. Only public data is hashed with it. */
#include "bytes.h"
#include "lnfast.h"

#define ROL(x, n) ((x) << (n) | (x) >> (32 - (n)))

/* The five boolean functions, in the left line's order; the right line uses them backwards. */
#define F1(x, y, z) ((x) ^ (y) ^ (z))
#define F2(x, y, z) ((((y) ^ (z)) & (x)) ^ (z))
#define F3(x, y, z) (((x) | ~(y)) ^ (z))
#define F4(x, y, z) ((((x) ^ (y)) & (z)) ^ (y))
#define F5(x, y, z) ((x) ^ ((y) | ~(z)))

#define STEP(f, a, b, c, d, e, word, k, s)      \
    do {                                        \
        (a) += f((b), (c), (d)) + (word) + (k); \
        (a) = ROL((a), (s)) + (e);              \
        (c) = ROL((c), 10);                     \
    } while (0)

/* Five steps bring the registers back to their first places; sixteen make a round, so a round is written out with the
 * registers turned by one (16 mod 5) against the round before. */
#define ROUND(f, a, b, c, d, e, k, r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15, s0, s1, s2, \
              s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                                              \
    do {                                                                                                             \
        STEP(f, a, b, c, d, e, w[r0], k, s0);                                                                        \
        STEP(f, e, a, b, c, d, w[r1], k, s1);                                                                        \
        STEP(f, d, e, a, b, c, w[r2], k, s2);                                                                        \
        STEP(f, c, d, e, a, b, w[r3], k, s3);                                                                        \
        STEP(f, b, c, d, e, a, w[r4], k, s4);                                                                        \
        STEP(f, a, b, c, d, e, w[r5], k, s5);                                                                        \
        STEP(f, e, a, b, c, d, w[r6], k, s6);                                                                        \
        STEP(f, d, e, a, b, c, w[r7], k, s7);                                                                        \
        STEP(f, c, d, e, a, b, w[r8], k, s8);                                                                        \
        STEP(f, b, c, d, e, a, w[r9], k, s9);                                                                        \
        STEP(f, a, b, c, d, e, w[r10], k, s10);                                                                      \
        STEP(f, e, a, b, c, d, w[r11], k, s11);                                                                      \
        STEP(f, d, e, a, b, c, w[r12], k, s12);                                                                      \
        STEP(f, c, d, e, a, b, w[r13], k, s13);                                                                      \
        STEP(f, b, c, d, e, a, w[r14], k, s14);                                                                      \
        STEP(f, a, b, c, d, e, w[r15], k, s15);                                                                      \
    } while (0)

static void compress(uint32_t *state, const unsigned char *block64) {
    uint32_t w[16], a, b, c, d, e, aa, bb, cc, dd, ee, t;
    for (int i = 0; i < 16; i++) w[i] = lnf_load_le32(block64 + 4 * i);

    a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    ROUND(F1, a, b, c, d, e, 0u, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 11, 14, 15, 12, 5, 8, 7, 9, 11,
          13, 14, 15, 6, 7, 9, 8);
    ROUND(F2, e, a, b, c, d, 0x5a827999u, 7, 4, 13, 1, 10, 6, 15, 3, 12, 0, 9, 5, 2, 14, 11, 8, 7, 6, 8, 13, 11, 9, 7,
          15, 7, 12, 15, 9, 11, 7, 13, 12);
    ROUND(F3, d, e, a, b, c, 0x6ed9eba1u, 3, 10, 14, 4, 9, 15, 8, 1, 2, 7, 0, 6, 13, 11, 5, 12, 11, 13, 6, 7, 14, 9, 13,
          15, 14, 8, 13, 6, 5, 12, 7, 5);
    ROUND(F4, c, d, e, a, b, 0x8f1bbcdcu, 1, 9, 11, 10, 0, 8, 12, 4, 13, 3, 7, 15, 14, 5, 6, 2, 11, 12, 14, 15, 14, 15,
          9, 8, 9, 14, 5, 6, 8, 6, 5, 12);
    ROUND(F5, b, c, d, e, a, 0xa953fd4eu, 4, 0, 5, 9, 7, 12, 2, 10, 14, 1, 3, 8, 11, 6, 15, 13, 9, 15, 5, 11, 6, 8, 13,
          12, 5, 12, 13, 14, 11, 8, 5, 6);
    aa = a, bb = b, cc = c, dd = d, ee = e;

    a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    ROUND(F5, a, b, c, d, e, 0x50a28be6u, 5, 14, 7, 0, 9, 2, 11, 4, 13, 6, 15, 8, 1, 10, 3, 12, 8, 9, 9, 11, 13, 15, 15,
          5, 7, 7, 8, 11, 14, 14, 12, 6);
    ROUND(F4, e, a, b, c, d, 0x5c4dd124u, 6, 11, 3, 7, 0, 13, 5, 10, 14, 15, 8, 12, 4, 9, 1, 2, 9, 13, 15, 7, 12, 8, 9,
          11, 7, 7, 12, 7, 6, 15, 13, 11);
    ROUND(F3, d, e, a, b, c, 0x6d703ef3u, 15, 5, 1, 3, 7, 14, 6, 9, 11, 8, 12, 2, 10, 0, 4, 13, 9, 7, 15, 11, 8, 6, 6,
          14, 12, 13, 5, 14, 13, 13, 7, 5);
    ROUND(F2, c, d, e, a, b, 0x7a6d76e9u, 8, 6, 4, 1, 3, 11, 15, 0, 5, 12, 2, 13, 9, 7, 10, 14, 15, 5, 8, 11, 14, 14, 6,
          14, 6, 9, 12, 9, 12, 5, 15, 8);
    ROUND(F1, b, c, d, e, a, 0u, 12, 15, 10, 4, 1, 5, 8, 7, 6, 2, 13, 14, 0, 3, 9, 11, 8, 5, 12, 9, 12, 5, 14, 6, 8, 13,
          6, 5, 15, 13, 11, 11);

    t = state[1] + cc + d;
    state[1] = state[2] + dd + e;
    state[2] = state[3] + ee + a;
    state[3] = state[4] + aa + b;
    state[4] = state[0] + bb + c;
    state[0] = t;
}

void lnf_ripemd160(unsigned char *out20, const unsigned char *data, size_t len) {
    uint32_t state[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    unsigned char tail[128] = {0};
    const uint64_t bits = (uint64_t)len * 8;
    size_t rest = len % 64, tail_len = rest < 56 ? 64 : 128;

    for (size_t i = 0; i + 64 <= len; i += 64) compress(state, data + i);
    lnf_copy(tail, data + (len - rest), rest);
    tail[rest] = 0x80;
    lnf_store_le64(tail + tail_len - 8, bits);
    for (size_t i = 0; i < tail_len; i += 64) compress(state, tail + i);
    for (int i = 0; i < 5; i++) lnf_store_le32(out20 + 4 * i, state[i]);
}

void lnf_hash160(unsigned char *out20, const unsigned char *data, size_t len) {
    unsigned char digest32[32];
    lnf_sha256(digest32, data, len);
    lnf_ripemd160(out20, digest32, 32);
}
