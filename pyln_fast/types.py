"""The values that every layer speaks: units, identifiers, keys and secrets.

Units are NewTypes, so that mypy refuses satoshi where millisatoshi are meant. Byte strings are in wire order; txids and
block hashes are in internal order (the hex that people see is reversed: `txid_hex`).
"""

from __future__ import annotations

from enum import Enum
from typing import NewType

import msgspec

Sat = NewType("Sat", int)
Msat = NewType("Msat", int)
FeeratePerKw = NewType("FeeratePerKw", int)
"""Satoshi per 1000 weight units."""
BlockHeight = NewType("BlockHeight", int)
Blocks = NewType("Blocks", int)
"""A number of blocks: a delay or a difference of heights."""
UnixTime = NewType("UnixTime", int)
"""Seconds since 1970, wall clock."""
Monotonic = NewType("Monotonic", int)
"""Milliseconds on a clock that never goes back; its zero means nothing."""

PublicKey = NewType("PublicKey", bytes)
"""A compressed point, 33 bytes."""
NodeId = NewType("NodeId", PublicKey)
Signature = NewType("Signature", bytes)
"""ECDSA, compact: 64 bytes."""
ChannelId = NewType("ChannelId", bytes)
PaymentHash = NewType("PaymentHash", bytes)
PaymentId = NewType("PaymentId", bytes)
"""The caller's 32-byte name for a payment: what makes sending idempotent."""
Txid = NewType("Txid", bytes)
BlockHash = NewType("BlockHash", bytes)
ChainHash = NewType("ChainHash", bytes)
ShortChannelId = NewType("ShortChannelId", int)
"""BOLT 7: block height, transaction index and output index, 3 + 3 + 2 bytes."""
CommitmentNumber = NewType("CommitmentNumber", int)
"""BOLT 3: counts up from 0; the index into the per-commitment secrets is 2^48 - 1 less this."""


class Secret(bytes):
    """Bytes that must not reach a log, an exception or a repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} bytes>"

    __str__ = __repr__


class PrivateKey(Secret):
    """A secp256k1 scalar, 32 bytes."""


class PaymentPreimage(Secret):
    """32 bytes whose SHA-256 is the payment hash."""


class PaymentSecret(Secret):
    """32 bytes that prove that the sender read the invoice (BOLT 4)."""


class OutPoint(msgspec.Struct, frozen=True, order=True, array_like=True):
    txid: Txid
    vout: int

    def __str__(self) -> str:
        return f"{txid_hex(self.txid)}:{self.vout}"


class TxOut(msgspec.Struct, frozen=True, array_like=True):
    value_sat: Sat
    script_pubkey: bytes


class Network(Enum):
    """A chain that we know, by Bitcoin Core's name."""

    MAINNET = "main"
    TESTNET = "test"
    TESTNET4 = "testnet4"
    SIGNET = "signet"
    REGTEST = "regtest"

    @property
    def chain_hash(self) -> ChainHash:
        """The genesis block's hash in wire order (BOLT 0)."""
        return ChainHash(bytes.fromhex(_GENESIS[self.value])[::-1])

    @property
    def bech32_hrp(self) -> str:
        """The prefix of segwit addresses; BOLT 11 puts `ln` before it (signet: `tbs`)."""
        return _HRP[self.value]


_GENESIS = {
    "main": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    "test": "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
    "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    "signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
    "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
}
_HRP = {"main": "bc", "test": "tb", "testnet4": "tb", "signet": "tb", "regtest": "bcrt"}


def txid_hex(txid: Txid | BlockHash) -> str:
    """As block explorers and Bitcoin Core's RPC write it."""
    return txid[::-1].hex()


def txid_from_hex(text: str) -> Txid:
    """The inverse of `txid_hex`. Raises ValueError if it is not 32 bytes of hex."""
    raw = bytes.fromhex(text)
    if len(raw) != 32:
        raise ValueError(f"a txid of {len(raw)} bytes, not 32")
    return Txid(raw[::-1])


def short_channel_id(height: BlockHeight, tx_index: int, output_index: int) -> ShortChannelId:
    return ShortChannelId(height << 40 | tx_index << 16 | output_index)


def short_channel_id_str(scid: ShortChannelId) -> str:
    """BOLT 7's human form, such as `539268x845x1`."""
    return f"{scid >> 40}x{scid >> 16 & 0xFFFFFF}x{scid & 0xFFFF}"


def channel_id_v1(funding: OutPoint) -> ChannelId:
    """BOLT 2, Definition of channel_id: the funding txid, the output index exclusive-ored into its last two bytes."""
    tail = int.from_bytes(funding.txid[30:], "big") ^ funding.vout
    return ChannelId(funding.txid[:30] + tail.to_bytes(2, "big"))
