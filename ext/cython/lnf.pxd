# The only `cdef extern from "lnfast.h"` of the package: every binding cimports from here.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "lnfast.h" nogil:
    # secp
    ctypedef struct lnf_secp256k1:
        pass
    int lnf_init(const char **failed_name, const lnf_secp256k1 *functions, const unsigned char *seed32)
    const char *lnf_secp_error()

    # sha256

    # chacha

    # noise

    # onion

    # keys

    # script

    # tx

    # commitment

    # watchset and block
