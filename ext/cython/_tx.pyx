"""Binds tx.c, script.c and commitment.c. Owner: pyln_fast.tx."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.string cimport memcpy

from buffers cimport bytes_of
from lnf cimport *

# lnf_commitment_fault, by name.
FAULT_BALANCE = LNF_FAULT_BALANCE
FAULT_POINT = LNF_FAULT_POINT
FAULT_OVERSPENT = LNF_FAULT_OVERSPENT
FAULT_KEY = LNF_FAULT_KEY
FAULT_SIGNATURE = LNF_FAULT_SIGNATURE
FAULT_HTLC_SIGNATURE_COUNT = LNF_FAULT_HTLC_SIGNATURE_COUNT
FAULT_HTLC_SIGNATURE = LNF_FAULT_HTLC_SIGNATURE


cdef inline bytes copied(const unsigned char *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length)


# ---- script ----

def ripemd160(bytes data not None):
    cdef unsigned char out[20]
    lnf_ripemd160(out, data, len(data))
    return copied(out, 20)


def hash160(bytes data not None):
    cdef unsigned char out[20]
    lnf_hash160(out, data, len(data))
    return copied(out, 20)


def sha256(bytes data not None):
    cdef unsigned char out[32]
    lnf_sha256(out, data, len(data))
    return copied(out, 32)


def sha256d(bytes data not None):
    cdef unsigned char out[32]
    lnf_sha256d(out, data, len(data))
    return copied(out, 32)


def script_funding(bytes funding_a not None, bytes funding_b not None):
    cdef unsigned char out[71]
    lnf_script_funding(out, bytes_of(funding_a, 33, "a point"), bytes_of(funding_b, 33, "a point"))
    return copied(out, 71)


def script_to_local(bytes revocation not None, uint32_t to_self_delay, bytes delayed not None):
    cdef unsigned char out[144]
    cdef size_t length = lnf_script_to_local(
        out, bytes_of(revocation, 33, "a point"), to_self_delay, bytes_of(delayed, 33, "a point"))
    return copied(out, length)


def script_to_remote(bytes payment not None):
    cdef unsigned char out[37]
    lnf_script_to_remote(out, bytes_of(payment, 33, "a point"))
    return copied(out, 37)


def script_anchor(bytes funding not None):
    cdef unsigned char out[40]
    lnf_script_anchor(out, bytes_of(funding, 33, "a point"))
    return copied(out, 40)


def script_offered_htlc(bytes revocation not None, bytes broadcaster_htlc not None,
                        bytes countersignatory_htlc not None, bytes payment_hash not None, bint anchors):
    cdef unsigned char out[144]
    cdef size_t length = lnf_script_offered_htlc(
        out, bytes_of(revocation, 33, "a point"), bytes_of(broadcaster_htlc, 33, "a point"),
        bytes_of(countersignatory_htlc, 33, "a point"), bytes_of(payment_hash, 32, "a payment hash"), anchors)
    return copied(out, length)


def script_received_htlc(bytes revocation not None, bytes broadcaster_htlc not None,
                         bytes countersignatory_htlc not None, bytes payment_hash not None, uint32_t cltv_expiry,
                         bint anchors):
    cdef unsigned char out[144]
    cdef size_t length = lnf_script_received_htlc(
        out, bytes_of(revocation, 33, "a point"), bytes_of(broadcaster_htlc, 33, "a point"),
        bytes_of(countersignatory_htlc, 33, "a point"), bytes_of(payment_hash, 32, "a payment hash"), cltv_expiry,
        anchors)
    return copied(out, length)


def p2wsh(bytes script not None):
    cdef unsigned char out[34]
    lnf_script_p2wsh(out, script, len(script))
    return copied(out, 34)


def p2wpkh(bytes point not None):
    cdef unsigned char out[22]
    lnf_script_p2wpkh(out, bytes_of(point, 33, "a point"))
    return copied(out, 22)


# ---- tx ----

cdef lnf_tx parsed(bytes raw) except *:
    cdef lnf_tx tx
    cdef const char *why = NULL
    if not lnf_tx_parse(&tx, &why, raw, len(raw)):
        raise ValueError(why.decode())
    return tx


def parse(bytes raw not None):
    """Returns (version, [(txid, vout, script_sig, sequence, witness)], [(value_sat, script)], lock_time)."""
    cdef lnf_tx tx = parsed(raw)
    cdef lnf_tx_in tx_in
    cdef lnf_tx_out tx_out
    cdef uint64_t count = 0, length = 0
    cdef size_t at = tx.inputs_at, witness_at = tx.witness_at
    cdef const unsigned char *data = raw
    cdef list inputs = [], outputs = [], items
    for _ in range(tx.input_count):
        at = lnf_tx_input(&tx_in, &tx, at)
        items = []
        if tx.has_witness:
            witness_at = lnf_tx_compact_size(&count, &tx, witness_at)
            for _ in range(count):
                witness_at = lnf_tx_compact_size(&length, &tx, witness_at)
                items.append(copied(data + witness_at, length))
                witness_at += length
        inputs.append((
            copied(tx_in.outpoint36, 32),
            tx_in.outpoint36[32] | tx_in.outpoint36[33] << 8 | tx_in.outpoint36[34] << 16
            | <uint32_t>tx_in.outpoint36[35] << 24,
            copied(tx_in.script, tx_in.script_len), tx_in.sequence, tuple(items)))
    at = tx.outputs_at
    for _ in range(tx.output_count):
        at = lnf_tx_output(&tx_out, &tx, at)
        outputs.append((tx_out.value_sat, copied(tx_out.script, tx_out.script_len)))
    return tx.version, inputs, outputs, tx.lock_time


def txid(bytes raw not None):
    cdef lnf_tx tx = parsed(raw)
    cdef unsigned char out[32]
    lnf_tx_txid(out, &tx)
    return copied(out, 32)


def wtxid(bytes raw not None):
    cdef lnf_tx tx = parsed(raw)
    cdef unsigned char out[32]
    lnf_tx_wtxid(out, &tx)
    return copied(out, 32)


def weight(bytes raw not None):
    return parsed(raw).weight


def transaction_length(bytes raw not None, size_t start=0):
    """How many bytes the transaction at `start` takes: bytes may follow it, as in a block."""
    cdef lnf_tx tx
    cdef const char *why = NULL
    cdef const unsigned char *data = raw
    if start > <size_t>len(raw):
        raise ValueError("a start behind the end")
    if not lnf_tx_walk(&tx, &why, data + start, len(raw) - start):
        raise ValueError(why.decode())
    return tx.len


def sighash_bip143(bytes raw not None, size_t index, bytes script_code not None, uint64_t value_sat,
                   uint32_t sighash_type):
    cdef lnf_tx tx = parsed(raw)
    cdef unsigned char out[32]
    if not lnf_tx_sighash_bip143(out, &tx, index, script_code, len(script_code), value_sat, sighash_type):
        raise IndexError(f"input {index} of {tx.input_count}")
    return copied(out, 32)


# ---- commitment ----

cdef class _Work:
    """The memory of one commitment: what C reads and writes without the GIL."""
    cdef lnf_commitment commitment
    cdef lnf_built_commitment built
    cdef unsigned char *signatures
    cdef void *memory
    cdef object keep

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef int load(self, object commitment) except -1:
        cdef object spec = commitment.spec
        cdef tuple htlcs = spec.htlcs
        cdef size_t count = PyTuple_GET_SIZE(htlcs), i
        cdef size_t outputs_size = (count + LNF_COMMITMENT_OTHER_OUTPUTS) * sizeof(lnf_commitment_output)
        cdef size_t htlcs_size = count * sizeof(lnf_commitment_htlc)
        cdef lnf_commitment_htlc *packed
        cdef unsigned char *memory
        if count > <size_t>LNF_COMMITMENT_HTLCS_MAX:
            raise ValueError(f"{count} HTLCs in a commitment, more than {LNF_COMMITMENT_HTLCS_MAX}")
        self.keep = point = commitment.per_commitment_point
        self.commitment.per_commitment_point33 = bytes_of(point, 33, "a per-commitment point")
        self.commitment.number = commitment.number
        if self.commitment.number >> 48:
            raise ValueError(f"commitment number {self.commitment.number} is not below 2^48")
        self.commitment.to_broadcaster_msat = spec.to_broadcaster_msat
        self.commitment.to_countersignatory_msat = spec.to_countersignatory_msat
        self.commitment.feerate_per_kw = spec.feerate_per_kw
        memory = <unsigned char *>PyMem_Malloc(
            outputs_size + htlcs_size + LNF_COMMITMENT_RAW_MAX(count) + 64 * (count + 1))
        if memory is NULL:
            raise MemoryError
        self.memory = memory
        self.built.outputs = <lnf_commitment_output *>memory
        packed = <lnf_commitment_htlc *>(memory + outputs_size)
        self.signatures = memory + outputs_size + htlcs_size
        self.built.raw = self.signatures + 64 * (count + 1)
        for i in range(count):
            htlc = <object>htlcs[i]
            packed[i].amount_msat = htlc.amount_msat
            packed[i].cltv_expiry = htlc.cltv_expiry
            packed[i].offered = <bint>htlc.offered
            memcpy(packed[i].payment_hash32, bytes_of(htlc.payment_hash, 32, "a payment hash"), 32)
        self.commitment.htlcs = packed
        self.commitment.htlc_count = count
        return 0

    cdef tuple fault(self):
        return <int>self.built.fault, self.built.fault_index, None

    cdef tuple result(self, tuple htlcs):
        """(raw, txid, ((output index, htlc), ...), the indexes of to_local, to_remote and both anchors, fee_sat)"""
        cdef list places = [None, None, None, None], found = []
        cdef size_t i
        cdef int kind
        for i in range(self.built.output_count):
            kind = self.built.outputs[i].kind
            if kind >= 0:
                found.append((i, <object>htlcs[kind]))
            else:
                places[-1 - kind] = i
        return (copied(self.built.raw, self.built.raw_len), copied(self.built.txid32, 32), tuple(found),
                places[0], places[1], places[2], places[3], self.built.fee_sat)


cdef class CommitmentSide:
    """All that the commitments of one party share; the points are parsed once."""
    cdef lnf_commitment_side side

    def __init__(self, bytes funding_txid not None, uint32_t funding_vout, uint64_t channel_value_sat,
                 bytes broadcaster_points not None, bytes countersignatory_points not None, uint64_t dust_limit_sat,
                 uint32_t to_self_delay, bint broadcaster_is_opener, bint anchors):
        if not lnf_commitment_side_init(
                &self.side, bytes_of(funding_txid, 32, "a txid"), funding_vout, channel_value_sat,
                bytes_of(broadcaster_points, 165, "five points"), bytes_of(countersignatory_points, 165, "five points"),
                dust_limit_sat, to_self_delay, broadcaster_is_opener, anchors):
            raise ValueError("a point of the channel is not on the curve")

    def keys(self, bytes per_commitment_point not None):
        """(revocation, delayed, broadcaster's htlc, countersignatory's htlc) points, or None for a bad point."""
        cdef lnf_commitment_keys keys
        if not lnf_commitment_derive_keys(&keys, &self.side, bytes_of(per_commitment_point, 33, "a point")):
            return None
        return (copied(keys.revocation33, 33), copied(keys.delayed33, 33),
                copied(keys.broadcaster_htlc33, 33), copied(keys.countersignatory_htlc33, 33))

    def build(self, object commitment):
        """(0, 0, result) or (fault, index, None)."""
        cdef _Work work = _Work()
        cdef int done
        work.load(commitment)
        with nogil:
            done = lnf_commitment_build(&work.built, &self.side, &work.commitment)
        return (0, 0, work.result(commitment.spec.htlcs)) if done else work.fault()

    def sign_broadcaster(self, object commitment, object funding_key):
        """(0, 0, (signature, result)) or (fault, index, None)."""
        cdef _Work work = _Work()
        cdef const unsigned char *funding_key32 = bytes_of(funding_key, 32, "a private key")
        cdef unsigned char signature64[64]
        cdef int done
        work.load(commitment)
        with nogil:
            done = lnf_commitment_sign_broadcaster(
                &work.built, signature64, &self.side, &work.commitment, funding_key32)
        return (0, 0, (copied(signature64, 64), work.result(commitment.spec.htlcs))) if done else work.fault()

    def sighash(self, object commitment):
        """What both parties sign: (0, 0, (result, hash)) or (fault, index, None)."""
        cdef _Work work = _Work()
        cdef unsigned char out[32]
        cdef int done
        work.load(commitment)
        with nogil:
            done = lnf_commitment_build(&work.built, &self.side, &work.commitment)
            if done:
                lnf_commitment_sighash(out, &work.built, &self.side)
        return (0, 0, (work.result(commitment.spec.htlcs), copied(out, 32))) if done else work.fault()

    def verify(self, object commitment, object signature, tuple htlc_signatures not None):
        """(0, 0, result) or (fault, index, None)."""
        cdef _Work work = _Work()
        cdef const unsigned char *signature64 = bytes_of(signature, 64, "a signature")
        cdef size_t count = PyTuple_GET_SIZE(htlc_signatures), i
        cdef int done
        work.load(commitment)
        # More than HTLCs are refused by their number, before any is read.
        for i in range(min(count, work.commitment.htlc_count)):
            memcpy(work.signatures + 64 * i, bytes_of(<object>htlc_signatures[i], 64, "a signature"), 64)
        with nogil:
            done = lnf_commitment_verify(&work.built, &self.side, &work.commitment, signature64, work.signatures, count)
        return (0, 0, work.result(commitment.spec.htlcs)) if done else work.fault()

    def sign(self, object commitment, object funding_key, object htlc_base_key):
        """(0, 0, (signature, htlc_signatures, result)) or (fault, index, None)."""
        cdef _Work work = _Work()
        cdef const unsigned char *funding_key32 = bytes_of(funding_key, 32, "a private key")
        cdef const unsigned char *htlc_base_key32 = bytes_of(htlc_base_key, 32, "a private key")
        cdef unsigned char signature64[64]
        cdef size_t i
        cdef int done
        work.load(commitment)
        with nogil:
            done = lnf_commitment_sign(&work.built, signature64, work.signatures, &self.side, &work.commitment,
                                       funding_key32, htlc_base_key32)
        if not done:
            return work.fault()
        signatures = [copied(work.signatures + 64 * i, 64) for i in range(work.built.htlc_count)]
        return 0, 0, (copied(signature64, 64), tuple(signatures), work.result(commitment.spec.htlcs))


# ---- what the benchmarks measure commitments against ----

def raw_sign_loop(bytes messages not None, object key):
    """One signature after another of the 32-byte messages, and nothing else; None if the key is out of range."""
    cdef size_t count = len(messages) // 32
    cdef const unsigned char *key32 = bytes_of(key, 32, "a private key")
    cdef const unsigned char *messages32 = messages
    cdef bytes signatures = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(64 * count))
    cdef unsigned char *signatures64 = <unsigned char *>PyBytes_AS_STRING(signatures)
    cdef int done
    with nogil:
        done = lnf_raw_sign_loop(signatures64, count, messages32, key32)
    return signatures if done else None


def raw_verify_loop(bytes signatures not None, bytes messages not None, bytes point not None):
    """Whether all are valid."""
    cdef size_t count = len(messages) // 32
    cdef const unsigned char *signatures64 = bytes_of(signatures, <Py_ssize_t>(64 * count), "the signatures")
    cdef const unsigned char *messages32 = messages
    cdef const unsigned char *point33 = bytes_of(point, 33, "a point")
    cdef int done
    with nogil:
        done = lnf_raw_verify_loop(count, signatures64, messages32, point33)
    return done == 1
