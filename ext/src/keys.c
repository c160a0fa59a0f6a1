/* Keys of BOLT 3 and the elliptic curve operations under them. Points are 33 bytes, compressed. */
#include <string.h>

#include "secp.h"

#define INDEX_BITS 48

/* Serialises a point that an operation has made, or zeroes the output if it failed. */
static int finish_point(unsigned char *out33, const lnf_secp_pubkey *point, int ok) {
    if (ok && lnf_point_serialize(out33, point)) return 1;
    memset(out33, 0, 33);
    return 0;
}

/* SHA256(first || second), the tweak of every derivation of BOLT 3. */
static void hash_points(unsigned char *out32, const unsigned char *first33, const unsigned char *second33) {
    unsigned char both[66];
    memcpy(both, first33, 33);
    memcpy(both + 33, second33, 33);
    lnf_sha256(out32, both, sizeof both);
}

int lnf_seckey_valid(const unsigned char *secret32) { return lnf_secp.ec_seckey_verify(lnf_secp_ctx, secret32); }

int lnf_seckey_add(unsigned char *out32, const unsigned char *secret32, const unsigned char *tweak32) {
    unsigned char result32[32];
    int ok;
    memcpy(result32, secret32, 32);
    ok = lnf_secp.ec_seckey_tweak_add(lnf_secp_ctx, result32, tweak32);
    if (!ok) memset(result32, 0, 32);
    memcpy(out32, result32, 32);
    lnf_wipe(result32, 32);
    return ok;
}

int lnf_seckey_mul(unsigned char *out32, const unsigned char *secret32, const unsigned char *tweak32) {
    unsigned char result32[32];
    int ok;
    memcpy(result32, secret32, 32);
    ok = lnf_secp.ec_seckey_tweak_mul(lnf_secp_ctx, result32, tweak32);
    if (!ok) memset(result32, 0, 32);
    memcpy(out32, result32, 32);
    lnf_wipe(result32, 32);
    return ok;
}

int lnf_pubkey_create(unsigned char *out33, const unsigned char *secret32) {
    lnf_secp_pubkey point;
    return finish_point(out33, &point, lnf_secp.ec_pubkey_create(lnf_secp_ctx, &point, secret32));
}

int lnf_pubkey_valid(const unsigned char *point33) {
    lnf_secp_pubkey point;
    return lnf_point_parse(&point, point33);
}

int lnf_pubkey_tweak_add(unsigned char *out33, const unsigned char *point33, const unsigned char *tweak32) {
    lnf_secp_pubkey point;
    return finish_point(
        out33, &point, lnf_point_parse(&point, point33) && lnf_secp.ec_pubkey_tweak_add(lnf_secp_ctx, &point, tweak32));
}

int lnf_pubkey_tweak_mul(unsigned char *out33, const unsigned char *point33, const unsigned char *tweak32) {
    lnf_secp_pubkey point;
    return finish_point(
        out33, &point, lnf_point_parse(&point, point33) && lnf_secp.ec_pubkey_tweak_mul(lnf_secp_ctx, &point, tweak32));
}

int lnf_pubkey_combine(unsigned char *out33, const unsigned char *first33, const unsigned char *second33) {
    lnf_secp_pubkey first, second, sum;
    const lnf_secp_pubkey *terms[2] = {&first, &second};
    return finish_point(out33, &sum,
                        lnf_point_parse(&first, first33) && lnf_point_parse(&second, second33) &&
                            lnf_secp.ec_pubkey_combine(lnf_secp_ctx, &sum, terms, 2));
}

int lnf_ecdh(unsigned char *out32, const unsigned char *point33, const unsigned char *secret32) {
    lnf_secp_pubkey point;
    if (lnf_point_parse(&point, point33) && lnf_secp.ecdh(lnf_secp_ctx, out32, &point, secret32, NULL, NULL)) return 1;
    memset(out32, 0, 32);
    return 0;
}

int lnf_ecdsa_sign(unsigned char *out64, const unsigned char *msg32, const unsigned char *secret32) {
    lnf_secp_signature sig;
    if (lnf_secp.ecdsa_sign(lnf_secp_ctx, &sig, msg32, secret32, NULL, NULL) &&
        lnf_secp.ecdsa_signature_serialize_compact(lnf_secp_ctx, out64, &sig))
        return 1;
    memset(out64, 0, 64);
    return 0;
}

int lnf_ecdsa_verify_var(const unsigned char *sig64, const unsigned char *msg32, const unsigned char *point33) {
    lnf_secp_signature sig;
    lnf_secp_pubkey point;
    return lnf_secp.ecdsa_signature_parse_compact(lnf_secp_ctx, &sig, sig64) && lnf_point_parse(&point, point33) &&
           lnf_secp.ecdsa_verify(lnf_secp_ctx, &sig, msg32, &point);
}

int lnf_ecdsa_sign_recoverable(unsigned char *out64, int *recovery_id, const unsigned char *msg32,
                               const unsigned char *secret32) {
    lnf_secp_recoverable_signature sig;
    if (lnf_secp.ecdsa_sign_recoverable(lnf_secp_ctx, &sig, msg32, secret32, NULL, NULL) &&
        lnf_secp.ecdsa_recoverable_signature_serialize_compact(lnf_secp_ctx, out64, recovery_id, &sig))
        return 1;
    memset(out64, 0, 64);
    *recovery_id = 0;
    return 0;
}

int lnf_ecdsa_recover_var(unsigned char *out33, const unsigned char *sig64, int recovery_id,
                          const unsigned char *msg32) {
    lnf_secp_recoverable_signature sig;
    lnf_secp_pubkey point;
    /* libsecp256k1 calls an id outside 0 to 3 the caller's mistake; here it is bad data. */
    return finish_point(
        out33, &point,
        recovery_id >= 0 && recovery_id <= 3 &&
            lnf_secp.ecdsa_recoverable_signature_parse_compact(lnf_secp_ctx, &sig, sig64, recovery_id) &&
            lnf_secp.ecdsa_recover(lnf_secp_ctx, &point, &sig, msg32));
}

int lnf_schnorr_verify_var(const unsigned char *sig64, const unsigned char *msg, size_t msg_len,
                           const unsigned char *xonly32) {
    lnf_secp_xonly_pubkey point;
    return lnf_secp.xonly_pubkey_parse(lnf_secp_ctx, &point, xonly32) &&
           lnf_secp.schnorrsig_verify(lnf_secp_ctx, sig64, msg, msg_len, &point);
}

int lnf_derive_public_key(unsigned char *out33, const unsigned char *basepoint33,
                          const unsigned char *per_commitment_point33) {
    unsigned char tweak32[32];
    hash_points(tweak32, per_commitment_point33, basepoint33);
    return lnf_pubkey_tweak_add(out33, basepoint33, tweak32);
}

int lnf_derive_private_key(unsigned char *out32, const unsigned char *base_secret32,
                           const unsigned char *per_commitment_point33) {
    unsigned char basepoint33[33], tweak32[32];
    if (!lnf_pubkey_create(basepoint33, base_secret32)) {
        memset(out32, 0, 32);
        return 0;
    }
    hash_points(tweak32, per_commitment_point33, basepoint33);
    return lnf_seckey_add(out32, base_secret32, tweak32);
}

int lnf_derive_revocation_public_key(unsigned char *out33, const unsigned char *revocation_basepoint33,
                                     const unsigned char *per_commitment_point33) {
    unsigned char tweak32[32];
    lnf_secp_pubkey base, commitment, sum;
    const lnf_secp_pubkey *terms[2] = {&base, &commitment};
    int ok = lnf_point_parse(&base, revocation_basepoint33) && lnf_point_parse(&commitment, per_commitment_point33);
    if (ok) {
        hash_points(tweak32, revocation_basepoint33, per_commitment_point33);
        ok = lnf_secp.ec_pubkey_tweak_mul(lnf_secp_ctx, &base, tweak32);
    }
    if (ok) {
        hash_points(tweak32, per_commitment_point33, revocation_basepoint33);
        ok = lnf_secp.ec_pubkey_tweak_mul(lnf_secp_ctx, &commitment, tweak32) &&
             lnf_secp.ec_pubkey_combine(lnf_secp_ctx, &sum, terms, 2);
    }
    return finish_point(out33, &sum, ok);
}

int lnf_derive_revocation_private_key(unsigned char *out32, const unsigned char *revocation_base_secret32,
                                      const unsigned char *per_commitment_secret32) {
    unsigned char basepoint33[33], point33[33], tweak32[32], base32[32], commitment32[32];
    int ok =
        lnf_pubkey_create(basepoint33, revocation_base_secret32) && lnf_pubkey_create(point33, per_commitment_secret32);
    if (ok) {
        hash_points(tweak32, basepoint33, point33);
        ok = lnf_seckey_mul(base32, revocation_base_secret32, tweak32);
    }
    if (ok) {
        hash_points(tweak32, point33, basepoint33);
        ok = lnf_seckey_mul(commitment32, per_commitment_secret32, tweak32) &&
             lnf_seckey_add(out32, base32, commitment32);
    }
    if (!ok) memset(out32, 0, 32);
    lnf_wipe(base32, 32);
    lnf_wipe(commitment32, 32);
    return ok;
}

/* BOLT 3, derive_secret: from the secret of a prefix to one below it, a hash for each set bit under `bits`. */
static void walk_down(unsigned char *secret32, unsigned int bits, uint64_t index) {
    while (bits-- > 0) {
        if (index >> bits & 1) {
            secret32[bits / 8] ^= (unsigned char)(1u << (bits % 8));
            lnf_sha256(secret32, secret32, 32);
        }
    }
}

void lnf_per_commitment_secret(unsigned char *out32, const unsigned char *seed32, uint64_t index) {
    memmove(out32, seed32, 32);
    walk_down(out32, INDEX_BITS, index);
}

int lnf_shachain_derive(unsigned char *out32, const unsigned char *secret32, uint64_t from_index, uint64_t index) {
    unsigned int free_bits = from_index == 0 ? INDEX_BITS : (unsigned int)__builtin_ctzll(from_index);
    if ((from_index | index) >> INDEX_BITS != 0 || (from_index ^ index) >> free_bits != 0) {
        memset(out32, 0, 32);
        return 0;
    }
    memmove(out32, secret32, 32);
    walk_down(out32, free_bits, index);
    return 1;
}
