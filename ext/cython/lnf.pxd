# The only `cdef extern from "lnfast.h"` of the package: every binding cimports from here.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "lnfast.h" nogil:
    # secp
    ctypedef struct lnf_secp256k1:
        pass
    int lnf_init(const char **failed_name, const lnf_secp256k1 *functions, const unsigned char *seed32)
    const char *lnf_secp_error()

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

    # onion

    # keys

    # script

    # tx

    # commitment

    # watchset and block
