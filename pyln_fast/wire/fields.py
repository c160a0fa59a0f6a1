"""The kinds of fields that messages are made of, and the annotations that say so.

A message is a Struct whose fields are annotated with the kind of their bytes; `layout.py` compiles the annotations.
A kind reads a value between two offsets and writes it back. `Fixed` kinds have a size known in advance, so that a run
of them is unpacked in one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

from pyln_fast._ext._keys import pubkey_valid
from pyln_fast.errors import DecodeError
from pyln_fast.types import (
    ChainHash,
    ChannelId,
    FeeratePerKw,
    Msat,
    NodeId,
    PaymentHash,
    PaymentPreimage,
    PublicKey,
    Sat,
    Secret,
    ShortChannelId,
    Signature,
    Txid,
)
from pyln_fast.wire.primitives import read_bigsize, read_truncated, write_bigsize, write_truncated


class Kind(Protocol):
    def read(self, data: bytes, offset: int, end: int) -> tuple[Any, int]:
        """The value at `offset` and the offset behind it. Raises DecodeError."""

    def write(self, value: Any) -> bytes: ...


class Fixed:
    """`size` bytes, by their format in the struct module. `convert` makes the value, or raises DecodeError."""

    def __init__(self, code: str, size: int, convert: Callable[[Any], Any] | None = None) -> None:
        self.code = code
        self.size = size
        self.convert = convert
        self.is_bytes = code.endswith("s")
        self.is_signed = code in "bhiq"

    def read(self, data: bytes, offset: int, end: int) -> tuple[Any, int]:
        last = offset + self.size
        if last > end:
            raise DecodeError("field", f"{end - offset} of its {self.size} bytes are there")
        raw = data[offset:last]
        value: Any = raw if self.is_bytes else int.from_bytes(raw, "big", signed=self.is_signed)
        return (value if self.convert is None else self.convert(value)), last

    def write(self, value: Any) -> bytes:
        if not self.is_bytes:
            return int(value).to_bytes(self.size, "big", signed=self.is_signed)
        assert len(value) == self.size
        return bytes(value)


class Prefixed:
    """A u16 length and so many bytes: `[u16:len] [len*byte:...]`."""

    def read(self, data: bytes, offset: int, end: int) -> tuple[bytes, int]:
        length, offset = U16_KIND.read(data, offset, end)
        last = offset + length
        if last > end:
            raise DecodeError("field", f"{length} bytes, {end - offset} are left")
        return data[offset:last], last

    def write(self, value: bytes) -> bytes:
        return len(value).to_bytes(2, "big") + value


class Counted:
    """A u16 count and so many values of one kind, as a tuple."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def read(self, data: bytes, offset: int, end: int) -> tuple[tuple[Any, ...], int]:
        count, offset = U16_KIND.read(data, offset, end)
        values = []
        for _ in range(count):
            value, offset = self.kind.read(data, offset, end)
            values.append(value)
        return tuple(values), offset

    def write(self, value: tuple[Any, ...]) -> bytes:
        return len(value).to_bytes(2, "big") + b"".join(map(self.kind.write, value))


class Repeated:
    """Values of one kind up to the end, or exactly `count` of them."""

    def __init__(self, kind: Kind, count: int | None = None) -> None:
        self.kind = kind
        self.count = count

    def read(self, data: bytes, offset: int, end: int) -> tuple[tuple[Any, ...], int]:
        values: list[Any] = []
        while len(values) < self.count if self.count is not None else offset < end:
            value, offset = self.kind.read(data, offset, end)
            values.append(value)
        return tuple(values), offset

    def write(self, value: tuple[Any, ...]) -> bytes:
        assert self.count is None or len(value) == self.count
        return b"".join(map(self.kind.write, value))


class Rest:
    """Every byte up to the end: `...*byte`."""

    def read(self, data: bytes, offset: int, end: int) -> tuple[bytes, int]:
        return data[offset:end], end

    def write(self, value: bytes) -> bytes:
        return value


class Truncated:
    """tu16, tu32 or tu64: the last value of a TLV record, without leading zeros."""

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size

    def read(self, data: bytes, offset: int, end: int) -> tuple[int, int]:
        return read_truncated(data[offset:end], self.max_size), end

    def write(self, value: int) -> bytes:
        return write_truncated(value, self.max_size)


class BigSize:
    def read(self, data: bytes, offset: int, end: int) -> tuple[int, int]:
        return read_bigsize(data, offset, end)

    def write(self, value: int) -> bytes:
        return write_bigsize(value)


class Flag:
    """A TLV record without a value: True where it is present."""

    def read(self, data: bytes, offset: int, end: int) -> tuple[bool, int]:
        return True, offset

    def write(self, value: bool) -> bytes:
        assert value
        return b""


class Tlv:
    """A record of the message's TLV stream: its type, and the kind of its value (or of its several values)."""

    def __init__(self, tlv_type: int, kind: Kind) -> None:
        self.tlv_type = tlv_type
        self.kind = kind


def _point(raw: bytes) -> bytes:
    # BOLT 1 vectors, TLV Decoding Failures: what is no point must not decode. The check costs 3 µs, and spares every
    # user of a point the case that it is none.
    if not pubkey_valid(raw):
        raise DecodeError("point", "not a point of the curve")
    return raw


def bytes_of(size: int, convert: Callable[[bytes], bytes] | None = None) -> Fixed:
    return Fixed(f"{size}s", size, convert)


U8_KIND = Fixed("B", 1)
U16_KIND = Fixed("H", 2)
U32_KIND = Fixed("I", 4)
U64_KIND = Fixed("Q", 8)
S64_KIND = Fixed("q", 8)
BYTES32_KIND = bytes_of(32)
SIGNATURE_KIND = bytes_of(64)
POINT_KIND = bytes_of(33, _point)

U8 = Annotated[int, U8_KIND]
U16 = Annotated[int, U16_KIND]
U32 = Annotated[int, U32_KIND]
U64 = Annotated[int, U64_KIND]
SatU64 = Annotated[Sat, U64_KIND]
MsatU64 = Annotated[Msat, U64_KIND]
MsatU32 = Annotated[Msat, U32_KIND]
SatS64 = Annotated[Sat, S64_KIND]
FeerateU32 = Annotated[FeeratePerKw, U32_KIND]
Point = Annotated[PublicKey, POINT_KIND]
NodeIdPoint = Annotated[NodeId, bytes_of(33)]
"""A point of gossip: whether it is one shows when its signature is verified."""
SignatureBytes = Annotated[Signature, SIGNATURE_KIND]
ChannelIdBytes = Annotated[ChannelId, BYTES32_KIND]
ChainHashBytes = Annotated[ChainHash, BYTES32_KIND]
TxidBytes = Annotated[Txid, BYTES32_KIND]
PaymentHashBytes = Annotated[PaymentHash, BYTES32_KIND]
PreimageBytes = Annotated[PaymentPreimage, bytes_of(32, PaymentPreimage)]
SecretBytes = Annotated[Secret, bytes_of(32, Secret)]
Scid = Annotated[ShortChannelId, U64_KIND]
PrefixedBytes = Annotated[bytes, Prefixed()]
RestBytes = Annotated[bytes, Rest()]
