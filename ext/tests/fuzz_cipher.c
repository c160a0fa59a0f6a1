/* Every level of code gives the same hashes, streams and tags, and a changed tag is refused. */
#include "fuzz_source.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

typedef struct {
    unsigned char sha32[32], hmac32[32];
    unsigned char *stream, *sealed;
} results;

static void compute(results *out, const unsigned char *text, size_t len, const unsigned char *key32,
                    const unsigned char *nonce12, uint32_t counter, size_t cut) {
    lnf_sha256_ctx ctx;
    lnf_sha256_init(&ctx);
    lnf_sha256_update(&ctx, text, cut);
    if (cut != len) lnf_sha256_update(&ctx, text + cut, len - cut);
    lnf_sha256_final(out->sha32, &ctx);
    lnf_hmac_sha256(out->hmac32, text, cut, text, len);
    out->stream = exact(len);
    lnf_chacha20_xor(out->stream, text, len, key32, nonce12, counter);
    out->sealed = exact(len + 16);
    lnf_aead_encrypt(out->sealed, text, len, text, cut, key32, nonce12);
}

static void release(results *out) {
    free(out->stream);
    free(out->sealed);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    static const unsigned LEVELS[] = {LNF_CPU_SHA_NI, LNF_CPU_AVX2, LNF_CPU_AVX2 | LNF_CPU_AVX512};
    source from = {data, len};
    unsigned char key32[32], nonce12[12], sha32[32];
    results first, other;
    size_t text_len;
    next_bytes(key32, sizeof key32, &from);
    next_bytes(nonce12, sizeof nonce12, &from);
    const uint32_t counter = (uint32_t)next_number(&from, 1);
    const unsigned changed = (unsigned)next_number(&from, 2);
    size_t cut = (size_t)next_number(&from, 2);
    unsigned char *text = next_exact(&text_len, from.left, &from);
    cut = text_len == 0 ? 0 : cut % (text_len + 1);
    lnf_cpu_restrict(0);
    compute(&first, text, text_len, key32, nonce12, counter, cut);
    lnf_sha256(sha32, text, text_len);
    CHECK(memcmp(sha32, first.sha32, 32) == 0);
    for (size_t i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++) {
        if (lnf_cpu_restrict(LEVELS[i]) != LEVELS[i]) continue;
        compute(&other, text, text_len, key32, nonce12, counter, cut);
        CHECK(memcmp(first.sha32, other.sha32, 32) == 0 && memcmp(first.hmac32, other.hmac32, 32) == 0);
        CHECK(text_len == 0 || memcmp(first.stream, other.stream, text_len) == 0);
        CHECK(memcmp(first.sealed, other.sealed, text_len + 16) == 0);
        unsigned char *plain = exact(text_len);
        CHECK(lnf_aead_decrypt(plain, other.sealed, text_len, text, cut, key32, nonce12));
        CHECK(text_len == 0 || memcmp(plain, text, text_len) == 0);
        other.sealed[changed % (text_len + 16)] ^= (unsigned char)(1u << (changed >> 8) % 8);
        CHECK(!lnf_aead_decrypt(plain, other.sealed, text_len, text, cut, key32, nonce12));
        CHECK(text_len == 0 || is_zero(plain, text_len));
        free(plain);
        release(&other);
    }
    release(&first);
    free(text);
    lnf_cpu_restrict(~0u);
    return 0;
}
