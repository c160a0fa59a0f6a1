#include "check.h"

static const char ABC[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char EMPTY[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void known_answers(void) {
    unsigned char out[64];
    lnf_sha256(out, NULL, 0);
    CHECK(is_hex(out, EMPTY));
    lnf_sha256(out, (const unsigned char *)"abc", 3);
    CHECK(is_hex(out, ABC));
    /* RFC 4231, 4.3. */
    lnf_hmac_sha256(out, (const unsigned char *)"Jefe", 4, (const unsigned char *)"what do ya want for nothing?", 28);
    CHECK(is_hex(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    /* RFC 5869, A.3. */
    unsigned char ikm[22];
    memset(ikm, 0x0b, sizeof ikm);
    lnf_hkdf_sha256(out, NULL, 0, ikm, sizeof ikm);
    CHECK(is_hex(out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"));
}

static void pieces_are_the_whole(void) {
    unsigned char data[300], whole[32], pieces[32];
    fill(data, sizeof data, 1);
    for (size_t len = 0; len <= sizeof data; len++) {
        unsigned char *copy = exact_copy(data, len);
        lnf_sha256(whole, copy, len);
        for (size_t step = 1; step < 130; step += 9) {
            lnf_sha256_ctx ctx;
            lnf_sha256_init(&ctx);
            for (size_t at = 0; at < len; at += step)
                lnf_sha256_update(&ctx, copy + at, len - at < step ? len - at : step);
            lnf_sha256_final(pieces, &ctx);
            CHECK(memcmp(whole, pieces, 32) == 0);
            CHECK(is_zero((const unsigned char *)&ctx, sizeof ctx));
        }
        free(copy);
    }
}

static void outputs_may_be_inputs(void) {
    unsigned char a[32], b[32];
    fill(a, 32, 2);
    memcpy(b, a, 32);
    lnf_sha256(a, a, 32);
    lnf_sha256(a, a, 32);
    lnf_sha256d(b, b, 32);
    CHECK(memcmp(a, b, 32) == 0);
}

static void test(void) {
    known_answers();
    pieces_are_the_whole();
    outputs_may_be_inputs();
}

int main(void) {
    on_every_level(test);
    return 0;
}
