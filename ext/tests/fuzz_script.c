/* Script templates out of any numbers: none is longer than LNF_SCRIPT_MAX, and each parses back as pushes and opcodes. */
#include "fuzz_source.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

/* The script's end is the end of an opcode, and no push is longer than what is left. */
static void check_script(const unsigned char *script, size_t len) {
    size_t at = 0;
    CHECK(len <= LNF_SCRIPT_MAX);
    while (at < len) at += script[at] >= 1 && script[at] <= 75 ? 1u + script[at] : 1u;
    CHECK(at == len);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    source from = {data, len};
    unsigned char points[99], hash32[32], fixed[71], program34[34], hash20[20];
    unsigned char *script = exact(LNF_SCRIPT_MAX);
    const int anchors = next(&from) & 1;
    const uint32_t number = (uint32_t)next_number(&from, 4);
    next_bytes(points, sizeof points, &from);
    next_bytes(hash32, sizeof hash32, &from);
    check_script(script, lnf_script_to_local(script, points, number, points + 33));
    check_script(script, lnf_script_offered_htlc(script, points, points + 33, points + 66, hash32, anchors));
    const size_t n = lnf_script_received_htlc(script, points, points + 33, points + 66, hash32, number, anchors);
    check_script(script, n);
    lnf_script_p2wsh(program34, script, n);
    lnf_sha256(hash32, script, n);
    CHECK(program34[0] == 0 && program34[1] == 32 && memcmp(program34 + 2, hash32, 32) == 0);
    lnf_script_funding(fixed, points, points + 33);
    check_script(fixed, 71);
    /* BOLT 3: the lesser key first, whoever it is of. */
    CHECK(memcmp(fixed + 2, fixed + 36, 33) <= 0);
    lnf_script_to_remote(fixed, points);
    check_script(fixed, 37);
    lnf_script_anchor(fixed, points);
    check_script(fixed, 40);
    lnf_script_p2wpkh(program34, points);
    lnf_hash160(hash20, points, 33);
    CHECK(program34[0] == 0 && program34[1] == 20 && memcmp(program34 + 2, hash20, 20) == 0);
    free(script);
    return 0;
}
