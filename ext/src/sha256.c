/* SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869). */
#include "sha256.h"

#include "bytes.h"
#include "secp.h"

const uint32_t lnf_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static const uint32_t INITIAL[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static inline uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress_portable(uint32_t state[8], const unsigned char *data, size_t blocks) {
    uint32_t w[64];
    for (; blocks != 0; blocks--, data += 64) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6],
                 h = state[7];
        for (int i = 0; i < 16; i++) w[i] = lnf_load_be32(data + 4 * i);
        for (int i = 16; i < 64; i++) {
            uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        for (int i = 0; i < 64; i++) {
            uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + lnf_sha256_k[i] + w[i];
            uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + t2;
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
    lnf_wipe(w, sizeof w);
}

static inline void compress(uint32_t state[8], const unsigned char *data, size_t blocks) {
#ifdef LNF_X86
    if (lnf_cpu_has(LNF_CPU_SHA_NI)) {
        lnf_sha256_compress_ni(state, data, blocks);
        return;
    }
#endif
    compress_portable(state, data, blocks);
}

void lnf_sha256_init(lnf_sha256_ctx *ctx) {
    memcpy(ctx->state, INITIAL, sizeof INITIAL);
    ctx->bytes = 0;
}

void lnf_sha256_update(lnf_sha256_ctx *ctx, const unsigned char *data, size_t len) {
    size_t have = ctx->bytes % 64;
    ctx->bytes += len;
    if (have != 0) {
        size_t take = 64 - have < len ? 64 - have : len;
        lnf_copy(ctx->buffer + have, data, take);
        if (have + take < 64) return;
        compress(ctx->state, ctx->buffer, 1);
        data += take;
        len -= take;
    }
    if (len >= 64) {
        compress(ctx->state, data, len / 64);
        data += len / 64 * 64;
        len %= 64;
    }
    lnf_copy(ctx->buffer, data, len);
}

void lnf_sha256_final(unsigned char *out32, lnf_sha256_ctx *ctx) {
    size_t have = ctx->bytes % 64;
    ctx->buffer[have++] = 0x80;
    if (have > 56) {
        memset(ctx->buffer + have, 0, 64 - have);
        compress(ctx->state, ctx->buffer, 1);
        have = 0;
    }
    memset(ctx->buffer + have, 0, 56 - have);
    lnf_store_be64(ctx->buffer + 56, ctx->bytes * 8);
    compress(ctx->state, ctx->buffer, 1);
    for (int i = 0; i < 8; i++) lnf_store_be32(out32 + 4 * i, ctx->state[i]);
    lnf_wipe(ctx, sizeof *ctx);
}

void lnf_sha256(unsigned char *out32, const unsigned char *data, size_t len) {
    lnf_sha256_ctx ctx;
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, data, len);
    lnf_sha256_final(out32, &ctx);
}

void lnf_sha256d(unsigned char *out32, const unsigned char *data, size_t len) {
    lnf_sha256(out32, data, len);
    lnf_sha256(out32, out32, 32);
}

/* The two states after the padded key: what an HMAC under one key can start from any number of times. */
typedef struct {
    lnf_sha256_ctx inner, outer;
} hmac_key;

static void hmac_key_init(hmac_key *hmac, const unsigned char *key, size_t key_len) {
    unsigned char pad[64] = {0};
    if (key_len > 64) {
        lnf_sha256(pad, key, key_len);
    } else {
        lnf_copy(pad, key, key_len);
    }
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36;
    lnf_sha256_init(&hmac->inner);
    lnf_sha256_update(&hmac->inner, pad, 64);
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36 ^ 0x5c;
    lnf_sha256_init(&hmac->outer);
    lnf_sha256_update(&hmac->outer, pad, 64);
    lnf_wipe(pad, sizeof pad);
}

static void hmac_finish(unsigned char *out32, lnf_sha256_ctx *inner, const hmac_key *hmac) {
    lnf_sha256_ctx outer = hmac->outer;
    unsigned char digest[32];
    lnf_sha256_final(digest, inner);
    lnf_sha256_update(&outer, digest, 32);
    lnf_sha256_final(out32, &outer);
    lnf_wipe(digest, sizeof digest);
}

void lnf_hmac_sha256(unsigned char *out32, const unsigned char *key, size_t key_len, const unsigned char *data,
                     size_t len) {
    hmac_key hmac;
    hmac_key_init(&hmac, key, key_len);
    lnf_sha256_ctx inner = hmac.inner;
    lnf_sha256_update(&inner, data, len);
    hmac_finish(out32, &inner, &hmac);
    lnf_wipe(&hmac, sizeof hmac);
}

void lnf_hkdf_sha256(unsigned char *out64, const unsigned char *salt, size_t salt_len, const unsigned char *ikm,
                     size_t ikm_len) {
    static const unsigned char ONE = 1, TWO = 2;
    unsigned char prk[32];
    hmac_key hmac;
    lnf_hmac_sha256(prk, salt, salt_len, ikm, ikm_len);
    hmac_key_init(&hmac, prk, 32);
    /* RFC 5869, 2.3: T(1) = HMAC(PRK, info | 1), T(2) = HMAC(PRK, T(1) | info | 2). */
    lnf_sha256_ctx inner = hmac.inner;
    lnf_sha256_update(&inner, &ONE, 1);
    hmac_finish(out64, &inner, &hmac);
    inner = hmac.inner;
    lnf_sha256_update(&inner, out64, 32);
    lnf_sha256_update(&inner, &TWO, 1);
    hmac_finish(out64 + 32, &inner, &hmac);
    lnf_wipe(&hmac, sizeof hmac);
    lnf_wipe(prk, sizeof prk);
}
