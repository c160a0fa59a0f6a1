"""Elliptic curve operations and BOLT 3's key derivation. ValueError says that a point or a scalar is not one."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from buffers cimport any_bytes, bytes_of, new_bytes
cimport lnf

INDEX_LIMIT = 1 << 48

cdef object NOT_A_POINT = "not a point on the curve, or the result is none"
cdef object NOT_A_SCALAR = "not a scalar, or the result is none"

# Two bytes in, one out; what the C functions of this file look like.
ctypedef int (*binary_operation)(unsigned char *, const unsigned char *, const unsigned char *) noexcept nogil


cdef inline unsigned char *start(bytes value) noexcept:
    return <unsigned char *>PyBytes_AS_STRING(value)


cdef inline bytes to_point(binary_operation f, const unsigned char *a, const unsigned char *b):
    cdef bytes out = new_bytes(33)
    cdef unsigned char *p = start(out)
    cdef int ok
    with nogil:
        ok = f(p, a, b)
    if not ok:
        raise ValueError(NOT_A_POINT)
    return out


cdef inline bytes to_scalar(binary_operation f, const unsigned char *a, const unsigned char *b):
    cdef bytes out = new_bytes(32)
    cdef unsigned char *p = start(out)
    cdef int ok
    with nogil:
        ok = f(p, a, b)
    if not ok:
        raise ValueError(NOT_A_SCALAR)
    return out


def seckey_valid(secret):
    return lnf.lnf_seckey_valid(bytes_of(secret, 32, "secret")) == 1


def seckey_add(secret, tweak):
    return to_scalar(lnf.lnf_seckey_add, bytes_of(secret, 32, "secret"), bytes_of(tweak, 32, "tweak"))


def seckey_mul(secret, tweak):
    return to_scalar(lnf.lnf_seckey_mul, bytes_of(secret, 32, "secret"), bytes_of(tweak, 32, "tweak"))


def pubkey_create(secret):
    cdef const unsigned char *s = bytes_of(secret, 32, "secret")
    cdef bytes out = new_bytes(33)
    cdef unsigned char *p = start(out)
    cdef int ok
    with nogil:
        ok = lnf.lnf_pubkey_create(p, s)
    if not ok:
        raise ValueError(NOT_A_SCALAR)
    return out


def pubkey_valid(point):
    cdef const unsigned char *p = any_bytes(point, "point")
    return PyBytes_GET_SIZE(point) == 33 and lnf.lnf_pubkey_valid(p) == 1


def pubkey_tweak_add(point, tweak):
    return to_point(lnf.lnf_pubkey_tweak_add, bytes_of(point, 33, "point"), bytes_of(tweak, 32, "tweak"))


def pubkey_tweak_mul(point, tweak):
    return to_point(lnf.lnf_pubkey_tweak_mul, bytes_of(point, 33, "point"), bytes_of(tweak, 32, "tweak"))


def pubkey_combine(first, second):
    return to_point(lnf.lnf_pubkey_combine, bytes_of(first, 33, "point"), bytes_of(second, 33, "point"))


def ecdh(point, secret):
    return to_scalar(lnf.lnf_ecdh, bytes_of(point, 33, "point"), bytes_of(secret, 32, "secret"))


def ecdsa_sign(msg, secret):
    cdef const unsigned char *m = bytes_of(msg, 32, "msg")
    cdef const unsigned char *s = bytes_of(secret, 32, "secret")
    cdef bytes out = new_bytes(64)
    cdef unsigned char *p = start(out)
    cdef int ok
    with nogil:
        ok = lnf.lnf_ecdsa_sign(p, m, s)
    if not ok:
        raise ValueError(NOT_A_SCALAR)
    return out


def ecdsa_verify(sig, msg, point):
    cdef const unsigned char *s = bytes_of(sig, 64, "sig")
    cdef const unsigned char *m = bytes_of(msg, 32, "msg")
    cdef const unsigned char *p = bytes_of(point, 33, "point")
    cdef int ok
    with nogil:
        ok = lnf.lnf_ecdsa_verify_var(s, m, p)
    return ok == 1


def ecdsa_sign_recoverable(msg, secret):
    cdef const unsigned char *m = bytes_of(msg, 32, "msg")
    cdef const unsigned char *s = bytes_of(secret, 32, "secret")
    cdef bytes out = new_bytes(64)
    cdef unsigned char *p = start(out)
    cdef int ok, recovery_id
    with nogil:
        ok = lnf.lnf_ecdsa_sign_recoverable(p, &recovery_id, m, s)
    if not ok:
        raise ValueError(NOT_A_SCALAR)
    return out, recovery_id


def ecdsa_recover(sig, int recovery_id, msg):
    cdef const unsigned char *s = bytes_of(sig, 64, "sig")
    cdef const unsigned char *m = bytes_of(msg, 32, "msg")
    cdef bytes out = new_bytes(33)
    cdef unsigned char *p = start(out)
    cdef int ok
    with nogil:
        ok = lnf.lnf_ecdsa_recover_var(p, s, recovery_id, m)
    if not ok:
        raise ValueError("no public key has this signature")
    return out


def schnorr_verify(sig, msg, xonly):
    cdef const unsigned char *s = bytes_of(sig, 64, "sig")
    cdef const unsigned char *m = any_bytes(msg, "msg")
    cdef size_t m_len = PyBytes_GET_SIZE(msg)
    cdef const unsigned char *p = bytes_of(xonly, 32, "xonly")
    cdef int ok
    with nogil:
        ok = lnf.lnf_schnorr_verify_var(s, m, m_len, p)
    return ok == 1


def derive_public_key(basepoint, per_commitment_point):
    return to_point(
        lnf.lnf_derive_public_key, bytes_of(basepoint, 33, "basepoint"),
        bytes_of(per_commitment_point, 33, "per_commitment_point"),
    )


def derive_private_key(base_secret, per_commitment_point):
    return to_scalar(
        lnf.lnf_derive_private_key, bytes_of(base_secret, 32, "base_secret"),
        bytes_of(per_commitment_point, 33, "per_commitment_point"),
    )


def derive_revocation_public_key(revocation_basepoint, per_commitment_point):
    return to_point(
        lnf.lnf_derive_revocation_public_key, bytes_of(revocation_basepoint, 33, "revocation_basepoint"),
        bytes_of(per_commitment_point, 33, "per_commitment_point"),
    )


def derive_revocation_private_key(revocation_base_secret, per_commitment_secret):
    return to_scalar(
        lnf.lnf_derive_revocation_private_key, bytes_of(revocation_base_secret, 32, "revocation_base_secret"),
        bytes_of(per_commitment_secret, 32, "per_commitment_secret"),
    )


def per_commitment_secret(seed, uint64_t index):
    cdef const unsigned char *s = bytes_of(seed, 32, "seed")
    cdef bytes out = new_bytes(32)
    if index >= <uint64_t>INDEX_LIMIT:
        raise ValueError(f"index {index}: not below 2^48")
    lnf.lnf_per_commitment_secret(start(out), s, index)
    return out


def shachain_derive(secret, uint64_t from_index, uint64_t index):
    """The secret of index, or None where that of from_index does not lead to it."""
    cdef const unsigned char *s = bytes_of(secret, 32, "secret")
    cdef bytes out = new_bytes(32)
    return out if lnf.lnf_shachain_derive(start(out), s, from_index, index) else None
