"""BOLT 4, Failure Messages: why a hop failed a payment, as the origin node reads it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from pyln_fast.errors import DecodeError
from pyln_fast.wire.fields import BYTES32_KIND, U16, U32, BigSize, MsatU64, PrefixedBytes
from pyln_fast.wire.layout import Layout, bolt_name

BADONION = 0x8000
"""The onion could not be read: the answer is update_fail_malformed_htlc, whose receiver makes the failure of it."""
PERM = 0x4000
"""Trying again will not help."""
NODE = 0x2000
"""The whole node failed, not one channel."""
UPDATE = 0x1000
"""A parameter of the channel was not met: its `channel_update` may come along, as a whole message with its type, or
empty."""

Sha256OfOnion = Annotated[bytes, BYTES32_KIND]


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=True, tag_field="failure"):
    """A failure by BOLT 4's name; `CODE` is its failure_code."""

    CODE: ClassVar[int]

    @property
    def failure_code(self) -> int:
        return self.CODE


class TemporaryNodeFailure(Failure, frozen=True):
    CODE = NODE | 2


class PermanentNodeFailure(Failure, frozen=True):
    CODE = PERM | NODE | 2


class RequiredNodeFeatureMissing(Failure, frozen=True):
    CODE = PERM | NODE | 3


class InvalidOnionVersion(Failure, frozen=True):
    CODE = BADONION | PERM | 4
    sha256_of_onion: Sha256OfOnion


class InvalidOnionHmac(Failure, frozen=True):
    CODE = BADONION | PERM | 5
    sha256_of_onion: Sha256OfOnion


class InvalidOnionKey(Failure, frozen=True):
    CODE = BADONION | PERM | 6
    sha256_of_onion: Sha256OfOnion


class TemporaryChannelFailure(Failure, frozen=True):
    CODE = UPDATE | 7
    channel_update: PrefixedBytes = b""


class PermanentChannelFailure(Failure, frozen=True):
    CODE = PERM | 8


class RequiredChannelFeatureMissing(Failure, frozen=True):
    CODE = PERM | 9


class UnknownNextPeer(Failure, frozen=True):
    CODE = PERM | 10


class AmountBelowMinimum(Failure, frozen=True):
    CODE = UPDATE | 11
    htlc_msat: MsatU64
    channel_update: PrefixedBytes = b""


class FeeInsufficient(Failure, frozen=True):
    CODE = UPDATE | 12
    htlc_msat: MsatU64
    channel_update: PrefixedBytes = b""


class IncorrectCltvExpiry(Failure, frozen=True):
    CODE = UPDATE | 13
    cltv_expiry: U32
    channel_update: PrefixedBytes = b""


class ExpiryTooSoon(Failure, frozen=True):
    CODE = UPDATE | 14
    channel_update: PrefixedBytes = b""


class IncorrectOrUnknownPaymentDetails(Failure, frozen=True):
    CODE = PERM | 15
    htlc_msat: MsatU64
    height: U32


class FinalIncorrectCltvExpiry(Failure, frozen=True):
    CODE = 18
    cltv_expiry: U32


class FinalIncorrectHtlcAmount(Failure, frozen=True):
    CODE = 19
    incoming_htlc_amt: MsatU64


class ChannelDisabled(Failure, frozen=True):
    CODE = UPDATE | 20
    disabled_flags: U16 = 0
    channel_update: PrefixedBytes = b""


class ExpiryTooFar(Failure, frozen=True):
    CODE = 21


class InvalidOnionPayload(Failure, frozen=True):
    CODE = PERM | 22
    type: Annotated[int, BigSize()]
    offset: U16


class MppTimeout(Failure, frozen=True):
    CODE = 23


class InvalidOnionBlinding(Failure, frozen=True):
    CODE = BADONION | PERM | 24
    sha256_of_onion: Sha256OfOnion


class UnknownFailure(msgspec.Struct, frozen=True, array_like=True):
    """A code of no BOLT, or data that its code does not explain: the flags still say what to do."""

    failure_code: int
    data: bytes


FAILURES: tuple[type[Failure], ...] = tuple(Failure.__subclasses__())
_BY_CODE: dict[int, Layout[Failure]] = {failure.CODE: Layout(failure) for failure in FAILURES}


def decode_failure(message: bytes) -> Failure | UnknownFailure:
    """Whatever an erring node wrote. Raises DecodeError only if there is not even a code."""
    if len(message) < 2:
        raise DecodeError("failure message", f"{len(message)} bytes, the code alone has 2")
    code = int.from_bytes(message[:2], "big")
    layout = _BY_CODE.get(code)
    if layout is None:
        return UnknownFailure(code, message[2:])
    try:
        return layout.decode(message, 2, len(message))
    except DecodeError:
        return UnknownFailure(code, message[2:])


def encode_failure(failure: Failure | UnknownFailure) -> bytes:
    code = failure.failure_code.to_bytes(2, "big")
    if isinstance(failure, UnknownFailure):
        return code + failure.data
    return code + _BY_CODE[failure.CODE].encode(failure)


def failure_name(code: int) -> str:
    """BOLT 4's name of a code, for people."""
    layout = _BY_CODE.get(code)
    return f"unknown failure {code:#06x}" if layout is None else bolt_name(layout.struct)
