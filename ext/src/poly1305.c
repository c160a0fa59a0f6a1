#include "poly1305.h"

#include "bytes.h"
#include "secp.h"

__extension__ typedef unsigned __int128 u128;

#define MASK44 0xfffffffffffull
#define MASK42 0x3ffffffffffull

void lnf_poly1305_init(lnf_poly1305 *poly, const unsigned char *key32) {
    uint64_t low = lnf_load_le64(key32), high = lnf_load_le64(key32 + 8);
    /* RFC 8439, 2.5: 22 bits of r are clear. */
    low &= 0x0ffffffc0fffffffull;
    high &= 0x0ffffffc0ffffffcull;
    poly->r[0] = low & MASK44;
    poly->r[1] = (low >> 44 | high << 20) & MASK44;
    poly->r[2] = high >> 24;
    poly->h[0] = poly->h[1] = poly->h[2] = 0;
    poly->s[0] = lnf_load_le64(key32 + 16);
    poly->s[1] = lnf_load_le64(key32 + 24);
}

static void blocks(lnf_poly1305 *poly, const unsigned char *data, size_t len) {
    const uint64_t r0 = poly->r[0], r1 = poly->r[1], r2 = poly->r[2];
    /* 2^132 = 4 * 2^130, and 2^130 = 5 mod p. */
    const uint64_t r1_20 = r1 * 20, r2_20 = r2 * 20;
    uint64_t h0 = poly->h[0], h1 = poly->h[1], h2 = poly->h[2];
    for (; len >= 16; data += 16, len -= 16) {
        uint64_t low = lnf_load_le64(data), high = lnf_load_le64(data + 8), carry;
        u128 d0, d1, d2;
        h0 += low & MASK44;
        h1 += (low >> 44 | high << 20) & MASK44;
        h2 += high >> 24 | 1ull << 40;
        d0 = (u128)h0 * r0 + (u128)h1 * r2_20 + (u128)h2 * r1_20;
        d1 = (u128)h0 * r1 + (u128)h1 * r0 + (u128)h2 * r2_20;
        d2 = (u128)h0 * r2 + (u128)h1 * r1 + (u128)h2 * r0;
        carry = (uint64_t)(d0 >> 44);
        h0 = (uint64_t)d0 & MASK44;
        d1 += carry;
        carry = (uint64_t)(d1 >> 44);
        h1 = (uint64_t)d1 & MASK44;
        d2 += carry;
        carry = (uint64_t)(d2 >> 42);
        h2 = (uint64_t)d2 & MASK42;
        h0 += carry * 5;
        h1 += h0 >> 44;
        h0 &= MASK44;
    }
    poly->h[0] = h0;
    poly->h[1] = h1;
    poly->h[2] = h2;
}

#ifdef LNF_X86
/* Below these the powers of r cost more than the vectors save. */
#define AVX2_BYTES 384
#define AVX512_BYTES 256

/* out = a * b, all of 44, 44 and 42 bits, or a bit more in the second. */
static void multiply(uint64_t out[3], const uint64_t a[3], const uint64_t b[3]) {
    u128 d0 = (u128)a[0] * b[0] + (u128)a[1] * (b[2] * 20) + (u128)a[2] * (b[1] * 20);
    u128 d1 = (u128)a[0] * b[1] + (u128)a[1] * b[0] + (u128)a[2] * (b[2] * 20);
    u128 d2 = (u128)a[0] * b[2] + (u128)a[1] * b[1] + (u128)a[2] * b[0];
    d1 += (uint64_t)(d0 >> 44);
    d2 += (uint64_t)(d1 >> 44);
    uint64_t low = ((uint64_t)d0 & MASK44) + (uint64_t)(d2 >> 42) * 5;
    out[0] = low & MASK44;
    out[1] = ((uint64_t)d1 & MASK44) + (low >> 44);
    out[2] = (uint64_t)d2 & MASK42;
}

/* The whole groups of data, on the widest vectors. Returns the bytes done. */
static size_t vector_blocks(lnf_poly1305 *poly, const unsigned char *data, size_t len) {
    uint64_t powers[8][3];
    size_t lanes = lnf_cpu_has(LNF_CPU_AVX512) ? 8 : 4, groups = len / (16 * lanes);
    if (!lnf_cpu_has(LNF_CPU_AVX2) || len < (lanes == 8 ? AVX512_BYTES : AVX2_BYTES)) return 0;
    memcpy(powers[0], poly->r, sizeof poly->r);
    for (size_t i = 1; i < lanes; i++) multiply(powers[i], powers[i - 1], poly->r);
    if (lanes == 8) {
        lnf_poly1305_blocks8_avx512(poly->h, (const uint64_t(*)[3])powers, data, groups);
    } else {
        lnf_poly1305_blocks4_avx2(poly->h, (const uint64_t(*)[3])powers, data, groups);
    }
    /* Back into the limbs' ranges. */
    poly->h[1] += poly->h[0] >> 44;
    poly->h[0] &= MASK44;
    poly->h[2] += poly->h[1] >> 44;
    poly->h[1] &= MASK44;
    poly->h[0] += (poly->h[2] >> 42) * 5;
    poly->h[2] &= MASK42;
    poly->h[1] += poly->h[0] >> 44;
    poly->h[0] &= MASK44;
    lnf_wipe(powers, sizeof powers);
    return 16 * lanes * groups;
}
#endif

void lnf_poly1305_update_padded(lnf_poly1305 *poly, const unsigned char *data, size_t len) {
#ifdef LNF_X86
    size_t done = vector_blocks(poly, data, len);
    len -= done;
    if (done != 0) data += done;
#endif
    size_t whole = len / 16 * 16;
    blocks(poly, data, whole);
    if (whole != len) {
        unsigned char last[16] = {0};
        memcpy(last, data + whole, len - whole);
        blocks(poly, last, 16);
        lnf_wipe(last, sizeof last);
    }
}

void lnf_poly1305_final(unsigned char *tag16, lnf_poly1305 *poly) {
    uint64_t h0 = poly->h[0], h1 = poly->h[1], h2 = poly->h[2], g0, g1, g2, carry, keep, low, high;
    /* Two passes of carries bring every limb into its range. */
    for (int i = 0; i < 2; i++) {
        carry = h0 >> 44;
        h0 &= MASK44;
        h1 += carry;
        carry = h1 >> 44;
        h1 &= MASK44;
        h2 += carry;
        carry = h2 >> 42;
        h2 &= MASK42;
        h0 += carry * 5;
    }
    h1 += h0 >> 44;
    h0 &= MASK44;
    /* g = h - p = h + 5 - 2^130: taken unless it is below zero. */
    g0 = h0 + 5;
    g1 = h1 + (g0 >> 44);
    g0 &= MASK44;
    g2 = h2 + (g1 >> 44) - (1ull << 42);
    g1 &= MASK44;
    keep = 0 - (g2 >> 63);
    h0 = (h0 & keep) | (g0 & ~keep);
    h1 = (h1 & keep) | (g1 & ~keep);
    h2 = (h2 & keep) | (g2 & ~keep);
    low = h0 | h1 << 44;
    high = h1 >> 20 | h2 << 24;
    u128 sum = (u128)low + poly->s[0];
    lnf_store_le64(tag16, (uint64_t)sum);
    lnf_store_le64(tag16 + 8, high + poly->s[1] + (uint64_t)(sum >> 64));
    lnf_wipe(poly, sizeof *poly);
}
