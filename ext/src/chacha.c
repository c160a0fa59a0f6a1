/* ChaCha20 and its AEAD with Poly1305 (RFC 8439). */
#include "bytes.h"
#include "lnfast.h"
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

static void state_init(uint32_t state[16], const unsigned char *key32, const unsigned char *nonce12, uint32_t counter) {
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

static void xor_bytes(unsigned char *out, const unsigned char *in, const unsigned char *stream, size_t len) {
    for (size_t i = 0; i < len; i++) out[i] = in[i] ^ stream[i];
}

void lnf_chacha20_xor(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *key32, const unsigned char *nonce12,
                      uint32_t counter) {
    uint32_t state[16];
    unsigned char stream[64];
    state_init(state, key32, nonce12, counter);
    while (len != 0) {
        size_t take = len < 64 ? len : 64;
        block(stream, state);
        state[12]++;
        if (in != NULL) {
            xor_bytes(out, in, stream, take);
            in += take;
        } else {
            memcpy(out, stream, take);
        }
        out += take;
        len -= take;
    }
    lnf_wipe(stream, sizeof stream);
    lnf_wipe(state, sizeof state);
}

/* RFC 8439, 2.8: the tag over the associated data, the ciphertext and both lengths, under the first block's key. */
static void aead_tag(unsigned char *tag16, const unsigned char *cipher, size_t len, const unsigned char *ad, size_t ad_len,
                     const unsigned char *key32, const unsigned char *nonce12) {
    unsigned char one_time_key[32], lengths[16];
    lnf_poly1305 poly;
    lnf_chacha20_xor(one_time_key, NULL, sizeof one_time_key, key32, nonce12, 0);
    lnf_poly1305_init(&poly, one_time_key);
    lnf_poly1305_update_padded(&poly, ad, ad_len);
    lnf_poly1305_update_padded(&poly, cipher, len);
    lnf_store_le64(lengths, ad_len);
    lnf_store_le64(lengths + 8, len);
    lnf_poly1305_update_padded(&poly, lengths, sizeof lengths);
    lnf_poly1305_final(tag16, &poly);
    lnf_wipe(one_time_key, sizeof one_time_key);
}

void lnf_aead_encrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad, size_t ad_len,
                      const unsigned char *key32, const unsigned char *nonce12) {
    if (len != 0) lnf_chacha20_xor(out, in, len, key32, nonce12, 1);
    aead_tag(out + len, out, len, ad, ad_len, key32, nonce12);
}

int lnf_aead_decrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad, size_t ad_len,
                     const unsigned char *key32, const unsigned char *nonce12) {
    unsigned char tag[16], differs = 0;
    aead_tag(tag, in, len, ad, ad_len, key32, nonce12);
    for (int i = 0; i < 16; i++) differs |= tag[i] ^ in[len + i];
    lnf_wipe(tag, sizeof tag);
    if (differs != 0) {
        if (len != 0) memset(out, 0, len);
        return 0;
    }
    if (len != 0) lnf_chacha20_xor(out, in, len, key32, nonce12, 1);
    return 1;
}
