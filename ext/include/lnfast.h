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

/* ---- cpu: the fast paths ---------------------------------------------------------------------------------------- */

#define LNF_CPU_SHA_NI 1u /* SHA-256 */
#define LNF_CPU_AVX2 2u   /* ChaCha20 and Poly1305 */
#define LNF_CPU_AVX512 4u /* the same, with AVX-512 F and IFMA */

/* For tests: take only the fast paths of this set, as far as the CPU has them, in every thread from now on. Returns the
 * set that is taken; ~0u takes all. Every result is the same whatever the set. */
LNF_API unsigned lnf_cpu_restrict(unsigned allowed);

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

/* A handshake in progress. Each act takes one call; a call that returns 0 wipes it, and only a new one can follow. */
typedef struct {
    unsigned char hash32[32], chaining_key32[32], temporary_key32[32];
    unsigned char ephemeral_secret32[32], static_secret32[32], their_ephemeral33[33];
} lnf_noise_handshake;

/* One direction of an established connection. */
typedef struct {
    unsigned char key32[32], chaining_key32[32];
    uint64_t nonce;
    int32_t body_len; /* receiving: of the frame whose header was decrypted already, or -1 if a header comes next */
} lnf_noise_cipher;

/* Why an act was refused. */
typedef enum {
    LNF_NOISE_OK = 0,
    LNF_NOISE_BAD_VERSION = 1,
    LNF_NOISE_BAD_PUBKEY = 2,
    LNF_NOISE_BAD_TAG = 3,
    LNF_NOISE_BAD_CIPHERTEXT = 4 /* act three: the tag of the encrypted static key */
} lnf_noise_error;

#define LNF_NOISE_ACT_ONE_BYTES 50
#define LNF_NOISE_ACT_TWO_BYTES 50
#define LNF_NOISE_ACT_THREE_BYTES 66
#define LNF_NOISE_HEADER_BYTES 18
#define LNF_NOISE_TAG_BYTES 16
#define LNF_NOISE_MAX_MESSAGE_BYTES 65535
/* What encryption adds to a message: the encrypted length and two tags. */
#define LNF_NOISE_OVERHEAD_BYTES 34

/* The initiator's start: writes act one. Returns 0 if a key is not valid. */
LNF_API int lnf_noise_initiate(lnf_noise_handshake *handshake, unsigned char *act_one50,
                               const unsigned char *ephemeral_secret32, const unsigned char *static_secret32,
                               const unsigned char *their_static33);
/* The responder's start. Returns 0 if a key is not valid. */
LNF_API int lnf_noise_respond(lnf_noise_handshake *handshake, const unsigned char *ephemeral_secret32,
                              const unsigned char *static_secret32);
/* The responder reads act one and writes act two. */
LNF_API int lnf_noise_act_two(unsigned char *act_two50, lnf_noise_error *error, lnf_noise_handshake *handshake,
                              const unsigned char *act_one50);
/* The initiator reads act two, writes act three and has both ciphers. The handshake is wiped. */
LNF_API int lnf_noise_act_three(unsigned char *act_three66, lnf_noise_cipher *send, lnf_noise_cipher *receive,
                                lnf_noise_error *error, lnf_noise_handshake *handshake, const unsigned char *act_two50);
/* The responder reads act three, learns who the initiator is and has both ciphers. The handshake is wiped. */
LNF_API int lnf_noise_finish(unsigned char *their_static33, lnf_noise_cipher *send, lnf_noise_cipher *receive,
                             lnf_noise_error *error, lnf_noise_handshake *handshake, const unsigned char *act_three66);

/* Encrypts n messages into one string of frames, rotating the key where BOLT 8 says so. out has the sum of the lengths
 * plus n * LNF_NOISE_OVERHEAD_BYTES bytes and overlaps no message; no length is above LNF_NOISE_MAX_MESSAGE_BYTES. */
LNF_API void lnf_noise_encrypt(unsigned char *out, lnf_noise_cipher *send, const unsigned char *const *messages,
                               const size_t *lens, size_t n);
/* Decrypts the whole frames that `in` starts with, at most max_messages of them and at most out_size bytes of plaintext
 * (which is at least LNF_NOISE_MAX_MESSAGE_BYTES, so that there is always progress). The plaintexts stand one after another in out, their lengths in lens, their
 * number in *n. *consumed bytes of in are done with; the rest is a part of a frame, or more than there was room for.
 * The caller gives it again with what follows it; after a header, receive->body_len + 16 bytes are needed to go on.
 * Returns 0 at a tag that does not match, with the messages before it as above; the cipher is wiped and never used again.
 * out does not overlap in. */
LNF_API int lnf_noise_decrypt(unsigned char *out, size_t *lens, size_t *n, size_t *consumed, lnf_noise_cipher *receive,
                              const unsigned char *in, size_t len, size_t out_size, size_t max_messages);
LNF_API void lnf_noise_wipe_handshake(lnf_noise_handshake *handshake);
LNF_API void lnf_noise_wipe_cipher(lnf_noise_cipher *cipher);

/* ---- onion: BOLT 4 ---------------------------------------------------------------------------------------------- */

/* ---- keys: BOLT 3 key derivation, shachain ---------------------------------------------------------------------- */

/* ---- script: templates of BOLT 3 -------------------------------------------------------------------------------- */

/* ---- tx: serialisation, txid, weight, BIP 143 ------------------------------------------------------------------- */

/* ---- commitment: build, sign and verify ------------------------------------------------------------------------- */

/* ---- watchset and block: what a block holds of what we watch ---------------------------------------------------- */

/* A counted set of outpoints (36 bytes as an input has them: txid, then the index, little endian) and scripts (1 to
 * LNF_MAX_SCRIPT bytes). Lookups may run in several threads at once, changes need the set to themselves. */
typedef struct lnf_watchset lnf_watchset;

#define LNF_MAX_SCRIPT 10000
#define LNF_MAX_BLOCK 4000000

/* The seed keys the hash, so that nobody can grind txids or scripts that collide in it. NULL if memory ran out. */
LNF_API lnf_watchset *lnf_watchset_create(const unsigned char *seed32);
LNF_API void lnf_watchset_destroy(lnf_watchset *set);
/* Counts one more watcher. The table may grow here. Returns 0, and nothing has changed, if memory ran out or the script
 * has a length that no script can be spent with. */
LNF_API int lnf_watchset_add_outpoint(lnf_watchset *set, const unsigned char *outpoint36);
LNF_API int lnf_watchset_add_script(lnf_watchset *set, const unsigned char *script, size_t script_len);
/* Counts one watcher less; the last one takes the entry out. Returns 0 if there is none. */
LNF_API int lnf_watchset_remove_outpoint(lnf_watchset *set, const unsigned char *outpoint36);
LNF_API int lnf_watchset_remove_script(lnf_watchset *set, const unsigned char *script, size_t script_len);
/* How many watch it: 0 if nobody does. */
LNF_API uint32_t lnf_watchset_count_outpoint(const lnf_watchset *set, const unsigned char *outpoint36);
LNF_API uint32_t lnf_watchset_count_script(const lnf_watchset *set, const unsigned char *script, size_t script_len);
/* The number of different entries. */
LNF_API size_t lnf_watchset_size(const lnf_watchset *set);

enum {
    LNF_HIT_OUTPOINT = 1, /* an input spends a watched outpoint */
    LNF_HIT_SCRIPT = 2,   /* an output pays a watched script */
    LNF_HIT_JOINED = 3    /* an input spends what an earlier hit of the same block brought in */
};

typedef struct {
    unsigned char txid32[32];
    uint32_t tx_index;
    uint32_t tx_offset; /* of the transaction's first byte in the block */
    uint32_t tx_len;
    uint32_t kind;
    uint32_t index; /* of the input or output */
} lnf_block_hit;

/* Walks a raw block once and reports, in the block's order, every input and output that the set watches. What a hit
 * creates is watched for the rest of the block, since a child may confirm beside its parent: the output that paid a
 * watched script, and every output of a transaction that spends something watched. The set itself stays as it is.
 *
 * *n_hits is the number of hits; the first max_hits of them are written, so a caller with too little room makes more and
 * calls again. The block's hash goes to hash32. Returns 0 (hash and n_hits zeroed) if the bytes are not exactly one
 * block as Bitcoin Core would read it (canonical counts, no transaction without inputs or outputs, no superfluous
 * witness, nothing missing, nothing after it), or if memory ran out. Neither proof of work nor the merkle root is
 * looked at. */
LNF_API int lnf_block_scan(unsigned char *hash32, lnf_block_hit *hits, size_t *n_hits, size_t max_hits,
                           const lnf_watchset *set, const unsigned char *block, size_t block_len);
/* The hash of a header; 1 if it meets the header's own target, that target is positive and at most the one that
 * limit_bits encodes, and the header links to prev32 (NULL: any). The hash is written in any case. */
LNF_API int lnf_block_check_header(unsigned char *hash32, const unsigned char *header80, const unsigned char *prev32,
                                   uint32_t limit_bits);
/* 1 if the header's merkle root is that of the block's transactions and no level of the tree repeats a pair (such a
 * block has the root of a shorter one). */
LNF_API int lnf_block_check_merkle_root(const unsigned char *block, size_t block_len);

#ifdef __cplusplus
}
#endif

#endif
