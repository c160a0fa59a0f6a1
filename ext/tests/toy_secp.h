/* A group that is small enough for a test, in the place of secp256k1: the powers of 3 modulo 2^61 - 1. A point is 02,
 * 24 zeroes and the number. It lets BOLT 8 run without libsecp256k1; the tests in Python run it with the real one. */
#ifndef LNF_TOY_SECP_H
#define LNF_TOY_SECP_H

#include "bytes.h"
#include "check.h"
#include "secp.h"

/* The constant-time test replaces these: what is public, and what is a secret. */
#ifndef TOY_PUBLIC
#define TOY_PUBLIC(memory, len) ((void)(memory), (void)(len))
#define TOY_SECRET(memory, len) ((void)(memory), (void)(len))
#endif

#define TOY_PRIME ((1ull << 61) - 1)
#define TOY_ORDER (TOY_PRIME - 1)

static inline uint64_t toy_power(uint64_t base, const unsigned char *exponent32) {
    uint64_t result = 1;
    for (int i = 0; i < 256; i++) {
        __extension__ typedef unsigned __int128 wide;
        result = (uint64_t)((wide)result * result % TOY_PRIME);
        if (exponent32[i / 8] >> (7 - i % 8) & 1) result = (uint64_t)((wide)result * base % TOY_PRIME);
    }
    return result;
}

static inline void toy_encode(unsigned char *point33, uint64_t number) {
    memset(point33, 0, 33);
    point33[0] = 2;
    lnf_store_be64(point33 + 25, number);
}

static int toy_pubkey_parse(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *input, size_t len) {
    (void)ctx;
    TOY_PUBLIC(input, len);
    uint64_t number = (uint64_t)lnf_load_be32(input + 25) << 32 | lnf_load_be32(input + 29);
    if (len != 33 || input[0] != 2 || !is_zero(input + 1, 24) || number == 0 || number >= TOY_PRIME) return 0;
    memcpy(pubkey->data, &number, 8);
    return 1;
}

static int toy_pubkey_serialize(const void *ctx, unsigned char *output, size_t *len, const lnf_secp_pubkey *pubkey,
                                unsigned flags) {
    uint64_t number;
    (void)ctx;
    CHECK(*len == 33 && flags == LNF_SECP_COMPRESSED);
    memcpy(&number, pubkey->data, 8);
    toy_encode(output, number);
    return 1;
}

static int toy_seckey_verify(const void *ctx, const unsigned char *seckey32) {
    (void)ctx;
    TOY_PUBLIC(seckey32, 32);
    int ok = !is_zero(seckey32, 32);
    TOY_SECRET(seckey32, 32);
    return ok;
}

static int toy_pubkey_create(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *seckey32) {
    (void)ctx;
    TOY_PUBLIC(seckey32, 32);
    uint64_t number = toy_power(3, seckey32);
    int ok = !is_zero(seckey32, 32);
    TOY_SECRET(seckey32, 32);
    memcpy(pubkey->data, &number, 8);
    return ok;
}

static int toy_ecdh(const void *ctx, unsigned char *output32, const lnf_secp_pubkey *pubkey,
                    const unsigned char *seckey32, void *hash, void *data) {
    uint64_t number;
    unsigned char point33[33];
    (void)ctx;
    CHECK(hash == NULL && data == NULL);
    memcpy(&number, pubkey->data, 8);
    TOY_PUBLIC(seckey32, 32);
    toy_encode(point33, toy_power(number, seckey32));
    TOY_SECRET(seckey32, 32);
    lnf_sha256(output32, point33, 33);
    TOY_SECRET(output32, 32);
    return 1;
}

static inline uint64_t toy_times(uint64_t a, uint64_t b, uint64_t modulus) {
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)a * b % modulus);
}

static inline uint64_t toy_scalar(const unsigned char *scalar32) {
    uint64_t result = 0;
    for (int i = 0; i < 256; i++) result = (2 * result + (scalar32[i / 8] >> (7 - i % 8) & 1)) % TOY_ORDER;
    return result;
}

static int toy_seckey_tweak_mul(const void *ctx, unsigned char *seckey32, const unsigned char *tweak32) {
    uint64_t product = toy_times(toy_scalar(seckey32), toy_scalar(tweak32), TOY_ORDER);
    (void)ctx;
    memset(seckey32, 0, 32);
    lnf_store_be64(seckey32 + 24, product);
    return product != 0;
}

static int toy_pubkey_tweak_mul(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *tweak32) {
    uint64_t number;
    (void)ctx;
    memcpy(&number, pubkey->data, 8);
    number = toy_power(number, tweak32);
    memcpy(pubkey->data, &number, 8);
    return 1;
}

static int toy_seckey_tweak_add(const void *ctx, unsigned char *seckey32, const unsigned char *tweak32) {
    uint64_t sum = (toy_scalar(seckey32) + toy_scalar(tweak32)) % TOY_ORDER;
    (void)ctx;
    memset(seckey32, 0, 32);
    lnf_store_be64(seckey32 + 24, sum);
    return sum != 0;
}

/* As with the real one the sum may be no point: here that is the power 0. */
static int toy_pubkey_tweak_add(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *tweak32) {
    uint64_t number;
    (void)ctx;
    memcpy(&number, pubkey->data, 8);
    number = toy_times(number, toy_power(3, tweak32), TOY_PRIME);
    memcpy(pubkey->data, &number, 8);
    return number != 1;
}

static int toy_pubkey_combine(const void *ctx, lnf_secp_pubkey *out, const lnf_secp_pubkey *const *ins, size_t n) {
    uint64_t product = 1, number;
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        memcpy(&number, ins[i]->data, 8);
        product = toy_times(product, number, TOY_PRIME);
    }
    memcpy(out->data, &product, 8);
    return product != 1;
}

/* A signature that anybody could make: the hash of the message and the signer's point, and the hash of that. */
static inline void toy_sign(unsigned char *sig64, const unsigned char *msg32, uint64_t number) {
    unsigned char both[65];
    memcpy(both, msg32, 32);
    toy_encode(both + 32, number);
    lnf_sha256(sig64, both, sizeof both);
    lnf_sha256(sig64 + 32, sig64, 32);
}

static int toy_ecdsa_sign(const void *ctx, lnf_secp_signature *sig, const unsigned char *msg32,
                          const unsigned char *seckey32, void *nonce_function, const void *data) {
    (void)ctx;
    CHECK(nonce_function == NULL && data == NULL);
    toy_sign(sig->data, msg32, toy_power(3, seckey32));
    return !is_zero(seckey32, 32);
}

static int toy_ecdsa_verify(const void *ctx, const lnf_secp_signature *sig, const unsigned char *msg32,
                            const lnf_secp_pubkey *pubkey) {
    uint64_t number;
    unsigned char expected64[64];
    (void)ctx;
    memcpy(&number, pubkey->data, 8);
    toy_sign(expected64, msg32, number);
    return memcmp(expected64, sig->data, 64) == 0;
}

static int toy_signature_parse_compact(const void *ctx, lnf_secp_signature *sig, const unsigned char *input64) {
    (void)ctx;
    memcpy(sig->data, input64, 64);
    return !is_zero(input64, 64);
}

static int toy_signature_serialize_compact(const void *ctx, unsigned char *output64, const lnf_secp_signature *sig) {
    (void)ctx;
    memcpy(output64, sig->data, 64);
    return 1;
}

static inline void toy_secp_install(void) {
    lnf_secp.ec_pubkey_parse = toy_pubkey_parse;
    lnf_secp.ec_pubkey_serialize = toy_pubkey_serialize;
    lnf_secp.ec_seckey_verify = toy_seckey_verify;
    lnf_secp.ec_pubkey_create = toy_pubkey_create;
    lnf_secp.ec_seckey_tweak_mul = toy_seckey_tweak_mul;
    lnf_secp.ec_pubkey_tweak_mul = toy_pubkey_tweak_mul;
    lnf_secp.ecdh = toy_ecdh;
    lnf_secp.ec_seckey_tweak_add = toy_seckey_tweak_add;
    lnf_secp.ec_pubkey_tweak_add = toy_pubkey_tweak_add;
    lnf_secp.ec_pubkey_combine = toy_pubkey_combine;
    lnf_secp.ecdsa_sign = toy_ecdsa_sign;
    lnf_secp.ecdsa_verify = toy_ecdsa_verify;
    lnf_secp.ecdsa_signature_parse_compact = toy_signature_parse_compact;
    lnf_secp.ecdsa_signature_serialize_compact = toy_signature_serialize_compact;
}

#endif
