#include "fuzz_tx.c"

/* BOLT 3, Appendix B and G: one transaction without a witness, one with. */
static const char FUNDING[] = "0200000001adbb20ea41a8423ea937e76e8151636bf6093b70eaff942930d20576600521fd000000006b4830"
                              "4502210090587b6201e166ad6af0227d3036a945"
                              "4223d49a1f11839c1a362184340ef0240220577f7cd5cca78719405cbf1de7414ac027f0239ef6e214c90fca"
                              "ab0454d84b3b012103535b32d5eb0a6ed0982a04"
                              "79bbadc9868d9836f6ba94dd5a63be16d875069184ffffffff028096980000000000220020c015c4a6be010e"
                              "21657068fc2e6a9d02b27ebe4d490a25846f7237"
                              "f104d1a3cd20256d29010000001600143ca33c2e4446f4a305f23c80df8ad1afdcf652f900000000";
static const char FUNDING_TXID[] = "bef67e4e2fb9ddeeb3461973cd4c62abb35050b1add772995b820b584a488489";
static const char DUAL[] = "02000000000102b932b0669cd0394d0d5bcc27e01ab8c511f1662a6799925b346c0cf18fca03430200000000fdf"
                           "fffffb932b0669cd0394d0d5bcc27e01ab8c5"
                           "11f1662a6799925b346c0cf18fca03430000000000fdffffff03e5effa02000000001600141ca1cca8855bad6bc"
                           "1ea5436edd8cff10b7e448b1cf0fa02000000"
                           "0016001444cb0c39f93ecc372b5851725bd29d865d333b100084d71700000000220020297b92c238163e820b824"
                           "86084634b4846b86a3c658d87b9384192e6be"
                           "a98ec50247304402207de9ba56bb9f641372e805782575ee840a899e61021c8b1572b3ec1d5b5950e9022069e9b"
                           "a998915dae193d3c25cb89b5e64370e6a3a77"
                           "55e7f31cf6d7cbc2a49f6d0121034695f5b7864c580bf11f9f8cb1a94eb336f2ce9ef872d2ae1a90ee276c77248"
                           "4022068656c6c6f2074686572652c20746869"
                           "73206973206120626974636f6e2121212782012088a820add57dfe5277079d069ca4ad4893c96de91f88ffb981f"
                           "dc6a2a34d5336c66aff8778000000";
static const char DUAL_TXID[] = "576038e68972639329b08c73527c7d3a235d0412d7a5a49e069daac157e6a45c";

static void read_one(const char *hex, const char *txid) {
    unsigned char raw[1024], hash32[32];
    const size_t len = from_hex(raw, hex);
    const char *why;
    lnf_tx tx;
    unsigned char *copy = exact_copy(raw, len);
    CHECK(lnf_tx_parse(&tx, &why, copy, len) && why == NULL);
    lnf_tx_txid(hash32, &tx);
    CHECK(is_hex(hash32, txid));
    read_all(&tx);
    free(copy);

    for (size_t cut = 0; cut < len; cut++) {
        copy = exact_copy(raw, cut);
        CHECK(!lnf_tx_walk(&tx, &why, copy, cut) && why != NULL);
        CHECK(is_zero((const unsigned char *)&tx, sizeof tx));
        free(copy);
    }
    raw[len] = 0;
    CHECK(lnf_tx_walk(&tx, &why, raw, len + 1) && tx.len == len);
    CHECK(!lnf_tx_parse(&tx, &why, raw, len + 1));

    for (size_t at = 0; at < len; at++) {
        for (unsigned value = 0; value < 256; value++) {
            copy = exact_copy(raw, len);
            copy[at] = (unsigned char)value;
            if (lnf_tx_walk(&tx, &why, copy, len)) read_all(&tx);
            free(copy);
        }
    }
}

static void noise(void) {
    for (uint32_t seed = 0; seed < 20000; seed++) {
        const size_t len = seed % 97;
        unsigned char *raw = exact(len);
        const char *why;
        lnf_tx tx;
        if (len != 0) fill(raw, len, seed);
        for (size_t i = 4; i < len; i++) raw[i] &= seed & 1 ? 3 : 0xff;
        if (lnf_tx_walk(&tx, &why, raw, len)) read_all(&tx);
        free(raw);
    }
}

/* No script is longer than LNF_SCRIPT_MAX, whatever the numbers. */
static void scripts_fit(void) {
    static const uint32_t NUMBERS[] = {0,     1,     16,      17,      127,        128,         255,        256,
                                       32767, 32768, 8388607, 8388608, 2147483647, 2147483648u, 4294967295u};
    unsigned char points[165], hash32[32] = {7};
    fill(points, sizeof points, 3);
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        for (int anchors = 0; anchors < 2; anchors++) {
            unsigned char *script = exact(LNF_SCRIPT_MAX), program34[34];
            size_t len =
                lnf_script_received_htlc(script, points, points + 33, points + 66, hash32, NUMBERS[i], anchors);
            CHECK(len <= LNF_SCRIPT_MAX);
            lnf_script_p2wsh(program34, script, len);
            CHECK(lnf_script_offered_htlc(script, points, points + 33, points + 66, hash32, anchors) ==
                  (anchors ? 136u : 133u));
            CHECK(lnf_script_to_local(script, points, NUMBERS[i], points + 33) <= LNF_SCRIPT_MAX);
            free(script);
        }
    }
}

static void ripemd160_known_answers(void) {
    unsigned char out[20], data[200];
    lnf_ripemd160(out, NULL, 0);
    CHECK(is_hex(out, "9c1185a5c5e9fc54612808977ee8f548b2258d31"));
    lnf_ripemd160(out, (const unsigned char *)"abc", 3);
    CHECK(is_hex(out, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"));
    fill(data, sizeof data, 5);
    for (size_t len = 0; len <= sizeof data; len++) {
        unsigned char *copy = exact_copy(data, len);
        lnf_hash160(out, copy, len);
        free(copy);
    }
}

int main(void) {
    read_one(FUNDING, FUNDING_TXID);
    read_one(DUAL, DUAL_TXID);
    noise();
    scripts_fit();
    ripemd160_known_answers();
    return 0;
}
