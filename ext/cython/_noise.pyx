"""BOLT 8 for pyln_fast.peer.noise, and the hashes and ciphers under it for the tests."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t

from buffers cimport any_bytes, bytes_of, new_bytes
from lnf cimport (
    LNF_CPU_AVX2,
    LNF_CPU_AVX512,
    LNF_CPU_SHA_NI,
    LNF_NOISE_ACT_ONE_BYTES,
    LNF_NOISE_ACT_THREE_BYTES,
    LNF_NOISE_ACT_TWO_BYTES,
    LNF_NOISE_HEADER_BYTES,
    LNF_NOISE_MAX_MESSAGE_BYTES,
    LNF_NOISE_OK,
    LNF_NOISE_OVERHEAD_BYTES,
    LNF_NOISE_TAG_BYTES,
    lnf_aead_decrypt,
    lnf_aead_encrypt,
    lnf_chacha20_xor,
    lnf_cpu_restrict,
    lnf_hkdf_sha256,
    lnf_hmac_sha256,
    lnf_noise_act_three,
    lnf_noise_act_two,
    lnf_noise_cipher,
    lnf_noise_decrypt,
    lnf_noise_encrypt,
    lnf_noise_error,
    lnf_noise_finish,
    lnf_noise_handshake,
    lnf_noise_initiate,
    lnf_noise_respond,
    lnf_noise_wipe_cipher,
    lnf_noise_wipe_handshake,
    lnf_sha256,
    lnf_sha256d,
)

MAX_MESSAGE_BYTES = LNF_NOISE_MAX_MESSAGE_BYTES
ACT_BYTES = (LNF_NOISE_ACT_ONE_BYTES, LNF_NOISE_ACT_TWO_BYTES, LNF_NOISE_ACT_THREE_BYTES)

CPU_SHA_NI = LNF_CPU_SHA_NI
CPU_AVX2 = LNF_CPU_AVX2
CPU_AVX512 = LNF_CPU_AVX512

# Messages in one call of liblnfast: what an array on the stack holds.
cdef enum:
    BATCH = 128
    # Above this many bytes a call takes more than 20 us.
    RELEASE_GIL_BYTES = 32768


class HandshakeRefused(ValueError):
    """An act that is wrong: args[0] is the lnf_noise_error."""


class FrameRefused(ValueError):
    """A tag that does not match: args[0] is the list of the messages before it in the same read."""


cdef inline unsigned char *data_of(bytes fresh) noexcept:
    return <unsigned char *>PyBytes_AS_STRING(fresh)


cdef class Transport:
    """Both directions of an established connection. One thread at a time; only Handshake makes it."""

    cdef lnf_noise_cipher send
    cdef lnf_noise_cipher receive

    def __cinit__(self):
        lnf_noise_wipe_cipher(&self.send)
        lnf_noise_wipe_cipher(&self.receive)

    def __dealloc__(self):
        lnf_noise_wipe_cipher(&self.send)
        lnf_noise_wipe_cipher(&self.receive)

    @property
    def needed(self):
        """The bytes without which decrypt makes no progress."""
        if self.receive.body_len < 0:
            return LNF_NOISE_HEADER_BYTES
        return self.receive.body_len + LNF_NOISE_TAG_BYTES

    def encrypt(self, list messages not None):
        """The frames of all messages, in one string. Raises ValueError if a message is too long; nothing changes then."""
        cdef const unsigned char *pointers[BATCH]
        cdef size_t lens[BATCH]
        cdef Py_ssize_t total = 0, length, i, n, done = 0
        cdef bytes message
        # The caller's list may change while the GIL is released.
        cdef tuple held = tuple(messages)
        for message in held:
            if message is None:
                raise TypeError("a message is None")
            length = PyBytes_GET_SIZE(message)
            if length > LNF_NOISE_MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes")
            total += length + LNF_NOISE_OVERHEAD_BYTES
        cdef bytes frames = new_bytes(total)
        cdef unsigned char *out = data_of(frames)
        while done < len(held):
            n = min(len(held) - done, <Py_ssize_t>BATCH)
            total = 0
            for i in range(n):
                message = <bytes>held[done + i]
                pointers[i] = <const unsigned char *>PyBytes_AS_STRING(message)
                lens[i] = PyBytes_GET_SIZE(message)
                total += lens[i] + LNF_NOISE_OVERHEAD_BYTES
            if total > RELEASE_GIL_BYTES:
                with nogil:
                    lnf_noise_encrypt(out, &self.send, pointers, lens, n)
            else:
                lnf_noise_encrypt(out, &self.send, pointers, lens, n)
            out += total
            done += n
        return frames

    def decrypt(self, bytes data not None):
        """(bytes consumed, messages) of the whole frames that data starts with. Raises FrameRefused."""
        cdef unsigned char plain[LNF_NOISE_MAX_MESSAGE_BYTES]
        cdef size_t lens[BATCH]
        cdef size_t n = 0, used = 0, i
        cdef Py_ssize_t done = 0, size = PyBytes_GET_SIZE(data)
        cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef const unsigned char *message
        cdef int ok = 1
        cdef list messages = []
        while True:
            if size - done > RELEASE_GIL_BYTES:
                with nogil:
                    ok = lnf_noise_decrypt(plain, lens, &n, &used, &self.receive, start + done, size - done,
                                           LNF_NOISE_MAX_MESSAGE_BYTES, BATCH)
            else:
                ok = lnf_noise_decrypt(plain, lens, &n, &used, &self.receive, start + done, size - done,
                                       LNF_NOISE_MAX_MESSAGE_BYTES, BATCH)
            message = plain
            for i in range(n):
                messages.append(PyBytes_FromStringAndSize(<const char *>message, lens[i]))
                message += lens[i]
            if not ok:
                raise FrameRefused(messages)
            done += used
            if n == 0:
                return done, messages


cdef class Handshake:
    """One side of a handshake."""

    cdef lnf_noise_handshake state

    def __cinit__(self):
        lnf_noise_wipe_handshake(&self.state)

    def __dealloc__(self):
        lnf_noise_wipe_handshake(&self.state)

    def initiate(self, ephemeral_secret, static_secret, their_static):
        """Act one. Raises ValueError if a key is not valid."""
        cdef const unsigned char *ephemeral_secret32 = bytes_of(ephemeral_secret, 32, "the ephemeral key")
        cdef const unsigned char *static_secret32 = bytes_of(static_secret, 32, "the static key")
        cdef const unsigned char *their_static33 = bytes_of(their_static, 33, "the peer's static key")
        cdef bytes act_one = new_bytes(LNF_NOISE_ACT_ONE_BYTES)
        if not lnf_noise_initiate(&self.state, data_of(act_one), ephemeral_secret32, static_secret32, their_static33):
            raise ValueError("a key is not valid")
        return act_one

    def respond(self, ephemeral_secret, static_secret):
        """Ready for act one. Raises ValueError if a key is not valid."""
        cdef const unsigned char *ephemeral_secret32 = bytes_of(ephemeral_secret, 32, "the ephemeral key")
        cdef const unsigned char *static_secret32 = bytes_of(static_secret, 32, "the static key")
        if not lnf_noise_respond(&self.state, ephemeral_secret32, static_secret32):
            raise ValueError("a key is not valid")

    def act_two(self, act_one):
        """Act two. Raises HandshakeRefused."""
        cdef const unsigned char *act_one50 = bytes_of(act_one, LNF_NOISE_ACT_ONE_BYTES, "act one")
        cdef lnf_noise_error error
        cdef bytes act_two = new_bytes(LNF_NOISE_ACT_TWO_BYTES)
        if not lnf_noise_act_two(data_of(act_two), &error, &self.state, act_one50):
            raise HandshakeRefused(<int>error)
        return act_two

    def act_three(self, act_two):
        """(act three, Transport). Raises HandshakeRefused."""
        cdef const unsigned char *act_two50 = bytes_of(act_two, LNF_NOISE_ACT_TWO_BYTES, "act two")
        cdef lnf_noise_error error
        cdef Transport transport = Transport()
        cdef bytes act_three = new_bytes(LNF_NOISE_ACT_THREE_BYTES)
        if not lnf_noise_act_three(data_of(act_three), &transport.send, &transport.receive, &error, &self.state,
                                   act_two50):
            raise HandshakeRefused(<int>error)
        return act_three, transport

    def finish(self, act_three):
        """(the initiator's static key, Transport). Raises HandshakeRefused."""
        cdef const unsigned char *act_three66 = bytes_of(act_three, LNF_NOISE_ACT_THREE_BYTES, "act three")
        cdef lnf_noise_error error
        cdef Transport transport = Transport()
        cdef bytes their_static = new_bytes(33)
        if not lnf_noise_finish(data_of(their_static), &transport.send, &transport.receive, &error, &self.state,
                                act_three66):
            raise HandshakeRefused(<int>error)
        return their_static, transport


def sha256(data):
    cdef const unsigned char *start = any_bytes(data, "data")
    cdef bytes out = new_bytes(32)
    lnf_sha256(data_of(out), start, PyBytes_GET_SIZE(data))
    return out


def sha256d(data):
    cdef const unsigned char *start = any_bytes(data, "data")
    cdef bytes out = new_bytes(32)
    lnf_sha256d(data_of(out), start, PyBytes_GET_SIZE(data))
    return out


def hmac_sha256(key, data):
    cdef const unsigned char *key_start = any_bytes(key, "key")
    cdef const unsigned char *start = any_bytes(data, "data")
    cdef bytes out = new_bytes(32)
    lnf_hmac_sha256(data_of(out), key_start, PyBytes_GET_SIZE(key), start, PyBytes_GET_SIZE(data))
    return out


def hkdf_sha256(salt, ikm):
    """64 bytes."""
    cdef const unsigned char *salt_start = any_bytes(salt, "salt")
    cdef const unsigned char *start = any_bytes(ikm, "ikm")
    cdef bytes out = new_bytes(64)
    lnf_hkdf_sha256(data_of(out), salt_start, PyBytes_GET_SIZE(salt), start, PyBytes_GET_SIZE(ikm))
    return out


def chacha20_xor(data, key, nonce, uint32_t counter):
    cdef const unsigned char *start = any_bytes(data, "data")
    cdef const unsigned char *key32 = bytes_of(key, 32, "key")
    cdef const unsigned char *nonce12 = bytes_of(nonce, 12, "nonce")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef bytes out = new_bytes(size)
    lnf_chacha20_xor(data_of(out), start, size, key32, nonce12, counter)
    return out


def aead_encrypt(data, ad, key, nonce):
    cdef const unsigned char *start = any_bytes(data, "data")
    cdef const unsigned char *ad_start = any_bytes(ad, "ad")
    cdef const unsigned char *key32 = bytes_of(key, 32, "key")
    cdef const unsigned char *nonce12 = bytes_of(nonce, 12, "nonce")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef bytes out = new_bytes(size + LNF_NOISE_TAG_BYTES)
    lnf_aead_encrypt(data_of(out), start, size, ad_start, PyBytes_GET_SIZE(ad), key32, nonce12)
    return out


def aead_decrypt(data, ad, key, nonce):
    """The plaintext. Raises ValueError if the tag does not match."""
    cdef const unsigned char *start = any_bytes(data, "data")
    cdef const unsigned char *ad_start = any_bytes(ad, "ad")
    cdef const unsigned char *key32 = bytes_of(key, 32, "key")
    cdef const unsigned char *nonce12 = bytes_of(nonce, 12, "nonce")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    if size < LNF_NOISE_TAG_BYTES:
        raise ValueError("shorter than a tag")
    cdef bytes out = new_bytes(size - LNF_NOISE_TAG_BYTES)
    if not lnf_aead_decrypt(data_of(out), start, size - LNF_NOISE_TAG_BYTES, ad_start, PyBytes_GET_SIZE(ad), key32, nonce12):
        raise ValueError("the tag does not match")
    return out


def cpu_restrict(unsigned int allowed):
    """For tests and benchmarks: the fast paths to take, as CPU_*. Returns those that this CPU has."""
    return lnf_cpu_restrict(allowed)
