#include "script.h"

#include <assert.h>
#include <string.h>

enum {
    OP_0 = 0x00,
    OP_1 = 0x51,
    OP_2 = 0x52,
    OP_16 = 0x60,
    OP_IF = 0x63,
    OP_NOTIF = 0x64,
    OP_ELSE = 0x67,
    OP_ENDIF = 0x68,
    OP_IFDUP = 0x73,
    OP_DROP = 0x75,
    OP_DUP = 0x76,
    OP_SWAP = 0x7c,
    OP_SIZE = 0x82,
    OP_EQUAL = 0x87,
    OP_EQUALVERIFY = 0x88,
    OP_HASH160 = 0xa9,
    OP_CHECKSIG = 0xac,
    OP_CHECKSIGVERIFY = 0xad,
    OP_CHECKMULTISIG = 0xae,
    OP_CHECKLOCKTIMEVERIFY = 0xb1,
    OP_CHECKSEQUENCEVERIFY = 0xb2
};

static unsigned char *put(unsigned char *p, const void *bytes, size_t len) {
    memcpy(p, bytes, len);
    return p + len;
}

static unsigned char *push(unsigned char *p, const void *bytes, size_t len) {
    *p++ = (unsigned char)len;
    return put(p, bytes, len);
}

/* The shortest push of a number: what MINIMALDATA asks of a script number. */
static unsigned char *push_number(unsigned char *p, uint32_t number) {
    unsigned char bytes[5];
    size_t len = 0;
    if (number == 0) {
        *p++ = OP_0;
        return p;
    }
    if (number <= 16) {
        *p++ = (unsigned char)(OP_1 + number - 1);
        return p;
    }
    for (; number != 0; number >>= 8) bytes[len++] = (unsigned char)number;
    if (bytes[len - 1] & 0x80) bytes[len++] = 0; /* the top bit is the sign */
    return push(p, bytes, len);
}

void lnf_script_funding(unsigned char *out71, const unsigned char *funding_a33, const unsigned char *funding_b33) {
    const int in_order = memcmp(funding_a33, funding_b33, 33) <= 0;
    unsigned char *p = out71;
    *p++ = OP_2;
    p = push(p, in_order ? funding_a33 : funding_b33, 33);
    p = push(p, in_order ? funding_b33 : funding_a33, 33);
    *p++ = OP_2;
    *p = OP_CHECKMULTISIG;
}

size_t lnf_script_to_local(unsigned char *out, const unsigned char *revocation33, uint32_t to_self_delay,
                           const unsigned char *delayed33) {
    unsigned char *p = out;
    *p++ = OP_IF;
    p = push(p, revocation33, 33);
    *p++ = OP_ELSE;
    p = push_number(p, to_self_delay);
    *p++ = OP_CHECKSEQUENCEVERIFY;
    *p++ = OP_DROP;
    p = push(p, delayed33, 33);
    *p++ = OP_ENDIF;
    *p++ = OP_CHECKSIG;
    return (size_t)(p - out);
}

void lnf_script_to_remote(unsigned char *out37, const unsigned char *payment33) {
    unsigned char *p = push(out37, payment33, 33);
    *p++ = OP_CHECKSIGVERIFY;
    *p++ = OP_1;
    *p = OP_CHECKSEQUENCEVERIFY;
}

void lnf_script_anchor(unsigned char *out40, const unsigned char *funding33) {
    static const unsigned char TAIL[6] = {OP_CHECKSIG, OP_IFDUP, OP_NOTIF, OP_16, OP_CHECKSEQUENCEVERIFY, OP_ENDIF};
    put(push(out40, funding33, 33), TAIL, sizeof TAIL);
}

/* Where RIPEMD160(payment_hash) stands in an offered and in a received HTLC script, and where a received one's expiry. */
#define OFFERED_HASH 109
#define RECEIVED_HASH 69
#define RECEIVED_CLTV 130

void lnf_htlc_scripts_init(lnf_htlc_scripts *scripts, const unsigned char *revocation33,
                           const unsigned char *broadcaster_htlc33, const unsigned char *countersignatory_htlc33,
                           int anchors) {
    static const unsigned char SIZE_32_EQUAL[5] = {OP_SWAP, OP_SIZE, 1, 32, OP_EQUAL};
    unsigned char hash20[20], *p;

    memset(scripts, 0, sizeof *scripts);
    scripts->anchors = anchors != 0;
    lnf_hash160(hash20, revocation33, 33);

    p = scripts->offered;
    *p++ = OP_DUP;
    *p++ = OP_HASH160;
    p = push(p, hash20, 20);
    *p++ = OP_EQUAL;
    *p++ = OP_IF;
    *p++ = OP_CHECKSIG;
    *p++ = OP_ELSE;
    p = push(p, countersignatory_htlc33, 33);
    p = put(p, SIZE_32_EQUAL, sizeof SIZE_32_EQUAL);
    memcpy(scripts->received, scripts->offered, (size_t)(p - scripts->offered));

    *p++ = OP_NOTIF;
    *p++ = OP_DROP;
    *p++ = OP_2;
    *p++ = OP_SWAP;
    p = push(p, broadcaster_htlc33, 33);
    *p++ = OP_2;
    *p++ = OP_CHECKMULTISIG;
    *p++ = OP_ELSE;
    *p++ = OP_HASH160;
    *p++ = 20;
    assert(p - scripts->offered == OFFERED_HASH);

    p = scripts->received + (61 + sizeof SIZE_32_EQUAL);
    *p++ = OP_IF;
    *p++ = OP_HASH160;
    *p++ = 20;
    assert(p - scripts->received == RECEIVED_HASH);
    p += 20;
    *p++ = OP_EQUALVERIFY;
    *p++ = OP_2;
    *p++ = OP_SWAP;
    p = push(p, broadcaster_htlc33, 33);
    *p++ = OP_2;
    *p++ = OP_CHECKMULTISIG;
    *p++ = OP_ELSE;
    *p++ = OP_DROP;
    assert(p - scripts->received == RECEIVED_CLTV);

    lnf_sha256_init(&scripts->midstate);
    lnf_sha256_update(&scripts->midstate, scripts->offered, 64);
}

size_t lnf_htlc_script(unsigned char *script, const lnf_htlc_scripts *scripts, int offered,
                       const unsigned char *payment_hash160, uint32_t cltv_expiry) {
    unsigned char *p;
    if (offered) {
        memcpy(script, scripts->offered, OFFERED_HASH);
        p = put(script + OFFERED_HASH, payment_hash160, 20);
        *p++ = OP_EQUALVERIFY;
    } else {
        memcpy(script, scripts->received, RECEIVED_CLTV);
        memcpy(script + RECEIVED_HASH, payment_hash160, 20);
        p = push_number(script + RECEIVED_CLTV, cltv_expiry);
        *p++ = OP_CHECKLOCKTIMEVERIFY;
        *p++ = OP_DROP;
    }
    *p++ = OP_CHECKSIG;
    *p++ = OP_ENDIF;
    if (scripts->anchors) {
        *p++ = OP_1;
        *p++ = OP_CHECKSEQUENCEVERIFY;
        *p++ = OP_DROP;
    }
    *p++ = OP_ENDIF;
    return (size_t)(p - script);
}

void lnf_htlc_program(unsigned char *program34, const lnf_htlc_scripts *scripts, const unsigned char *script,
                      size_t len) {
    lnf_sha256_ctx ctx = scripts->midstate;
    lnf_sha256_update(&ctx, script + 64, len - 64);
    program34[0] = OP_0;
    program34[1] = 32;
    lnf_sha256_final(program34 + 2, &ctx);
}

size_t lnf_script_offered_htlc(unsigned char *out, const unsigned char *revocation33,
                               const unsigned char *broadcaster_htlc33, const unsigned char *countersignatory_htlc33,
                               const unsigned char *payment_hash32, int anchors) {
    lnf_htlc_scripts scripts;
    unsigned char hash20[20];
    lnf_htlc_scripts_init(&scripts, revocation33, broadcaster_htlc33, countersignatory_htlc33, anchors);
    lnf_ripemd160(hash20, payment_hash32, 32);
    return lnf_htlc_script(out, &scripts, 1, hash20, 0);
}

size_t lnf_script_received_htlc(unsigned char *out, const unsigned char *revocation33,
                                const unsigned char *broadcaster_htlc33, const unsigned char *countersignatory_htlc33,
                                const unsigned char *payment_hash32, uint32_t cltv_expiry, int anchors) {
    lnf_htlc_scripts scripts;
    unsigned char hash20[20];
    lnf_htlc_scripts_init(&scripts, revocation33, broadcaster_htlc33, countersignatory_htlc33, anchors);
    lnf_ripemd160(hash20, payment_hash32, 32);
    return lnf_htlc_script(out, &scripts, 0, hash20, cltv_expiry);
}

void lnf_script_p2wsh(unsigned char *out34, const unsigned char *script, size_t len) {
    out34[0] = OP_0;
    out34[1] = 32;
    lnf_sha256(out34 + 2, script, len);
}

void lnf_script_p2wpkh(unsigned char *out22, const unsigned char *point33) {
    out22[0] = OP_0;
    out22[1] = 20;
    lnf_hash160(out22 + 2, point33, 33);
}
