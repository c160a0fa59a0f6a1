/* liblnfast: the hot paths of a Lightning node in plain C11.
 *
 * Conventions, for every function of this header:
 *  - Outputs come first, then inputs. A byte length that is fixed stands in the parameter's name (key32, point33).
 *  - Memory is the caller's: nothing is allocated, unless a function's name ends in _create and its twin in _destroy.
 *  - A function returns 1, or 0 for bad data (a point off the curve, a MAC that does not match, a truncated
 *    transaction); outputs are then zeroed. A caller's mistake that data cannot explain is an assert.
 *  - Secrets are processed in constant time and wiped from the stack, except in functions whose name ends in _var.
 *  - Integers are host integers; byte strings are in the order in which the wire has them. Txids are in internal order.
 *  - Nothing here knows Python. libsecp256k1 is reached only through the table that lnf_init was given.
 */
#ifndef LNFAST_H
#define LNFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LNF_API __attribute__((visibility("default")))

/* ---- secp: the host's libsecp256k1 ------------------------------------------------------------------------------ */

/* Same layout as libsecp256k1's opaque types. */
typedef struct { unsigned char data[64]; } lnf_secp_pubkey;
typedef struct { unsigned char data[64]; } lnf_secp_signature;
typedef struct { unsigned char data[65]; } lnf_secp_recoverable_signature;
typedef struct { unsigned char data[64]; } lnf_secp_xonly_pubkey;

typedef void (*lnf_secp_callback)(const char *message, void *data);

/* Function pointers into one libsecp256k1 (0.4 or newer), in the order in which the host fills them. */
typedef struct {
    void *(*context_create)(unsigned int flags);
    void (*context_destroy)(void *ctx);
    int (*context_randomize)(void *ctx, const unsigned char *seed32);
    void (*context_set_illegal_callback)(void *ctx, lnf_secp_callback fun, const void *data);
    void (*context_set_error_callback)(void *ctx, lnf_secp_callback fun, const void *data);
    int (*ec_pubkey_parse)(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *input, size_t input_len);
    int (*ec_pubkey_serialize)(const void *ctx, unsigned char *output, size_t *output_len, const lnf_secp_pubkey *pubkey,
                               unsigned int flags);
    int (*ec_seckey_verify)(const void *ctx, const unsigned char *seckey32);
    int (*ec_pubkey_create)(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *seckey32);
    int (*ec_pubkey_negate)(const void *ctx, lnf_secp_pubkey *pubkey);
    int (*ec_seckey_negate)(const void *ctx, unsigned char *seckey32);
    int (*ec_seckey_tweak_add)(const void *ctx, unsigned char *seckey32, const unsigned char *tweak32);
    int (*ec_seckey_tweak_mul)(const void *ctx, unsigned char *seckey32, const unsigned char *tweak32);
    int (*ec_pubkey_tweak_add)(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *tweak32);
    int (*ec_pubkey_tweak_mul)(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *tweak32);
    int (*ec_pubkey_combine)(const void *ctx, lnf_secp_pubkey *out, const lnf_secp_pubkey *const *ins, size_t n);
    int (*ecdh)(const void *ctx, unsigned char *output32, const lnf_secp_pubkey *pubkey, const unsigned char *seckey32,
                void *hash_function, void *data);
    int (*ecdsa_sign)(const void *ctx, lnf_secp_signature *sig, const unsigned char *msg32, const unsigned char *seckey32,
                      void *nonce_function, const void *ndata);
    int (*ecdsa_verify)(const void *ctx, const lnf_secp_signature *sig, const unsigned char *msg32,
                        const lnf_secp_pubkey *pubkey);
    int (*ecdsa_signature_parse_compact)(const void *ctx, lnf_secp_signature *sig, const unsigned char *input64);
    int (*ecdsa_signature_serialize_compact)(const void *ctx, unsigned char *output64, const lnf_secp_signature *sig);
    int (*ecdsa_signature_parse_der)(const void *ctx, lnf_secp_signature *sig, const unsigned char *input, size_t len);
    int (*ecdsa_signature_serialize_der)(const void *ctx, unsigned char *output, size_t *len, const lnf_secp_signature *sig);
    int (*ecdsa_signature_normalize)(const void *ctx, lnf_secp_signature *out, const lnf_secp_signature *in);
    int (*ecdsa_sign_recoverable)(const void *ctx, lnf_secp_recoverable_signature *sig, const unsigned char *msg32,
                                  const unsigned char *seckey32, void *nonce_function, const void *ndata);
    int (*ecdsa_recoverable_signature_serialize_compact)(const void *ctx, unsigned char *output64, int *recid,
                                                         const lnf_secp_recoverable_signature *sig);
    int (*ecdsa_recoverable_signature_parse_compact)(const void *ctx, lnf_secp_recoverable_signature *sig,
                                                     const unsigned char *input64, int recid);
    int (*ecdsa_recover)(const void *ctx, lnf_secp_pubkey *pubkey, const lnf_secp_recoverable_signature *sig,
                         const unsigned char *msg32);
    int (*xonly_pubkey_parse)(const void *ctx, lnf_secp_xonly_pubkey *pubkey, const unsigned char *input32);
    int (*schnorrsig_verify)(const void *ctx, const unsigned char *sig64, const unsigned char *msg, size_t msg_len,
                             const lnf_secp_xonly_pubkey *pubkey);
} lnf_secp256k1;

/* Takes a copy of the table, makes one context through it, installs both error callbacks (libsecp256k1's own abort the
 * process: ours record the message) and blinds the context with seed32. Then checks every function of the table against
 * known answers. Returns 0 and names the first function that failed in *failed_name (static storage), else 1.
 * Call once, before any thread uses the library. */
LNF_API int lnf_init(const char **failed_name, const lnf_secp256k1 *functions, const unsigned char *seed32);

/* The first message that a libsecp256k1 callback recorded in this process, or NULL. */
LNF_API const char *lnf_secp_error(void);

/* ---- sha256: SHA-256, HMAC, HKDF -------------------------------------------------------------------------------- */

typedef struct {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char buffer[64];
} lnf_sha256_ctx;

LNF_API void lnf_sha256_init(lnf_sha256_ctx *ctx);
LNF_API void lnf_sha256_update(lnf_sha256_ctx *ctx, const unsigned char *data, size_t len);
LNF_API void lnf_sha256_final(unsigned char *out32, lnf_sha256_ctx *ctx);
LNF_API void lnf_sha256(unsigned char *out32, const unsigned char *data, size_t len);
/* SHA-256 of the SHA-256. */
LNF_API void lnf_sha256d(unsigned char *out32, const unsigned char *data, size_t len);
LNF_API void lnf_hmac_sha256(unsigned char *out32, const unsigned char *key, size_t key_len, const unsigned char *data,
                             size_t len);
/* RFC 5869 with SHA-256 and an empty info, 64 bytes of output: all that BOLT 8 uses. */
LNF_API void lnf_hkdf_sha256(unsigned char *out64, const unsigned char *salt, size_t salt_len, const unsigned char *ikm,
                             size_t ikm_len);

/* ---- chacha: ChaCha20, Poly1305, AEAD --------------------------------------------------------------------------- */

/* out = in XOR the keystream of RFC 8439 from block `counter` on; in may be out, or NULL for the bare keystream. */
LNF_API void lnf_chacha20_xor(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *key32,
                              const unsigned char *nonce12, uint32_t counter);
/* RFC 8439 AEAD. out has len + 16 bytes; in may be out. */
LNF_API void lnf_aead_encrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad, size_t ad_len,
                              const unsigned char *key32, const unsigned char *nonce12);
/* in has len + 16 bytes, out has len. Returns 0 (and zeroes out) if the tag does not match. */
LNF_API int lnf_aead_decrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad, size_t ad_len,
                             const unsigned char *key32, const unsigned char *nonce12);

/* ---- noise: BOLT 8 ---------------------------------------------------------------------------------------------- */

/* ---- onion: BOLT 4 ---------------------------------------------------------------------------------------------- */

/* ---- keys: BOLT 3 key derivation, shachain ---------------------------------------------------------------------- */

/* ---- script: templates of BOLT 3 -------------------------------------------------------------------------------- */

/* ---- tx: serialisation, txid, weight, BIP 143 ------------------------------------------------------------------- */

/* ---- commitment: build, sign and verify ------------------------------------------------------------------------- */

/* ---- watchset and block: what a block holds of what we watch ---------------------------------------------------- */

#ifdef __cplusplus
}
#endif

#endif
