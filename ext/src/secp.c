#include <string.h>

#include "secp.h"

#define CONTEXT_NONE 1u

lnf_secp256k1 lnf_secp;
void *lnf_secp_ctx;

static char first_error[160];

static void record_error(const char *message, void *data) {
    (void)data;
    if (first_error[0] == '\0' && message != NULL) { strncpy(first_error, message, sizeof first_error - 1); }
}

const char *lnf_secp_error(void) { return first_error[0] != '\0' ? first_error : NULL; }

/* The points 1*G, 2*G, 3*G of secp256k1 (SEC 2), the base of every known answer below. */
static const unsigned char G1[33] = {0x02, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0,
                                     0x62, 0x95, 0xce, 0x87, 0x0b, 0x07, 0x02, 0x9b, 0xfc, 0xdb, 0x2d,
                                     0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17, 0x98};
static const unsigned char G2[33] = {0x02, 0xc6, 0x04, 0x7f, 0x94, 0x41, 0xed, 0x7d, 0x6d, 0x30, 0x45,
                                     0x40, 0x6e, 0x95, 0xc0, 0x7c, 0xd8, 0x5c, 0x77, 0x8e, 0x4b, 0x8c,
                                     0xef, 0x3c, 0xa7, 0xab, 0xac, 0x09, 0xb9, 0x5c, 0x70, 0x9e, 0xe5};
static const unsigned char G3[33] = {0x02, 0xf9, 0x30, 0x8a, 0x01, 0x92, 0x58, 0xc3, 0x10, 0x49, 0x34,
                                     0x4f, 0x85, 0xf8, 0x9d, 0x52, 0x29, 0xb5, 0x31, 0xc8, 0x45, 0x83,
                                     0x6f, 0x99, 0xb0, 0x86, 0x01, 0xf1, 0x13, 0xbc, 0xe0, 0x36, 0xf9};
/* SHA-256 of the compressed 2*G. */
static const unsigned char SHA_G2[32] = {0xb1, 0xc9, 0x93, 0x8f, 0x01, 0x12, 0x1e, 0x15, 0x98, 0x87, 0xac,
                                         0x2c, 0x8d, 0x39, 0x3a, 0x22, 0xe4, 0x47, 0x6f, 0xf8, 0x21, 0x2d,
                                         0xe1, 0x3f, 0xe1, 0x93, 0x9d, 0xe2, 0xa2, 0x36, 0xf0, 0xa7};

static int point_is(const lnf_secp_pubkey *point, const unsigned char *expected33) {
    unsigned char got33[33];
    return lnf_point_serialize(got33, point) && memcmp(got33, expected33, 33) == 0;
}

/* Known answers with the scalars 1, 2 and 3. Returns the name of the first function that is wrong, or NULL. */
static const char *self_test(void) {
    const lnf_secp256k1 *f = &lnf_secp;
    void *ctx = lnf_secp_ctx;
    unsigned char one32[32] = {0}, two32[32] = {0}, three32[32] = {0}, message32[32], out[72], sig64[64],
                  recovered33[33], scalar32[32];
    lnf_secp_pubkey point, one, two, recovered;
    const lnf_secp_pubkey *pair[2];
    lnf_secp_signature sig, copy;
    lnf_secp_recoverable_signature recoverable;
    size_t len = sizeof out;
    int recid = -1;

    one32[31] = 1;
    two32[31] = 2;
    three32[31] = 3;
    memset(message32, 0x5a, sizeof message32);

    if (!f->ec_pubkey_create(ctx, &one, one32) || !point_is(&one, G1)) return "secp256k1_ec_pubkey_create";
    if (!f->ec_pubkey_parse(ctx, &two, G2, 33) || !point_is(&two, G2)) return "secp256k1_ec_pubkey_parse";
    if (!f->ec_seckey_verify(ctx, one32)) return "secp256k1_ec_seckey_verify";
    memset(scalar32, 0, 32);
    if (f->ec_seckey_verify(ctx, scalar32)) return "secp256k1_ec_seckey_verify";
    memcpy(scalar32, one32, 32);
    if (!f->ec_seckey_tweak_add(ctx, scalar32, two32) || memcmp(scalar32, three32, 32) != 0)
        return "secp256k1_ec_seckey_tweak_add";
    memcpy(scalar32, three32, 32);
    if (!f->ec_seckey_negate(ctx, scalar32) || memcmp(scalar32, three32, 32) == 0) return "secp256k1_ec_seckey_negate";
    if (!f->ec_seckey_tweak_add(ctx, scalar32, three32 /* -3 + 3 = 0 must be refused */)) {
        memcpy(scalar32, one32, 32);
    } else {
        return "secp256k1_ec_seckey_negate";
    }
    if (!f->ec_seckey_tweak_mul(ctx, scalar32, three32) || memcmp(scalar32, three32, 32) != 0)
        return "secp256k1_ec_seckey_tweak_mul";
    point = one;
    if (!f->ec_pubkey_tweak_add(ctx, &point, two32) || !point_is(&point, G3)) return "secp256k1_ec_pubkey_tweak_add";
    point = one;
    if (!f->ec_pubkey_tweak_mul(ctx, &point, three32) || !point_is(&point, G3)) return "secp256k1_ec_pubkey_tweak_mul";
    pair[0] = &one;
    pair[1] = &two;
    if (!f->ec_pubkey_combine(ctx, &point, pair, 2) || !point_is(&point, G3)) return "secp256k1_ec_pubkey_combine";
    if (!f->ec_pubkey_negate(ctx, &point) || point_is(&point, G3)) return "secp256k1_ec_pubkey_negate";
    if (!f->ec_pubkey_negate(ctx, &point) || !point_is(&point, G3)) return "secp256k1_ec_pubkey_negate";
    if (!f->ecdh(ctx, out, &one, two32, NULL, NULL) || memcmp(out, SHA_G2, 32) != 0) return "secp256k1_ecdh";

    if (!f->ecdsa_sign(ctx, &sig, message32, three32, NULL, NULL)) return "secp256k1_ecdsa_sign";
    point = one;
    if (!f->ec_pubkey_tweak_add(ctx, &point, two32)) return "secp256k1_ec_pubkey_tweak_add";
    if (!f->ecdsa_verify(ctx, &sig, message32, &point)) return "secp256k1_ecdsa_verify";
    if (f->ecdsa_verify(ctx, &sig, message32, &one)) return "secp256k1_ecdsa_verify";
    if (!f->ecdsa_signature_serialize_compact(ctx, sig64, &sig)) return "secp256k1_ecdsa_signature_serialize_compact";
    if (!f->ecdsa_signature_parse_compact(ctx, &copy, sig64) || memcmp(&copy, &sig, sizeof sig) != 0)
        return "secp256k1_ecdsa_signature_parse_compact";
    if (!f->ecdsa_signature_serialize_der(ctx, out, &len, &sig) || len < 68 || out[0] != 0x30)
        return "secp256k1_ecdsa_signature_serialize_der";
    if (!f->ecdsa_signature_parse_der(ctx, &copy, out, len) || memcmp(&copy, &sig, sizeof sig) != 0)
        return "secp256k1_ecdsa_signature_parse_der";
    if (f->ecdsa_signature_normalize(ctx, &copy, &sig) != 0) return "secp256k1_ecdsa_signature_normalize";
    if (!f->ecdsa_sign_recoverable(ctx, &recoverable, message32, three32, NULL, NULL))
        return "secp256k1_ecdsa_sign_recoverable";
    if (!f->ecdsa_recoverable_signature_serialize_compact(ctx, out, &recid, &recoverable) ||
        memcmp(out, sig64, 64) != 0)
        return "secp256k1_ecdsa_recoverable_signature_serialize_compact";
    if (!f->ecdsa_recoverable_signature_parse_compact(ctx, &recoverable, sig64, recid))
        return "secp256k1_ecdsa_recoverable_signature_parse_compact";
    if (!f->ecdsa_recover(ctx, &recovered, &recoverable, message32) || !lnf_point_serialize(recovered33, &recovered) ||
        memcmp(recovered33, G3, 33) != 0)
        return "secp256k1_ecdsa_recover";
    {
        /* BIP 340, test vector 0. */
        static const unsigned char SIG[64] = {
            0xe9, 0x07, 0x83, 0x1f, 0x80, 0x84, 0x8d, 0x10, 0x69, 0xa5, 0x37, 0x1b, 0x40, 0x24, 0x10, 0x36,
            0x4b, 0xdf, 0x1c, 0x5f, 0x83, 0x07, 0xb0, 0x08, 0x4c, 0x55, 0xf1, 0xce, 0x2d, 0xca, 0x82, 0x15,
            0x25, 0xf6, 0x6a, 0x4a, 0x85, 0xea, 0x8b, 0x71, 0xe4, 0x82, 0xa7, 0x4f, 0x38, 0x2d, 0x2c, 0xe5,
            0xeb, 0xee, 0xe8, 0xfd, 0xb2, 0x17, 0x2f, 0x47, 0x7d, 0xf4, 0x90, 0x0d, 0x31, 0x05, 0x36, 0xc0};
        unsigned char zero32[32] = {0};
        lnf_secp_xonly_pubkey xonly;
        if (!f->xonly_pubkey_parse(ctx, &xonly, G3 + 1)) return "secp256k1_xonly_pubkey_parse";
        if (!f->schnorrsig_verify(ctx, SIG, zero32, 32, &xonly)) return "secp256k1_schnorrsig_verify";
        zero32[0] = 1;
        if (f->schnorrsig_verify(ctx, SIG, zero32, 32, &xonly)) return "secp256k1_schnorrsig_verify";
    }
    return first_error[0] != '\0' ? "secp256k1_context_set_illegal_callback" : NULL;
}

int lnf_init(const char **failed_name, const lnf_secp256k1 *functions, const unsigned char *seed32) {
    *failed_name = NULL;
    if (lnf_secp_ctx != NULL) return 1;
    lnf_secp = *functions;
    lnf_secp_ctx = lnf_secp.context_create(CONTEXT_NONE);
    if (lnf_secp_ctx == NULL) {
        *failed_name = "secp256k1_context_create";
        return 0;
    }
    lnf_secp.context_set_illegal_callback(lnf_secp_ctx, record_error, NULL);
    lnf_secp.context_set_error_callback(lnf_secp_ctx, record_error, NULL);
    if (!lnf_secp.context_randomize(lnf_secp_ctx, seed32)) {
        *failed_name = "secp256k1_context_randomize";
    } else {
        *failed_name = self_test();
    }
    if (*failed_name == NULL) return 1;
    lnf_secp.context_destroy(lnf_secp_ctx);
    lnf_secp_ctx = NULL;
    return 0;
}
