# The only `cdef extern from "lnfast.h"` of the package: every binding cimports from here.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "lnfast.h" nogil:
    # secp
    ctypedef struct lnf_secp256k1:
        pass
    int lnf_init(const char **failed_name, const lnf_secp256k1 *functions, const unsigned char *seed32)
    const char *lnf_secp_error()

    # cpu
    enum:
        LNF_CPU_SHA_NI
        LNF_CPU_AVX2
        LNF_CPU_AVX512
    unsigned int lnf_cpu_restrict(unsigned int allowed)

    # sha256
    void lnf_sha256(unsigned char *out32, const unsigned char *data, size_t len)
    void lnf_sha256d(unsigned char *out32, const unsigned char *data, size_t len)
    void lnf_hmac_sha256(unsigned char *out32, const unsigned char *key, size_t key_len, const unsigned char *data,
                         size_t len)
    void lnf_hkdf_sha256(unsigned char *out64, const unsigned char *salt, size_t salt_len, const unsigned char *ikm,
                         size_t ikm_len)

    # chacha
    void lnf_chacha20_xor(unsigned char *out, const unsigned char *inp, size_t len, const unsigned char *key32,
                          const unsigned char *nonce12, uint32_t counter)
    void lnf_aead_encrypt(unsigned char *out, const unsigned char *inp, size_t len, const unsigned char *ad,
                          size_t ad_len, const unsigned char *key32, const unsigned char *nonce12)
    int lnf_aead_decrypt(unsigned char *out, const unsigned char *inp, size_t len, const unsigned char *ad,
                         size_t ad_len, const unsigned char *key32, const unsigned char *nonce12)

    # noise
    ctypedef struct lnf_noise_handshake:
        pass
    ctypedef struct lnf_noise_cipher:
        int32_t body_len
    ctypedef enum lnf_noise_error:
        LNF_NOISE_OK
    enum:
        LNF_NOISE_ACT_ONE_BYTES
        LNF_NOISE_ACT_TWO_BYTES
        LNF_NOISE_ACT_THREE_BYTES
        LNF_NOISE_HEADER_BYTES
        LNF_NOISE_TAG_BYTES
        LNF_NOISE_MAX_MESSAGE_BYTES
        LNF_NOISE_OVERHEAD_BYTES
    int lnf_noise_initiate(lnf_noise_handshake *handshake, unsigned char *act_one50,
                           const unsigned char *ephemeral_secret32, const unsigned char *static_secret32,
                           const unsigned char *their_static33)
    int lnf_noise_respond(lnf_noise_handshake *handshake, const unsigned char *ephemeral_secret32,
                          const unsigned char *static_secret32)
    int lnf_noise_act_two(unsigned char *act_two50, lnf_noise_error *error, lnf_noise_handshake *handshake,
                          const unsigned char *act_one50)
    int lnf_noise_act_three(unsigned char *act_three66, lnf_noise_cipher *send, lnf_noise_cipher *receive,
                            lnf_noise_error *error, lnf_noise_handshake *handshake, const unsigned char *act_two50)
    int lnf_noise_finish(unsigned char *their_static33, lnf_noise_cipher *send, lnf_noise_cipher *receive,
                         lnf_noise_error *error, lnf_noise_handshake *handshake, const unsigned char *act_three66)
    void lnf_noise_encrypt(unsigned char *out, lnf_noise_cipher *send, const unsigned char *const *messages,
                           const size_t *lens, size_t n)
    int lnf_noise_decrypt(unsigned char *out, size_t *lens, size_t *n, size_t *consumed, lnf_noise_cipher *receive,
                          const unsigned char *inp, size_t len, size_t out_size, size_t max_messages)
    void lnf_noise_wipe_handshake(lnf_noise_handshake *handshake)
    void lnf_noise_wipe_cipher(lnf_noise_cipher *cipher)

    # onion
    ctypedef struct lnf_onion_hop:
        const unsigned char *node_id33
        const unsigned char *payload
        size_t payload_len
    ctypedef struct lnf_onion_sealed:
        const unsigned char *packet
        size_t packet_len
        const unsigned char *associated_data
        size_t associated_data_len
        const unsigned char *path_key33
    ctypedef enum lnf_onion_error:
        LNF_ONION_OK
        LNF_ONION_BAD_VERSION
        LNF_ONION_BAD_HMAC
        LNF_ONION_BAD_KEY
        LNF_ONION_BAD_PAYLOAD
    ctypedef struct lnf_onion_peeled:
        unsigned char *unwrapped
        unsigned char *next_packet
        size_t payload_offset
        size_t payload_len
        int is_final
        lnf_onion_error error
        unsigned char shared_secret32[32]
        unsigned char path_secret32[32]
        unsigned char sha256_of_onion32[32]
    int lnf_onion_build(unsigned char *packet, unsigned char *shared_secrets, size_t packet_len,
                        const unsigned char *session_key32, const lnf_onion_hop *hops, size_t n_hops,
                        const unsigned char *associated_data, size_t associated_data_len)
    size_t lnf_onion_peel_batch(lnf_onion_peeled *outs, const lnf_onion_sealed *ins, size_t n,
                                const unsigned char *node_secret32)
    size_t lnf_failure_packet_bytes(size_t message_len)
    void lnf_failure_packet_create(unsigned char *packet, const unsigned char *message, size_t message_len,
                                   const unsigned char *shared_secret32)
    void lnf_failure_packet_wrap(unsigned char *packet, size_t packet_len, const unsigned char *shared_secret32)
    int lnf_failure_packet_unwrap(unsigned char *message, size_t *message_len, size_t *hop, const unsigned char *packet,
                                  size_t packet_len, const unsigned char *shared_secrets, size_t n_hops)

    # keys
    int lnf_seckey_valid(const unsigned char *secret32)
    int lnf_seckey_add(unsigned char *out32, const unsigned char *secret32, const unsigned char *tweak32)
    int lnf_seckey_mul(unsigned char *out32, const unsigned char *secret32, const unsigned char *tweak32)
    int lnf_pubkey_create(unsigned char *out33, const unsigned char *secret32)
    int lnf_pubkey_valid(const unsigned char *point33)
    int lnf_pubkey_tweak_add(unsigned char *out33, const unsigned char *point33, const unsigned char *tweak32)
    int lnf_pubkey_tweak_mul(unsigned char *out33, const unsigned char *point33, const unsigned char *tweak32)
    int lnf_pubkey_combine(unsigned char *out33, const unsigned char *first33, const unsigned char *second33)
    int lnf_ecdh(unsigned char *out32, const unsigned char *point33, const unsigned char *secret32)
    int lnf_ecdsa_sign(unsigned char *out64, const unsigned char *msg32, const unsigned char *secret32)
    int lnf_ecdsa_verify_var(const unsigned char *sig64, const unsigned char *msg32, const unsigned char *point33)
    int lnf_ecdsa_sign_recoverable(unsigned char *out64, int *recovery_id, const unsigned char *msg32,
                                   const unsigned char *secret32)
    int lnf_ecdsa_recover_var(unsigned char *out33, const unsigned char *sig64, int recovery_id, const unsigned char *msg32)
    int lnf_schnorr_verify_var(const unsigned char *sig64, const unsigned char *msg, size_t msg_len,
                               const unsigned char *xonly32)
    int lnf_derive_public_key(unsigned char *out33, const unsigned char *basepoint33,
                              const unsigned char *per_commitment_point33)
    int lnf_derive_private_key(unsigned char *out32, const unsigned char *base_secret32,
                               const unsigned char *per_commitment_point33)
    int lnf_derive_revocation_public_key(unsigned char *out33, const unsigned char *revocation_basepoint33,
                                         const unsigned char *per_commitment_point33)
    int lnf_derive_revocation_private_key(unsigned char *out32, const unsigned char *revocation_base_secret32,
                                          const unsigned char *per_commitment_secret32)
    void lnf_per_commitment_secret(unsigned char *out32, const unsigned char *seed32, uint64_t index)
    int lnf_shachain_derive(unsigned char *out32, const unsigned char *secret32, uint64_t from_index, uint64_t index)

    # script
    int LNF_SCRIPT_MAX
    void lnf_ripemd160(unsigned char *out20, const unsigned char *data, size_t len)
    void lnf_hash160(unsigned char *out20, const unsigned char *data, size_t len)
    void lnf_script_funding(unsigned char *out71, const unsigned char *funding_a33, const unsigned char *funding_b33)
    size_t lnf_script_to_local(unsigned char *out, const unsigned char *revocation33, uint32_t to_self_delay,
                               const unsigned char *delayed33)
    void lnf_script_to_remote(unsigned char *out37, const unsigned char *payment33)
    void lnf_script_anchor(unsigned char *out40, const unsigned char *funding33)
    size_t lnf_script_offered_htlc(unsigned char *out, const unsigned char *revocation33,
                                   const unsigned char *broadcaster_htlc33,
                                   const unsigned char *countersignatory_htlc33, const unsigned char *payment_hash32,
                                   int anchors)
    size_t lnf_script_received_htlc(unsigned char *out, const unsigned char *revocation33,
                                    const unsigned char *broadcaster_htlc33,
                                    const unsigned char *countersignatory_htlc33, const unsigned char *payment_hash32,
                                    uint32_t cltv_expiry, int anchors)
    void lnf_script_p2wsh(unsigned char *out34, const unsigned char *script, size_t len)
    void lnf_script_p2wpkh(unsigned char *out22, const unsigned char *point33)

    # tx
    ctypedef struct lnf_tx:
        size_t len
        size_t inputs_at
        size_t outputs_at
        size_t input_count
        size_t output_count
        size_t witness_at
        size_t weight
        uint32_t version
        uint32_t lock_time
        int has_witness
    ctypedef struct lnf_tx_in:
        const unsigned char *outpoint36
        const unsigned char *script
        size_t script_len
        uint32_t sequence
    ctypedef struct lnf_tx_out:
        uint64_t value_sat
        const unsigned char *script
        size_t script_len
    int lnf_tx_walk(lnf_tx *tx, const char **why, const unsigned char *raw, size_t len)
    int lnf_tx_parse(lnf_tx *tx, const char **why, const unsigned char *raw, size_t len)
    size_t lnf_tx_input(lnf_tx_in *input, const lnf_tx *tx, size_t at)
    size_t lnf_tx_output(lnf_tx_out *output, const lnf_tx *tx, size_t at)
    size_t lnf_tx_compact_size(uint64_t *n, const lnf_tx *tx, size_t at)
    void lnf_tx_txid(unsigned char *out32, const lnf_tx *tx)
    void lnf_tx_wtxid(unsigned char *out32, const lnf_tx *tx)
    int lnf_tx_sighash_bip143(unsigned char *out32, const lnf_tx *tx, size_t index, const unsigned char *script_code,
                              size_t script_len, uint64_t value_sat, uint32_t type)

    # commitment
    int LNF_COMMITMENT_HTLCS_MAX
    int LNF_COMMITMENT_OTHER_OUTPUTS
    size_t LNF_COMMITMENT_RAW_MAX(size_t htlcs)
    ctypedef struct lnf_commitment_side:
        pass
    ctypedef struct lnf_commitment_htlc:
        uint64_t amount_msat
        uint32_t cltv_expiry
        uint32_t offered
        unsigned char payment_hash32[32]
    ctypedef struct lnf_commitment:
        uint64_t number
        uint64_t to_broadcaster_msat
        uint64_t to_countersignatory_msat
        const unsigned char *per_commitment_point33
        const lnf_commitment_htlc *htlcs
        size_t htlc_count
        uint32_t feerate_per_kw
    enum:
        LNF_OUTPUT_TO_LOCAL
        LNF_OUTPUT_TO_REMOTE
        LNF_OUTPUT_TO_LOCAL_ANCHOR
        LNF_OUTPUT_TO_REMOTE_ANCHOR
    ctypedef struct lnf_commitment_output:
        uint64_t value_sat
        int kind
    ctypedef struct lnf_commitment_keys:
        unsigned char revocation33[33]
        unsigned char delayed33[33]
        unsigned char broadcaster_htlc33[33]
        unsigned char countersignatory_htlc33[33]
    ctypedef enum lnf_commitment_fault:
        LNF_FAULT_NONE
        LNF_FAULT_BALANCE
        LNF_FAULT_POINT
        LNF_FAULT_OVERSPENT
        LNF_FAULT_KEY
        LNF_FAULT_SIGNATURE
        LNF_FAULT_HTLC_SIGNATURE_COUNT
        LNF_FAULT_HTLC_SIGNATURE
    ctypedef struct lnf_built_commitment:
        unsigned char *raw
        lnf_commitment_output *outputs
        size_t raw_len
        size_t output_count
        size_t htlc_count
        uint64_t fee_sat
        unsigned char txid32[32]
        lnf_commitment_fault fault
        size_t fault_index
    int lnf_commitment_side_init(lnf_commitment_side *side, const unsigned char *funding_txid32, uint32_t funding_vout,
                                 uint64_t channel_value_sat, const unsigned char *broadcaster_points165,
                                 const unsigned char *countersignatory_points165, uint64_t dust_limit_sat,
                                 uint32_t to_self_delay, int broadcaster_is_opener, int anchors)
    int lnf_commitment_derive_keys(lnf_commitment_keys *keys, const lnf_commitment_side *side,
                                   const unsigned char *per_commitment_point33)
    uint64_t lnf_commitment_fee_sat(uint32_t feerate_per_kw, size_t untrimmed_htlcs, int anchors)
    uint64_t lnf_htlc_tx_fee_sat(uint32_t feerate_per_kw, int offered, int anchors)
    int lnf_commitment_build(lnf_built_commitment *built, const lnf_commitment_side *side,
                             const lnf_commitment *commitment)
    int lnf_commitment_verify(lnf_built_commitment *built, const lnf_commitment_side *side,
                              const lnf_commitment *commitment, const unsigned char *signature64,
                              const unsigned char *htlc_signatures64, size_t htlc_signature_count)
    int lnf_commitment_sign(lnf_built_commitment *built, unsigned char *signature64, unsigned char *htlc_signatures64,
                            const lnf_commitment_side *side, const lnf_commitment *commitment,
                            const unsigned char *funding_key32, const unsigned char *htlc_base_key32)
    int lnf_raw_sign_loop(unsigned char *signatures64, size_t count, const unsigned char *messages32,
                          const unsigned char *key32)
    int lnf_raw_verify_loop(size_t count, const unsigned char *signatures64, const unsigned char *messages32,
                            const unsigned char *point33)
    int lnf_commitment_sign_broadcaster(lnf_built_commitment *built, unsigned char *signature64,
                                        const lnf_commitment_side *side, const lnf_commitment *commitment,
                                        const unsigned char *funding_key32)
    void lnf_commitment_sighash(unsigned char *out32, const lnf_built_commitment *built,
                                const lnf_commitment_side *side)

    # watchset and block
    ctypedef struct lnf_watchset:
        pass
    ctypedef struct lnf_block_hit:
        unsigned char txid32[32]
        uint32_t tx_index
        uint32_t tx_offset
        uint32_t tx_len
        uint32_t kind
        uint32_t index
    enum:
        LNF_HIT_OUTPOINT
        LNF_HIT_SCRIPT
        LNF_HIT_JOINED
    lnf_watchset *lnf_watchset_create(const unsigned char *seed32)
    void lnf_watchset_destroy(lnf_watchset *set)
    int lnf_watchset_add_outpoint(lnf_watchset *set, const unsigned char *outpoint36)
    int lnf_watchset_add_script(lnf_watchset *set, const unsigned char *script, size_t script_len)
    int lnf_watchset_remove_outpoint(lnf_watchset *set, const unsigned char *outpoint36)
    int lnf_watchset_remove_script(lnf_watchset *set, const unsigned char *script, size_t script_len)
    uint32_t lnf_watchset_count_outpoint(const lnf_watchset *set, const unsigned char *outpoint36)
    uint32_t lnf_watchset_count_script(const lnf_watchset *set, const unsigned char *script, size_t script_len)
    size_t lnf_watchset_size(const lnf_watchset *set)
    int lnf_block_scan(unsigned char *hash32, lnf_block_hit *hits, size_t *n_hits, size_t max_hits,
                       const lnf_watchset *set, const unsigned char *block, size_t block_len)
    int lnf_block_check_header(unsigned char *hash32, const unsigned char *header80, const unsigned char *prev32,
                               uint32_t limit_bits)
    int lnf_block_check_merkle_root(const unsigned char *block, size_t block_len)
