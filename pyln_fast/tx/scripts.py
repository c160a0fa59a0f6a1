"""The scripts of BOLT 3, what outputs pay to, and segwit addresses.

Witness scripts are named as the BOLT names the outputs. Points are compressed and not checked here.
"""

from __future__ import annotations

from pyln_fast._ext import _tx
from pyln_fast.errors import DecodeError
from pyln_fast.tx import bech32
from pyln_fast.types import BlockHeight, Blocks, Network, PaymentHash, PublicKey, Signature

OP_RETURN = 0x6A
_ADDRESS_LENGTH = 90


def funding_script(funding_pubkey_a: PublicKey, funding_pubkey_b: PublicKey) -> bytes:
    """The 2-of-2 witness script; the keys in any order."""
    return _tx.script_funding(funding_pubkey_a, funding_pubkey_b)


def funding_script_pubkey(funding_pubkey_a: PublicKey, funding_pubkey_b: PublicKey) -> bytes:
    return p2wsh(funding_script(funding_pubkey_a, funding_pubkey_b))


def to_local_script(
    revocation_pubkey: PublicKey, to_self_delay: Blocks, broadcaster_delayed_pubkey: PublicKey
) -> bytes:
    """Also what HTLC transactions pay to."""
    return _tx.script_to_local(revocation_pubkey, to_self_delay, broadcaster_delayed_pubkey)


def to_remote_script(payment_point: PublicKey) -> bytes:
    """With anchors: spendable after one block. Without them, `to_remote` is P2WPKH of the payment point."""
    return _tx.script_to_remote(payment_point)


def anchor_script(funding_pubkey: PublicKey) -> bytes:
    return _tx.script_anchor(funding_pubkey)


def offered_htlc_script(
    revocation_pubkey: PublicKey,
    broadcaster_htlc_pubkey: PublicKey,
    countersignatory_htlc_pubkey: PublicKey,
    payment_hash: PaymentHash,
    anchors: bool,
) -> bytes:
    """Offered by the broadcaster."""
    return _tx.script_offered_htlc(
        revocation_pubkey, broadcaster_htlc_pubkey, countersignatory_htlc_pubkey, payment_hash, anchors
    )


def received_htlc_script(
    revocation_pubkey: PublicKey,
    broadcaster_htlc_pubkey: PublicKey,
    countersignatory_htlc_pubkey: PublicKey,
    payment_hash: PaymentHash,
    cltv_expiry: BlockHeight,
    anchors: bool,
) -> bytes:
    """Received by the broadcaster."""
    return _tx.script_received_htlc(
        revocation_pubkey, broadcaster_htlc_pubkey, countersignatory_htlc_pubkey, payment_hash, cltv_expiry, anchors
    )


def p2wsh(witness_script: bytes) -> bytes:
    """The script_pubkey of a version 0 witness script."""
    return _tx.p2wsh(witness_script)


def p2wpkh(public_key: PublicKey) -> bytes:
    return _tx.p2wpkh(public_key)


def der_signature(signature: Signature, sighash_type: int = 1) -> bytes:
    """A compact signature as witnesses carry it: DER, and the type of hash behind it."""
    if len(signature) != 64:
        raise ValueError(f"a signature of {len(signature)} bytes, not 64")
    body = _der_integer(signature[:32]) + _der_integer(signature[32:])
    return b"\x30" + bytes((len(body),)) + body + bytes((sighash_type,))


def multisig_witness(
    public_key_a: PublicKey, signature_a: Signature, public_key_b: PublicKey, signature_b: Signature
) -> tuple[bytes, ...]:
    """Spends the funding output: `0 <signature_for_pubkey1> <signature_for_pubkey2>` and the script."""
    (_, first), (_, second) = sorted(((public_key_a, signature_a), (public_key_b, signature_b)))
    return b"", der_signature(first), der_signature(second), funding_script(public_key_a, public_key_b)


def witness_program(script_pubkey: bytes) -> tuple[int, bytes] | None:
    """Version and program of a segwit output (BIP 141), or None."""
    if not 4 <= len(script_pubkey) <= 42 or script_pubkey[1] != len(script_pubkey) - 2:
        return None
    opcode = script_pubkey[0]
    if opcode == 0:
        return 0, script_pubkey[2:]
    return (opcode - 0x50, script_pubkey[2:]) if 0x51 <= opcode <= 0x60 else None


def address(script_pubkey: bytes, network: Network) -> str:
    """The segwit address of an output (BIP 173, BIP 350). Raises ValueError for any other script."""
    program = witness_program(script_pubkey)
    if program is None or (program[0] == 0 and len(program[1]) not in (20, 32)):
        raise ValueError("not a script with a segwit address")
    version, data = program
    constant = bech32.BECH32M if version else bech32.BECH32
    return bech32.encode(network.bech32_hrp, bytes((version,)) + bech32.to_groups(data), constant)


def script_pubkey_from_address(text: str, network: Network) -> bytes:
    """The inverse. Raises DecodeError, also for an address of another network."""
    hrp, groups, constant = bech32.decode(text, _ADDRESS_LENGTH)
    if hrp != network.bech32_hrp:
        raise DecodeError("address", f"prefix {hrp!r} is not {network.bech32_hrp!r}, that of {network.value}")
    if not groups or groups[0] > 16:
        raise DecodeError("address", "no witness version, or one above 16")
    version, program = groups[0], bech32.to_whole_bytes(groups[1:])
    if constant != (bech32.BECH32M if version else bech32.BECH32):
        raise DecodeError("address", "the checksum is of the other kind (bech32 for version 0, else bech32m)")
    if not 2 <= len(program) <= 40 or (version == 0 and len(program) not in (20, 32)):
        raise DecodeError("address", f"a program of {len(program)} bytes in version {version}")
    return bytes((0x50 + version if version else 0, len(program))) + program


def _der_integer(value: bytes) -> bytes:
    digits = value.lstrip(b"\x00") or b"\x00"
    if digits[0] & 0x80:
        digits = b"\x00" + digits
    return b"\x02" + bytes((len(digits),)) + digits
