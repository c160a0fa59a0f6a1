#include "chacha.h"
#include "check.h"
#include "poly1305.h"

/* RFC 8439, A.3, the messages of whole blocks: key, message, tag. */
static const struct {
    const char *key, *message, *tag;
} POLY1305[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000",
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000000000000000000000000000000",
     "00000000000000000000000000000000"},
    {"0200000000000000000000000000000000000000000000000000000000000000", "ffffffffffffffffffffffffffffffff",
     "03000000000000000000000000000000"},
    {"02000000000000000000000000000000ffffffffffffffffffffffffffffffff", "02000000000000000000000000000000",
     "03000000000000000000000000000000"},
    {"0100000000000000000000000000000000000000000000000000000000000000",
     "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000",
     "05000000000000000000000000000000"},
    {"0100000000000000000000000000000000000000000000000000000000000000",
     "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101",
     "00000000000000000000000000000000"},
    {"0200000000000000000000000000000000000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
     "faffffffffffffffffffffffffffffff"},
    {"0100000000000000040000000000000000000000000000000000000000000000",
     "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000"
     "01000000000000000000000000000000",
     "14000000000000005500000000000000"},
    {"0100000000000000040000000000000000000000000000000000000000000000",
     "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
     "13000000000000000000000000000000"},
};

static void rfc_8439_poly1305(void) {
    for (size_t i = 0; i < sizeof POLY1305 / sizeof *POLY1305; i++) {
        unsigned char key32[32], message[1024], tag[16];
        lnf_poly1305 poly;
        from_hex(key32, POLY1305[i].key);
        size_t len = from_hex(message, POLY1305[i].message);
        unsigned char *copy = exact_copy(message, len);
        lnf_poly1305_init(&poly, key32);
        lnf_poly1305_update_padded(&poly, copy, len);
        lnf_poly1305_final(tag, &poly);
        CHECK(is_hex(tag, POLY1305[i].tag));
        CHECK(is_zero((const unsigned char *)&poly, sizeof poly));
        free(copy);
    }
}

static void poly1305(unsigned char *tag16, const unsigned char *key32, const unsigned char *data, size_t len) {
    lnf_poly1305 poly;
    lnf_poly1305_init(&poly, key32);
    /* Not the first input: the sum that comes in is as large as it gets. */
    lnf_poly1305_update_padded(&poly, data, 16);
    lnf_poly1305_update_padded(&poly, data, len);
    lnf_poly1305_final(tag16, &poly);
}

/* The carries of every level, at their largest and smallest, against the portable code. */
static void extremes(unsigned level) {
    static const unsigned char FILLS[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    unsigned char key32[32], expected[16], tag[16];
    for (size_t k = 0; k < sizeof FILLS; k++) {
        for (size_t f = 0; f < sizeof FILLS; f++) {
            for (size_t len = 240; len < 2600; len += 61) {
                unsigned char *data = exact(len);
                memset(key32, FILLS[k], 32);
                memset(data, FILLS[f], len);
                lnf_cpu_restrict(0);
                poly1305(expected, key32, data, len);
                lnf_cpu_restrict(level);
                poly1305(tag, key32, data, len);
                CHECK(memcmp(tag, expected, 16) == 0);
                free(data);
            }
        }
    }
}

/* RFC 8439, 2.8.2. */
static void rfc_8439_aead(void) {
    static const char PLAIN[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
                                "future, sunscreen would be it.";
    static const char CIPHER[] =
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
        "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691";
    unsigned char key32[32], nonce12[12], ad[12], out[130];
    for (int i = 0; i < 32; i++) key32[i] = (unsigned char)(0x80 + i);
    from_hex(nonce12, "070000004041424344454647");
    from_hex(ad, "50515253c0c1c2c3c4c5c6c7");
    lnf_aead_encrypt(out, (const unsigned char *)PLAIN, 114, ad, 12, key32, nonce12);
    CHECK(is_hex(out, CIPHER));
}

/* Every length on this level against the portable code, in memory of exactly the right size. */
static void every_length(unsigned level) {
    unsigned char data[1300], key32[32], nonce12[12], expected[1316];
    fill(data, sizeof data, 3);
    fill(key32, 32, 4);
    fill(nonce12, 12, 5);
    for (size_t len = 0; len <= sizeof data; len += len < 200 ? 1 : 13) {
        size_t ad_len = len % 37;
        lnf_cpu_restrict(0);
        lnf_aead_encrypt(expected, data, len, data, ad_len, key32, nonce12);
        lnf_cpu_restrict(level);
        unsigned char *in = exact_copy(data, len), *ad = exact_copy(data, ad_len), *out = exact(len + 16),
                      *back = exact(len);
        lnf_aead_encrypt(out, in, len, ad, ad_len, key32, nonce12);
        CHECK(memcmp(out, expected, len + 16) == 0);
        CHECK(lnf_aead_decrypt(back, out, len, ad, ad_len, key32, nonce12));
        CHECK(len == 0 || memcmp(back, data, len) == 0);
        out[len / 2] ^= 1;
        CHECK(!lnf_aead_decrypt(back, out, len, ad, ad_len, key32, nonce12));
        CHECK(is_zero(back, len));
        out[len / 2] ^= 1;
        CHECK(lnf_aead_decrypt(out, out, len, ad, ad_len, key32, nonce12));
        CHECK(len == 0 || memcmp(out, data, len) == 0);
        lnf_chacha20_xor(back, NULL, len, key32, nonce12, 1);
        for (size_t i = 0; i < len; i++) CHECK((back[i] ^ data[i]) == expected[i]);
        free(in);
        free(ad);
        free(out);
        free(back);
    }
}

/* Each block of a batch has its own counter and nonce. */
static void batches(void) {
    unsigned char stream[64 * LNF_CHACHA_BATCH], one[64], key32[32], nonce12[12] = {0};
    lnf_chacha_batch batch;
    fill(key32, 32, 6);
    lnf_chacha20_state(batch.state, key32, nonce12, 0);
    for (uint32_t i = 0; i < LNF_CHACHA_BATCH; i++) {
        batch.word12[i] = i % 5;
        batch.word14[i] = i * 3;
    }
    for (size_t n = 0; n <= LNF_CHACHA_BATCH; n++) {
        lnf_chacha20_batch(stream, &batch, n);
        for (size_t i = 0; i < n; i++) {
            nonce12[4] = (unsigned char)(i * 3);
            lnf_chacha20_xor(one, NULL, 64, key32, nonce12, (uint32_t)i % 5);
            CHECK(memcmp(stream + 64 * i, one, 64) == 0);
        }
    }
}

static void counter_wraps(void) {
    unsigned char stream[64 * 40], one[64], key32[32], nonce12[12];
    fill(key32, 32, 7);
    fill(nonce12, 12, 8);
    lnf_chacha20_xor(stream, NULL, sizeof stream, key32, nonce12, 0xfffffff0u);
    for (uint32_t i = 0; i < 40; i++) {
        lnf_chacha20_xor(one, NULL, 64, key32, nonce12, 0xfffffff0u + i);
        CHECK(memcmp(stream + 64 * i, one, 64) == 0);
    }
}

static void test(void) {
    unsigned level = lnf_cpu_used;
    rfc_8439_poly1305();
    rfc_8439_aead();
    batches();
    counter_wraps();
    extremes(level);
    every_length(level);
}

int main(void) {
    on_every_level(test);
    return 0;
}
