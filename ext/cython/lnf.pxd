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

    # keys

    # script

    # tx

    # commitment

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
