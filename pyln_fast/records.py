"""What is written to a store: typed records, the changes to them, and the batch that makes changes durable together.

A record is a frozen `msgspec.Struct` with `array_like=True`, or a tagged union of them. It evolves by fields appended
with defaults, so newer code reads older records; older code refuses newer ones by their version byte. Pure: storage is
`persist/`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Generic, TypeVar, cast

import msgspec

from pyln_fast.errors import DecodeError, LocalError
from pyln_fast.types import Secret

RECORD_VERSION = 1
"""The first byte of every record. Raised whenever any record type gains a field, for what an older program would
silently drop (a new field of a channel's state) can cost the channel."""

Record = TypeVar("Record")


class Put(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The record of `key` in `table` is now `value` (as `encode` made it)."""

    table: str
    key: bytes
    value: bytes


class Delete(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """There is no record of `key` in `table` any more. Deleting what is not there is no error."""

    table: str
    key: bytes


Write = Put | Delete


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """All durable results of one turn: after a crash either all of them are there or none.

    Sequence numbers begin at 1 and have no gaps. No key is written twice in a batch.
    """

    sequence: int
    writes: tuple[Write, ...]


class Table(Generic[Record]):
    """A named set of records of one type, such as `Table("channels", ChannelRecord)`.

    A table that is `history` is not loaded at start (revoked commitments, finished payments): its records are read
    from the store when they are asked for, so that memory and start time do not grow with it.
    """

    __slots__ = ("history", "kind", "name")

    def __init__(self, name: str, kind: type[Record], *, history: bool = False) -> None:
        self.name = name
        self.kind = kind
        self.history = history

    def put(self, key: bytes, record: Record) -> Put:
        return Put(self.name, key, encode(record))

    def delete(self, key: bytes) -> Delete:
        return Delete(self.name, key)

    def decode(self, data: bytes) -> Record:
        """Raises DecodeError."""
        return decode(self.kind, data)


def encode(record: object) -> bytes:
    """The bytes of a record; `decode` with its type gives an equal one.

    Integers are below 2^64: wider ones are kept as bytes. Raises TypeError for what cannot be part of a record.
    """
    return bytes([RECORD_VERSION]) + _ENCODER.encode(record)


def decode(kind: type[Record], data: bytes) -> Record:
    """The record of that type (or union) in `data`. Raises DecodeError, which names the type and never the contents."""
    what = f"a record {getattr(kind, '__name__', kind)}"
    if not data:
        raise DecodeError(what, "it is empty")
    if not 0 < data[0] <= RECORD_VERSION:
        age = "newer" if data[0] else "unknown"
        raise DecodeError(what, f"its version {data[0]} is {age}: this program reads versions up to {RECORD_VERSION}")
    decoder: msgspec.msgpack.Decoder[Record] = _decoder(cast(Any, kind))
    try:
        return decoder.decode(memoryview(data)[1:])
    except LocalError as error:
        raise DecodeError(what, f"a value in it cannot be: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # Where, but not what: msgspec quotes the value that it did not like.
        _, _, where = str(error).partition(" - at ")
        raise DecodeError(what, f"its bytes are not of that type, at {where or 'its end'}") from None


def _from_secret(value: Any) -> bytes:
    if isinstance(value, Secret):
        return bytes(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a record")


def _to_secret(kind: type, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Secret) and type(value) is bytes:
        return kind(value)
    raise ValueError(f"expected {kind.__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_from_secret)


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_to_secret)
