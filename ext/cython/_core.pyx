"""Hands the host's libsecp256k1 to liblnfast."""

from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

from lnf cimport lnf_init, lnf_secp256k1, lnf_secp_error

# The members of lnf_secp256k1, in their order in lnfast.h.
FUNCTIONS = (
    "context_create", "context_destroy", "context_randomize", "context_set_illegal_callback",
    "context_set_error_callback", "ec_pubkey_parse", "ec_pubkey_serialize", "ec_seckey_verify", "ec_pubkey_create",
    "ec_pubkey_negate", "ec_seckey_negate", "ec_seckey_tweak_add", "ec_seckey_tweak_mul", "ec_pubkey_tweak_add",
    "ec_pubkey_tweak_mul", "ec_pubkey_combine", "ecdh", "ecdsa_sign", "ecdsa_verify", "ecdsa_signature_parse_compact",
    "ecdsa_signature_serialize_compact", "ecdsa_signature_parse_der", "ecdsa_signature_serialize_der",
    "ecdsa_signature_normalize", "ecdsa_sign_recoverable", "ecdsa_recoverable_signature_serialize_compact",
    "ecdsa_recoverable_signature_parse_compact", "ecdsa_recover", "xonly_pubkey_parse", "schnorrsig_verify",
)


def init(tuple addresses not None, bytes seed32 not None):
    """Fills the table with the addresses, in the order of FUNCTIONS; returns the function that failed, or None."""
    cdef lnf_secp256k1 table
    cdef uintptr_t[64] pointers
    cdef const char *failed = NULL
    if len(addresses) != len(FUNCTIONS) or sizeof(table) != len(FUNCTIONS) * sizeof(uintptr_t):
        raise ValueError(f"{len(addresses)} addresses for a table of {sizeof(table) // sizeof(uintptr_t)}")
    if len(seed32) != 32:
        raise ValueError(f"a seed of {len(seed32)} bytes, not 32")
    for i, address in enumerate(addresses):
        pointers[i] = address
    memcpy(&table, pointers, sizeof(table))
    if lnf_init(&failed, &table, seed32):
        return None
    return failed.decode()


def secp_error():
    """The first complaint that libsecp256k1 made in this process, or None."""
    cdef const char *message = lnf_secp_error()
    return None if message is NULL else message.decode()
