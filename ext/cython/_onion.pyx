"""Onion packets and failure packets of BOLT 4."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from buffers cimport any_bytes, bytes_of, new_bytes
cimport lnf

# The reasons of a refusal, as peel_batch returns them.
BAD_VERSION = lnf.LNF_ONION_BAD_VERSION
BAD_HMAC = lnf.LNF_ONION_BAD_HMAC
BAD_KEY = lnf.LNF_ONION_BAD_KEY
BAD_PAYLOAD = lnf.LNF_ONION_BAD_PAYLOAD

cdef size_t MAX_HOPS = 512
cdef Py_ssize_t MAX_MESSAGE = 65535 - 36


cdef inline unsigned char *start(bytes value) noexcept:
    return <unsigned char *>PyBytes_AS_STRING(value)


cdef inline bytes copied(const unsigned char *memory, size_t size):
    return PyBytes_FromStringAndSize(<const char *>memory, <Py_ssize_t>size)


def build(session_key, list hops not None, associated_data, Py_ssize_t packet_size):
    """hops: (node id, payload) of each. Returns the packet and the shared secrets, one after the other."""
    cdef const unsigned char *key = bytes_of(session_key, 32, "session_key")
    cdef const unsigned char *data = any_bytes(associated_data, "associated_data")
    cdef size_t data_len = PyBytes_GET_SIZE(associated_data), n = len(hops), i
    cdef lnf.lnf_onion_hop[512] table
    cdef bytes packet, secrets
    cdef unsigned char *packet_p
    cdef unsigned char *secrets_p
    cdef int ok
    if n > MAX_HOPS or packet_size <= 66:
        raise ValueError(f"{n} hops in {packet_size} bytes")
    for i in range(n):
        node_id, payload = hops[i]
        table[i].node_id33 = bytes_of(node_id, 33, "node_id")
        table[i].payload = any_bytes(payload, "payload")
        table[i].payload_len = PyBytes_GET_SIZE(payload)
    packet = new_bytes(packet_size)
    secrets = new_bytes(32 * n)
    packet_p = start(packet)
    secrets_p = start(secrets)
    with nogil:
        ok = lnf.lnf_onion_build(packet_p, secrets_p, packet_size, key, table, n, data, data_len)
    if not ok:
        raise ValueError("a key is not valid, a payload is too short, or the hops do not fit")
    return packet, secrets


def peel_batch(node_secret, list sealed not None):
    """sealed: (packet, associated data, path key or None) of each. Returns, for each, (0, payload, next packet or None,
    shared secret, path secret) or (reason, SHA-256 of the packet, shared secret of BAD_PAYLOAD)."""
    cdef const unsigned char *secret = bytes_of(node_secret, 32, "node_secret")
    cdef size_t n = len(sealed), i, room = 0
    cdef lnf.lnf_onion_sealed *ins = <lnf.lnf_onion_sealed *>malloc((n + 1) * sizeof(lnf.lnf_onion_sealed))
    cdef lnf.lnf_onion_peeled *outs = <lnf.lnf_onion_peeled *>malloc((n + 1) * sizeof(lnf.lnf_onion_peeled))
    cdef unsigned char *unwrapped = NULL
    cdef list next_packets = [], results = []
    cdef bytes packet
    try:
        if ins is NULL or outs is NULL:
            raise MemoryError()
        for i in range(n):
            onion, data, path_key = sealed[i]
            ins[i].packet = any_bytes(onion, "packet")
            ins[i].packet_len = PyBytes_GET_SIZE(onion)
            ins[i].associated_data = any_bytes(data, "associated_data")
            ins[i].associated_data_len = PyBytes_GET_SIZE(data)
            ins[i].path_key33 = NULL
            if path_key is not None:
                ins[i].path_key33 = bytes_of(path_key, 33, "path_key")
            room += 2 * ins[i].packet_len
            packet = new_bytes(ins[i].packet_len)
            next_packets.append(packet)
            outs[i].next_packet = start(packet)
        unwrapped = <unsigned char *>malloc(room + 1)
        if unwrapped is NULL:
            raise MemoryError()
        room = 0
        for i in range(n):
            outs[i].unwrapped = unwrapped + room
            room += 2 * ins[i].packet_len
        with nogil:
            lnf.lnf_onion_peel_batch(outs, ins, n, secret)
        for i in range(n):
            results.append(outcome(&outs[i], next_packets[i]))
    finally:
        free(unwrapped)
        free(outs)
        free(ins)
    return results


cdef tuple outcome(const lnf.lnf_onion_peeled *out, bytes next_packet):
    if out.error == lnf.LNF_ONION_OK:
        return (
            0, copied(out.unwrapped + out.payload_offset, out.payload_len), None if out.is_final else next_packet,
            copied(out.shared_secret32, 32), copied(out.path_secret32, 32),
        )
    return <int>out.error, copied(out.sha256_of_onion32, 32), copied(out.shared_secret32, 32)


def failure_create(shared_secret, message):
    cdef const unsigned char *secret = bytes_of(shared_secret, 32, "shared_secret")
    cdef const unsigned char *m = any_bytes(message, "message")
    cdef bytes packet
    if PyBytes_GET_SIZE(message) > MAX_MESSAGE:
        raise ValueError(f"a failure message of {PyBytes_GET_SIZE(message)} bytes")
    packet = new_bytes(lnf.lnf_failure_packet_bytes(PyBytes_GET_SIZE(message)))
    lnf.lnf_failure_packet_create(start(packet), m, PyBytes_GET_SIZE(message), secret)
    return packet


def failure_wrap(shared_secret, packet):
    cdef const unsigned char *secret = bytes_of(shared_secret, 32, "shared_secret")
    cdef const unsigned char *p = any_bytes(packet, "packet")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(packet)
    # One byte more: the interpreter shares its bytes objects of one byte, which must never be written to.
    cdef bytes wrapped = new_bytes(size + 1)
    memcpy(start(wrapped), p, size)
    lnf.lnf_failure_packet_wrap(start(wrapped), size, secret)
    return wrapped[:size]


def failure_unwrap(list shared_secrets not None, packet):
    """Returns (hop, failure message), or None if no hop made it."""
    cdef const unsigned char *p = any_bytes(packet, "packet")
    cdef size_t packet_len = PyBytes_GET_SIZE(packet), n = len(shared_secrets), message_len = 0, hop = 0
    cdef bytes secrets, message
    cdef unsigned char *secrets_p
    cdef unsigned char *message_p
    cdef int ok
    for secret in shared_secrets:
        bytes_of(secret, 32, "shared_secret")
    secrets = b"".join(shared_secrets)
    message = new_bytes(2 * packet_len + 2)
    secrets_p = start(secrets)
    message_p = start(message)
    with nogil:
        ok = lnf.lnf_failure_packet_unwrap(message_p, &message_len, &hop, p, packet_len, secrets_p, n)
    return (hop, message[:message_len]) if ok else None
