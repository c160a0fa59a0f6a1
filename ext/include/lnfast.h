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
typedef struct {
    unsigned char data[64];
} lnf_secp_pubkey;
typedef struct {
    unsigned char data[64];
} lnf_secp_signature;
typedef struct {
    unsigned char data[65];
} lnf_secp_recoverable_signature;
typedef struct {
    unsigned char data[64];
} lnf_secp_xonly_pubkey;

typedef void (*lnf_secp_callback)(const char *message, void *data);

/* Function pointers into one libsecp256k1 (0.4 or newer), in the order in which the host fills them. */
typedef struct {
    void *(*context_create)(unsigned int flags);
    void (*context_destroy)(void *ctx);
    int (*context_randomize)(void *ctx, const unsigned char *seed32);
    void (*context_set_illegal_callback)(void *ctx, lnf_secp_callback fun, const void *data);
    void (*context_set_error_callback)(void *ctx, lnf_secp_callback fun, const void *data);
    int (*ec_pubkey_parse)(const void *ctx, lnf_secp_pubkey *pubkey, const unsigned char *input, size_t input_len);
    int (*ec_pubkey_serialize)(const void *ctx, unsigned char *output, size_t *output_len,
                               const lnf_secp_pubkey *pubkey, unsigned int flags);
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
    int (*ecdsa_sign)(const void *ctx, lnf_secp_signature *sig, const unsigned char *msg32,
                      const unsigned char *seckey32, void *nonce_function, const void *ndata);
    int (*ecdsa_verify)(const void *ctx, const lnf_secp_signature *sig, const unsigned char *msg32,
                        const lnf_secp_pubkey *pubkey);
    int (*ecdsa_signature_parse_compact)(const void *ctx, lnf_secp_signature *sig, const unsigned char *input64);
    int (*ecdsa_signature_serialize_compact)(const void *ctx, unsigned char *output64, const lnf_secp_signature *sig);
    int (*ecdsa_signature_parse_der)(const void *ctx, lnf_secp_signature *sig, const unsigned char *input, size_t len);
    int (*ecdsa_signature_serialize_der)(const void *ctx, unsigned char *output, size_t *len,
                                         const lnf_secp_signature *sig);
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
LNF_API void lnf_aead_encrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad,
                              size_t ad_len, const unsigned char *key32, const unsigned char *nonce12);
/* in has len + 16 bytes, out has len. Returns 0 (and zeroes out) if the tag does not match. */
LNF_API int lnf_aead_decrypt(unsigned char *out, const unsigned char *in, size_t len, const unsigned char *ad,
                             size_t ad_len, const unsigned char *key32, const unsigned char *nonce12);

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
 * (at least LNF_NOISE_MAX_MESSAGE_BYTES, so that there is always progress). The plaintexts stand one after another in
 * out, their lengths in lens, their number in *n. *consumed bytes of in are done with; the rest is a part of a frame, or
 * more than there was room for, and comes again with what follows it. After a header, receive->body_len + 16 bytes are
 * needed to go on. Returns 0 at a tag that does not match, with the messages before it as above; the cipher is wiped and
 * never used again. out does not overlap in. */
LNF_API int lnf_noise_decrypt(unsigned char *out, size_t *lens, size_t *n, size_t *consumed, lnf_noise_cipher *receive,
                              const unsigned char *in, size_t len, size_t out_size, size_t max_messages);
LNF_API void lnf_noise_wipe_handshake(lnf_noise_handshake *handshake);
LNF_API void lnf_noise_wipe_cipher(lnf_noise_cipher *cipher);

/* ---- onion: BOLT 4 ---------------------------------------------------------------------------------------------- */

/* version, ephemeral key and HMAC around hop_payloads; 1300 bytes of hop_payloads in update_add_htlc. */
#define LNF_ONION_OVERHEAD_BYTES 66
#define LNF_ONION_PAYMENT_BYTES 1366

typedef struct {
    const unsigned char *node_id33;
    const unsigned char *payload; /* without its length */
    size_t payload_len;           /* 2 to 65535 */
} lnf_onion_hop;

/* Writes a packet of packet_len bytes and the n_hops shared secrets of 32 bytes that open its failures. Returns 0 if a key
 * is not valid, a payload has less than 2 bytes, or the hops do not fit: each takes its payload, 1 byte of length (3 from
 * 253 bytes on) and 32 bytes of HMAC. */
LNF_API int lnf_onion_build(unsigned char *packet, unsigned char *shared_secrets, size_t packet_len,
                            const unsigned char *session_key32, const lnf_onion_hop *hops, size_t n_hops,
                            const unsigned char *associated_data, size_t associated_data_len);

/* A packet as it came. path_key33: what came with it from a blinded path, or NULL. */
typedef struct {
    const unsigned char *packet;
    size_t packet_len;
    const unsigned char *associated_data;
    size_t associated_data_len;
    const unsigned char *path_key33;
} lnf_onion_sealed;

typedef enum {
    LNF_ONION_OK = 0,
    LNF_ONION_BAD_VERSION = 1,
    LNF_ONION_BAD_HMAC = 2, /* or too short to have one */
    LNF_ONION_BAD_KEY = 3,
    LNF_ONION_BAD_PAYLOAD = 4 /* authentic, but its length is malformed: the origin's fault */
} lnf_onion_error;

typedef struct {
    /* The caller's memory: 2 * (packet_len - 66) and packet_len bytes. */
    unsigned char *unwrapped;
    unsigned char *next_packet; /* written if not is_final */
    /* The payload lies in unwrapped. */
    size_t payload_offset, payload_len;
    int is_final;
    lnf_onion_error error;
    unsigned char shared_secret32[32];   /* if OK or BAD_PAYLOAD: for failures */
    unsigned char path_secret32[32];     /* ECDH of path_key and our key: opens encrypted_recipient_data */
    unsigned char sha256_of_onion32[32]; /* if not OK: for update_fail_malformed_htlc */
} lnf_onion_peeled;

/* Returns 1 if error is LNF_ONION_OK, else 0: unwrapped and next_packet then hold nothing of use. */
LNF_API int lnf_onion_peel(lnf_onion_peeled *out, const lnf_onion_sealed *in, const unsigned char *node_secret32);
/* Each on its own; returns how many are OK. */
LNF_API size_t lnf_onion_peel_batch(lnf_onion_peeled *outs, const lnf_onion_sealed *ins, size_t n,
                                    const unsigned char *node_secret32);

/* The size of the packet that returns a failure message of message_len bytes. */
LNF_API size_t lnf_failure_packet_bytes(size_t message_len);
/* The erring node's packet, padded and wrapped once. message_len is below 65536 - 36. */
LNF_API void lnf_failure_packet_create(unsigned char *packet, const unsigned char *message, size_t message_len,
                                       const unsigned char *shared_secret32);
/* One layer more, in place: what a node does that passes a failure back. */
LNF_API void lnf_failure_packet_wrap(unsigned char *packet, size_t packet_len, const unsigned char *shared_secret32);
/* The origin: finds the hop (counted from 0) that made the packet, and its message; a message whose length is malformed
 * is empty. Takes the same time for every hop. message has room for 2 * packet_len bytes. Returns 0 if no hop made it. */
LNF_API int lnf_failure_packet_unwrap(unsigned char *message, size_t *message_len, size_t *hop,
                                      const unsigned char *packet, size_t packet_len,
                                      const unsigned char *shared_secrets, size_t n_hops);

/* ---- keys: BOLT 3 key derivation, shachain ---------------------------------------------------------------------- */

/* Points are compressed. Every function returns 0 for a point off the curve and for a scalar that is 0 or not below the
 * group's order; _var functions take nothing secret. An output may be its own input. */
LNF_API int lnf_seckey_valid(const unsigned char *secret32);
LNF_API int lnf_seckey_add(unsigned char *out32, const unsigned char *secret32, const unsigned char *tweak32);
LNF_API int lnf_seckey_mul(unsigned char *out32, const unsigned char *secret32, const unsigned char *tweak32);
LNF_API int lnf_pubkey_create(unsigned char *out33, const unsigned char *secret32);
LNF_API int lnf_pubkey_valid(const unsigned char *point33);
/* point + tweak * G. */
LNF_API int lnf_pubkey_tweak_add(unsigned char *out33, const unsigned char *point33, const unsigned char *tweak32);
/* point * tweak. libsecp256k1 does it in variable time: no long-lived secret may be the tweak. */
LNF_API int lnf_pubkey_tweak_mul(unsigned char *out33, const unsigned char *point33, const unsigned char *tweak32);
LNF_API int lnf_pubkey_combine(unsigned char *out33, const unsigned char *first33, const unsigned char *second33);
/* SHA-256 of the compressed shared point. */
LNF_API int lnf_ecdh(unsigned char *out32, const unsigned char *point33, const unsigned char *secret32);
/* Compact, low S, RFC 6979 nonces; a low R is not sought. */
LNF_API int lnf_ecdsa_sign(unsigned char *out64, const unsigned char *msg32, const unsigned char *secret32);
/* 0 for a high S, as BOLT 3's transactions need it. */
LNF_API int lnf_ecdsa_verify_var(const unsigned char *sig64, const unsigned char *msg32, const unsigned char *point33);
LNF_API int lnf_ecdsa_sign_recoverable(unsigned char *out64, int *recovery_id, const unsigned char *msg32,
                                       const unsigned char *secret32);
LNF_API int lnf_ecdsa_recover_var(unsigned char *out33, const unsigned char *sig64, int recovery_id,
                                  const unsigned char *msg32);
/* BIP 340. */
LNF_API int lnf_schnorr_verify_var(const unsigned char *sig64, const unsigned char *msg, size_t msg_len,
                                   const unsigned char *xonly32);

/* BOLT 3, Key Derivation. */
LNF_API int lnf_derive_public_key(unsigned char *out33, const unsigned char *basepoint33,
                                  const unsigned char *per_commitment_point33);
LNF_API int lnf_derive_private_key(unsigned char *out32, const unsigned char *base_secret32,
                                   const unsigned char *per_commitment_point33);
LNF_API int lnf_derive_revocation_public_key(unsigned char *out33, const unsigned char *revocation_basepoint33,
                                             const unsigned char *per_commitment_point33);
LNF_API int lnf_derive_revocation_private_key(unsigned char *out32, const unsigned char *revocation_base_secret32,
                                              const unsigned char *per_commitment_secret32);

/* BOLT 3, generate_from_seed. index is below 2^48; the first one used is 2^48 - 1. */
LNF_API void lnf_per_commitment_secret(unsigned char *out32, const unsigned char *seed32, uint64_t index);
/* BOLT 3, Efficient Per-commitment Secret Storage: the secret of index out of that of from_index. Returns 0 if index is
 * not below from_index's prefix (from_index with its trailing zero bits cut off). */
LNF_API int lnf_shachain_derive(unsigned char *out32, const unsigned char *secret32, uint64_t from_index,
                                uint64_t index);

/* ---- script: templates of BOLT 3 -------------------------------------------------------------------------------- */

LNF_API void lnf_ripemd160(unsigned char *out20, const unsigned char *data, size_t len);
/* RIPEMD-160 of the SHA-256. */
LNF_API void lnf_hash160(unsigned char *out20, const unsigned char *data, size_t len);

#define LNF_SCRIPT_MAX 144 /* no script of these templates is longer */

/* Witness scripts. Points are not checked. Those without a fixed length return theirs. */
LNF_API void lnf_script_funding(unsigned char *out71, const unsigned char *funding_a33,
                                const unsigned char *funding_b33);
LNF_API size_t lnf_script_to_local(unsigned char *out, const unsigned char *revocation33, uint32_t to_self_delay,
                                   const unsigned char *delayed33);
/* With option_anchors; without it, to_remote is P2WPKH. */
LNF_API void lnf_script_to_remote(unsigned char *out37, const unsigned char *payment33);
LNF_API void lnf_script_anchor(unsigned char *out40, const unsigned char *funding33);
LNF_API size_t lnf_script_offered_htlc(unsigned char *out, const unsigned char *revocation33,
                                       const unsigned char *broadcaster_htlc33,
                                       const unsigned char *countersignatory_htlc33,
                                       const unsigned char *payment_hash32, int anchors);
LNF_API size_t lnf_script_received_htlc(unsigned char *out, const unsigned char *revocation33,
                                        const unsigned char *broadcaster_htlc33,
                                        const unsigned char *countersignatory_htlc33,
                                        const unsigned char *payment_hash32, uint32_t cltv_expiry, int anchors);

/* Scripts of outputs, version 0. */
LNF_API void lnf_script_p2wsh(unsigned char *out34, const unsigned char *script, size_t len);
LNF_API void lnf_script_p2wpkh(unsigned char *out22, const unsigned char *point33);

/* ---- tx: serialisation, txid, weight, BIP 143 ------------------------------------------------------------------- */

/* A transaction where it lies: offsets into raw, which must outlive it. */
typedef struct {
    const unsigned char *raw;
    size_t len;                       /* of the whole transaction */
    size_t body_at;                   /* the number of inputs: 4, or 6 behind marker and flag */
    size_t inputs_at, outputs_at;     /* the first input and the first output */
    size_t input_count, output_count; /* at least one each */
    size_t witness_at;                /* the end of the outputs */
    size_t lock_time_at;
    size_t weight;
    uint32_t version, lock_time;
    int has_witness;
} lnf_tx;

typedef struct {
    const unsigned char *outpoint36, *script;
    size_t script_len;
    uint32_t sequence;
} lnf_tx_in;

typedef struct {
    uint64_t value_sat;
    const unsigned char *script;
    size_t script_len;
} lnf_tx_out;

/* Finds a transaction at the start of raw. Returns 0 and says why (static storage) if it is cut off, not serialised in the
 * shortest way, without inputs or outputs, heavier than a block or holds an impossible amount. lnf_tx_parse takes the
 * whole of raw for one transaction. */
LNF_API int lnf_tx_walk(lnf_tx *tx, const char **why, const unsigned char *raw, size_t len);
LNF_API int lnf_tx_parse(lnf_tx *tx, const char **why, const unsigned char *raw, size_t len);

/* Read the input or output (or a number of the witness) at an offset, and return the offset behind it. Only for offsets
 * that come from tx itself or from these functions, and no more often than the counts say. */
LNF_API size_t lnf_tx_input(lnf_tx_in *input, const lnf_tx *tx, size_t at);
LNF_API size_t lnf_tx_output(lnf_tx_out *output, const lnf_tx *tx, size_t at);
LNF_API size_t lnf_tx_compact_size(uint64_t *n, const lnf_tx *tx, size_t at);

LNF_API void lnf_tx_txid(unsigned char *out32, const lnf_tx *tx);
LNF_API void lnf_tx_wtxid(unsigned char *out32, const lnf_tx *tx);

#define LNF_SIGHASH_ALL 1
#define LNF_SIGHASH_NONE 2
#define LNF_SIGHASH_SINGLE 3
#define LNF_SIGHASH_ANYONECANPAY 0x80

/* BIP 143. script_code is without its length. Returns 0 if there is no such input. */
LNF_API int lnf_tx_sighash_bip143(unsigned char *out32, const lnf_tx *tx, size_t index,
                                  const unsigned char *script_code, size_t script_len, uint64_t value_sat,
                                  uint32_t type);

/* ---- commitment: build, sign and verify ------------------------------------------------------------------------- */

#define LNF_COMMITMENT_HTLCS_MAX 966   /* BOLT 2: 483 in each direction */
#define LNF_COMMITMENT_OTHER_OUTPUTS 4 /* to_local, to_remote and two anchors */
#define LNF_COMMITMENT_RAW_MAX(htlcs) (54 + 43 * ((htlcs) + LNF_COMMITMENT_OTHER_OUTPUTS))

/* What all commitments of one party (the broadcaster) share, its points parsed. Made once by lnf_commitment_side_init. */
typedef struct {
    lnf_secp_pubkey revocation_basepoint; /* the countersignatory's */
    lnf_secp_pubkey delayed_basepoint, broadcaster_htlc_basepoint;
    lnf_secp_pubkey countersignatory_htlc_basepoint, countersignatory_funding;
    uint64_t channel_value_sat, dust_limit_sat, obscure_factor;
    uint32_t to_self_delay;
    uint8_t broadcaster_is_opener, anchors, to_remote_len;
    unsigned char broadcaster165[165], countersignatory165[165];
    unsigned char funding_outpoint36[36], funding_script71[71];
    unsigned char to_remote[34], broadcaster_anchor34[34], countersignatory_anchor34[34];
} lnf_commitment_side;

typedef struct {
    uint64_t amount_msat;
    uint32_t cltv_expiry;
    uint32_t offered; /* by the broadcaster */
    unsigned char payment_hash32[32];
} lnf_commitment_htlc;

typedef struct {
    uint64_t number;                                        /* counts up from 0, below 2^48 */
    uint64_t to_broadcaster_msat, to_countersignatory_msat; /* before fee and anchors */
    const unsigned char *per_commitment_point33;
    const lnf_commitment_htlc *htlcs;
    size_t htlc_count; /* at most LNF_COMMITMENT_HTLCS_MAX */
    uint32_t feerate_per_kw;
} lnf_commitment;

enum {
    LNF_OUTPUT_TO_LOCAL = -1,
    LNF_OUTPUT_TO_REMOTE = -2,
    LNF_OUTPUT_TO_LOCAL_ANCHOR = -3,
    LNF_OUTPUT_TO_REMOTE_ANCHOR = -4
};

typedef struct {
    uint64_t value_sat;
    int32_t kind;         /* one of the above, or the HTLC's place in lnf_commitment.htlcs */
    uint32_t cltv_expiry; /* this and the hash: of an HTLC */
    uint8_t offered, script_len;
    unsigned char script[34], payment_hash160[20];
} lnf_commitment_output;

typedef struct {
    unsigned char revocation33[33], delayed33[33], broadcaster_htlc33[33], countersignatory_htlc33[33];
    lnf_secp_pubkey countersignatory_htlc;
} lnf_commitment_keys;

typedef enum {
    LNF_FAULT_NONE,
    LNF_FAULT_BALANCE,   /* the amounts do not add up to the channel's value */
    LNF_FAULT_POINT,     /* the per-commitment point is not on the curve, or no key can be derived from it */
    LNF_FAULT_OVERSPENT, /* the opener's balance does not even reach for the anchors */
    LNF_FAULT_KEY,       /* a private key is out of range */
    LNF_FAULT_SIGNATURE,
    LNF_FAULT_HTLC_SIGNATURE_COUNT, /* fault_index: how many there must be */
    LNF_FAULT_HTLC_SIGNATURE        /* fault_index: which, in the order of the outputs */
} lnf_commitment_fault;

/* The HTLC scripts' shared parts; opaque. */
typedef struct {
    unsigned char offered[LNF_SCRIPT_MAX], received[LNF_SCRIPT_MAX];
    lnf_sha256_ctx midstate; /* after the first 64 bytes, which are the same in every HTLC script of a commitment */
    int anchors;
} lnf_htlc_scripts;

/* The caller sets raw (LNF_COMMITMENT_RAW_MAX(htlc_count) bytes) and outputs (htlc_count + LNF_COMMITMENT_OTHER_OUTPUTS). */
typedef struct {
    unsigned char *raw;             /* without witness */
    lnf_commitment_output *outputs; /* in the transaction's order */
    size_t raw_len, output_count, htlc_count, outputs_at;
    uint64_t fee_sat; /* what the transaction really pays: the channel's value less all outputs */
    unsigned char txid32[32], to_local34[34];
    lnf_commitment_keys keys; /* only those that the outputs need */
    lnf_htlc_scripts scripts;
    lnf_commitment_fault fault;
    size_t fault_index;
} lnf_built_commitment;

/* The points are funding, revocation, payment, delayed payment and htlc, as open_channel has them. dust_limit_sat and
 * to_self_delay are the broadcaster's. Returns 0 if a point is not on the curve. */
LNF_API int lnf_commitment_side_init(lnf_commitment_side *side, const unsigned char *funding_txid32,
                                     uint32_t funding_vout, uint64_t channel_value_sat,
                                     const unsigned char *broadcaster_points165,
                                     const unsigned char *countersignatory_points165, uint64_t dust_limit_sat,
                                     uint32_t to_self_delay, int broadcaster_is_opener, int anchors);

/* Derives all four keys. */
LNF_API int lnf_commitment_derive_keys(lnf_commitment_keys *keys, const lnf_commitment_side *side,
                                       const unsigned char *per_commitment_point33);

LNF_API uint64_t lnf_commitment_fee_sat(uint32_t feerate_per_kw, size_t untrimmed_htlcs, int anchors);
/* Of an HTLC-timeout transaction if offered, else of an HTLC-success transaction. */
LNF_API uint64_t lnf_htlc_tx_fee_sat(uint32_t feerate_per_kw, int offered, int anchors);

/* Each returns 0 with built->fault, and everything else in built zero (except the two pointers). */
LNF_API int lnf_commitment_build(lnf_built_commitment *built, const lnf_commitment_side *side,
                                 const lnf_commitment *commitment);
/* Verifies the countersignatory's signatures, the HTLCs' in the order of the outputs. */
LNF_API int lnf_commitment_verify(lnf_built_commitment *built, const lnf_commitment_side *side,
                                  const lnf_commitment *commitment, const unsigned char *signature64,
                                  const unsigned char *htlc_signatures64, size_t htlc_signature_count);
/* Signs as the countersignatory; its HTLC key is derived from htlc_base_key32. htlc_signatures64 has room for
 * 64 * htlc_count bytes; built->htlc_count of them are made. The signatures are not verified again. */
LNF_API int lnf_commitment_sign(lnf_built_commitment *built, unsigned char *signature64,
                                unsigned char *htlc_signatures64, const lnf_commitment_side *side,
                                const lnf_commitment *commitment, const unsigned char *funding_key32,
                                const unsigned char *htlc_base_key32);
/* The broadcaster's own signature of the commitment transaction. */
LNF_API int lnf_commitment_sign_broadcaster(lnf_built_commitment *built, unsigned char *signature64,
                                            const lnf_commitment_side *side, const lnf_commitment *commitment,
                                            const unsigned char *funding_key32);
/* Nothing but `count` signatures of 32-byte messages by one key, and their verification: what the functions above are measured
 * against. messages and signatures lie one behind another. */
LNF_API int lnf_raw_sign_loop(unsigned char *signatures64, size_t count, const unsigned char *messages32,
                              const unsigned char *key32);
LNF_API int lnf_raw_verify_loop(size_t count, const unsigned char *signatures64, const unsigned char *messages32,
                                const unsigned char *point33);
/* What both parties sign (SIGHASH_ALL) of a commitment that was built. */
LNF_API void lnf_commitment_sighash(unsigned char *out32, const lnf_built_commitment *built,
                                    const lnf_commitment_side *side);

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
 * calls again. The block's hash goes to hash32. Returns 0 (outputs zeroed) if the bytes are not exactly one
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
