/* ChaCha20 and its AEAD with Poly1305 (RFC 8439). */
#include "chacha.h"

#include "bytes.h"
#include "ct.h"
#include "poly1305.h"
#include "secp.h"

static inline uint32_t rotl(uint32_t x, int n) { return x << n | x >> (32 - n); }

#define QUARTER_ROUND(a, b, c, d) \
    do {                          \
        a += b;                   \
        d = rotl(d ^ a, 16);      \
        c += d;                   \
        b = rotl(b ^ c, 12);      \
        a += b;                   \
        d = rotl(d ^ a, 8);       \
        c += d;                   \
        b = rotl(b ^ c, 7);       \
    } while (0)

void lnf_chacha20_state(uint32_t state[16], const unsigned char *key32, const unsigned char *nonce12,
                        uint32_t counter) {
    state[0] = 0x61707865;
    state[1] = 0x3320646e;
    state[2] = 0x79622d32;
    state[3] = 0x6b206574;
    for (int i = 0; i < 8; i++) state[4 + i] = lnf_load_le32(key32 + 4 * i);
    state[12] = counter;
    for (int i = 0; i < 3; i++) state[13 + i] = lnf_load_le32(nonce12 + 4 * i);
}

static void block(unsigned char *out64, const uint32_t state[16]) {
    uint32_t x[16];
    memcpy(x, state, sizeof x);
    for (int i = 0; i < 10; i++) {
        QUARTER_ROUND(x[0], x[4], x[8], x[12]);
        QUARTER_ROUND(x[1], x[5], x[9], x[13]);
        QUARTER_ROUND(x[2], x[6], x[10], x[14]);
        QUARTER_ROUND(x[3], x[7], x[11], x[15]);
        QUARTER_ROUND(x[0], x[5], x[10], x[15]);
        QUARTER_ROUND(x[1], x[6], x[11], x[12]);
        QUARTER_ROUND(x[2], x[7], x[8], x[13]);
        QUARTER_ROUND(x[3], x[4], x[9], x[14]);
    }
    for (int i = 0; i < 16; i++) lnf_store_le32(out64 + 4 * i, x[i] + state[i]);
    lnf_wipe(x, sizeof x);
}

static inline void xor_bytes(unsigned char *out, const unsigned char *in, const unsigned char *stream, size_t len) {
    for (size_t i = 0; i < len; i++) out[i] = in[i] ^ stream[i];
}

void lnf_chacha20_batch(unsigned char *out, const lnf_chacha_batch *batch, size_t n) {
    size_t i = 0;
#ifdef LNF_X86
    /* One lane costs about as much alone as in a vector: a vector pays from the second block on. */
    while (lnf_cpu_has(LNF_CPU_AVX512) && i + 8 < n) {
        lnf_chacha20_16_avx512(out + 64 * i, NULL, batch->state, batch->word12 + i, batch->word14 + i);
        i += 16;
    }
    while (lnf_cpu_has(LNF_CPU_AVX2) && i + 1 < n) {
        lnf_chacha20_8_avx2(out + 64 * i, NULL, batch->state, batch->word12 + i, batch->word14 + i);
        i += 8;
    }
#endif
    for (; i < n; i++) {
        uint32_t state[16];
        memcpy(state, batch->state, sizeof state);
        state[12] = batch->word12[i];
        state[14] = batch->word14[i];
        block(out + 64 * i, state);
        lnf_wipe(state, sizeof state);
    }
}

#ifdef LNF_X86
/* Whole vectors of consecutive blocks. Returns the bytes done, and counts state's counter up. */
static size_t xor_vectors(unsigned char *out, const unsigned char *in, size_t len, uint32_t state[16]) {
    uint32_t word12[16], word14[16];
    size_t done = 0, lanes = lnf_cpu_has(LNF_CPU_AVX512) ? 16 : 8;
    if (!lnf_cpu_has(LNF_CPU_AVX2)) return 0;
    for (size_t i = 0; i < 16; i++) word14[i] = state[14];
    for (; lanes >= 8; lanes /= 2) {
        for (; len - done >= 64 * lanes; done += 64 * lanes) {
            for (size_t i = 0; i < lanes; i++) word12[i] = state[12] + (uint32_t)i;
            if (lanes == 16) {
                lnf_chacha20_16_avx512(out + done, in != NULL ? in + done : NULL, state, word12, word14);
            } else {
                lnf_chacha20_8_avx2(out + done, in != NULL ? in + done : NULL, state, word12, word14);
            }
            state[12] += (uint32_t)lanes;
        }
    }
    return done;
}
#endif

/* From state's block on, up to 8 blocks: they are made first. */
static void xor_rest(unsigned char *out, const unsigned char *in, size_t len, const uint32_t state[16]) {
    unsigned char stream[512];
    lnf_chacha_batch batch;
    memcpy(batch.state, state, sizeof batch.state);
    for (size_t i = 0; i < 8; i++) {
        batch.word12[i] = state[12] + (uint32_t)i;
        batch.word14[i] = state[14];
    }
    lnf_chacha20_batch(stream, &batch, (len + 63) / 64);
    if (in != NULL) {
        xor_bytes(out, in, stream, len);
    } else {
        memcpy(out, stream, len);
    }
    lnf_wipe(stream, sizeof stream);
    lnf_wipe(batch.state, sizeof batch.state);
}

static void xor_stream(unsigned char *out, const unsigned char *in, size_t len, uint32_t state[16]) {
    size_t done = 0;
#ifdef LNF_X86
    done = xor_vectors(out, in, len, state);
#endif
    while (done < len) {
        size_t take = len - done < 512 ? len - done : 512;
        xor_rest(out + done, in != NULL ? in + done : NULL, take, state);
        state[12] += 8;
        done += take;
    }
}

void lnf_chacha20_xor(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *key32,
                      const unsigned char *nonce12, uint32_t counter) {
    uint32_t state[16];
    lnf_chacha20_state(state, key32, nonce12, counter);
    xor_stream(out, in, len, state);
    lnf_wipe(state, sizeof state);
}

/* ---- AEAD ------------------------------------------------------------------------------------------------------- */

/* RFC 8439, 2.8: the tag over the associated data, the ciphertext and both lengths, under the first block's key. */
static void make_tag(unsigned char *tag16, const unsigned char *cipher, size_t len, const unsigned char *ad,
                     size_t ad_len, const unsigned char *one_time_key32) {
    unsigned char lengths[16];
    lnf_poly1305 poly;
    lnf_poly1305_init(&poly, one_time_key32);
    lnf_poly1305_update_padded(&poly, ad, ad_len);
    lnf_poly1305_update_padded(&poly, cipher, len);
    lnf_store_le64(lengths, ad_len);
    lnf_store_le64(lengths + 8, len);
    lnf_poly1305_update_padded(&poly, lengths, sizeof lengths);
    lnf_poly1305_final(tag16, &poly);
}

static int tag_matches(const unsigned char *tag16, const unsigned char *cipher, size_t len, const unsigned char *ad,
                       size_t ad_len, const unsigned char *one_time_key32) {
    unsigned char tag[16], differs = 0;
    make_tag(tag, cipher, len, ad, ad_len, one_time_key32);
    for (int i = 0; i < 16; i++) differs |= tag[i] ^ tag16[i];
    lnf_wipe(tag, sizeof tag);
    int ok = differs == 0;
    lnf_declassify(&ok, sizeof ok);
    return ok;
}

/* in XOR the stream that is there, then XOR what follows it. */
static void xor_message(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *stream,
                        size_t have, const uint32_t state[16]) {
    size_t first = len < have - 64 ? len : have - 64;
    xor_bytes(out, in, stream + 64, first);
    if (first < len) {
        uint32_t next[16];
        memcpy(next, state, sizeof next);
        next[12] = (uint32_t)(have / 64);
        xor_stream(out + first, in + first, len - first, next);
        lnf_wipe(next, sizeof next);
    }
}

void lnf_aead_seal(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *stream, size_t have,
                   const uint32_t state[16]) {
    xor_message(out, in, len, stream, have, state);
    make_tag(out + len, out, len, NULL, 0, stream);
}

int lnf_aead_open(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *stream, size_t have,
                  const uint32_t state[16]) {
    if (!tag_matches(in + len, in, len, NULL, 0, stream)) {
        if (len != 0) memset(out, 0, len);
        return 0;
    }
    xor_message(out, in, len, stream, have, state);
    return 1;
}

/* The first blocks of an AEAD: the one-time key's, then what a message of this length needs, up to 8 in all. */
static size_t first_blocks(unsigned char *stream512, uint32_t state[16], size_t len, const unsigned char *key32,
                           const unsigned char *nonce12) {
    size_t have = len < 7 * 64 ? 64 + (len + 63) / 64 * 64 : 512;
    lnf_chacha20_state(state, key32, nonce12, 0);
    xor_rest(stream512, NULL, have, state);
    return have;
}

void lnf_aead_encrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad, size_t ad_len,
                      const unsigned char *key32, const unsigned char *nonce12) {
    unsigned char stream[512];
    uint32_t state[16];
    size_t have = first_blocks(stream, state, len, key32, nonce12);
    xor_message(out, in, len, stream, have, state);
    make_tag(out + len, out, len, ad, ad_len, stream);
    lnf_wipe(stream, have);
    lnf_wipe(state, sizeof state);
}

int lnf_aead_decrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad, size_t ad_len,
                     const unsigned char *key32, const unsigned char *nonce12) {
    unsigned char stream[512];
    uint32_t state[16];
    size_t have = first_blocks(stream, state, len, key32, nonce12);
    int ok = tag_matches(in + len, in, len, ad, ad_len, stream);
    if (ok) {
        xor_message(out, in, len, stream, have, state);
    } else if (len != 0) {
        memset(out, 0, len);
    }
    lnf_wipe(stream, have);
    lnf_wipe(state, sizeof state);
    return ok;
}
