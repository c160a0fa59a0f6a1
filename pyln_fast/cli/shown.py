"""Records for people: every figure and identifier of a record, and of other bytes their number alone.

What is shown is a list of types, not what is hidden: bytes of a kind that nobody thought of stay unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import cache
from hashlib import sha256
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from pyln_fast.types import (
    BlockHash,
    ChainHash,
    ChannelId,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PublicKey,
    Secret,
    Txid,
)

PUBLIC: frozenset[Any] = frozenset({BlockHash, ChainHash, ChannelId, NodeId, PaymentHash, PaymentId, PublicKey, Txid})
"""Kinds of bytes that peers or the chain know anyway."""


def shown(value: object, kind: Any = Any) -> Any:
    """What JSON can say of a record's value; `kind` is its annotation."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, int | float):
        return value
    if isinstance(value, bytes):
        return _bytes(value, kind)
    if isinstance(value, msgspec.Struct):
        record: dict[str, Any] = {"type": type(value).__name__}
        return record | {name: shown(getattr(value, name), each) for name, each in _fields(type(value)).items()}
    if isinstance(value, dict):
        keys, values = _arguments(kind, dict, 2)
        return [[shown(key, keys), shown(each, values)] for key, each in value.items()]
    assert isinstance(value, tuple | list), f"a {type(value).__name__} in a record"
    return [shown(each, of) for each, of in zip(value, _elements(kind, len(value)), strict=True)]


def lines(record: Any, name: str = "") -> Iterator[str]:
    """`name: value` for each leaf of what `shown` made."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from lines(value, f"{name}.{key}" if name else key)
    elif isinstance(record, list) and record:
        for index, value in enumerate(record):
            yield from lines(value, f"{name}[{index}]")
    else:
        yield f"{name}: {'-' if record is None or record == [] else record}"


def _bytes(value: bytes, kind: Any) -> str:
    if isinstance(value, PaymentPreimage):
        return f"<preimage of {sha256(value).hexdigest()}>"
    if isinstance(value, Secret):
        return f"<{type(value).__name__}>"
    if any(each in PUBLIC for each in _choices(kind)):
        return value.hex()
    return f"<{len(value)} bytes>"


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _arguments(kind: Any, origin: type, count: int) -> tuple[Any, ...]:
    """Of the generic type among the choices."""
    for each in _choices(kind):
        if get_origin(each) is origin and len(get_args(each)) == count:
            return get_args(each)
    return (Any,) * count


def _elements(kind: Any, count: int) -> tuple[Any, ...]:
    for each in _choices(kind):
        arguments = get_args(each)
        if get_origin(each) in (tuple, list) and arguments:
            return arguments if len(arguments) == count and arguments[-1] is not ... else (arguments[0],) * count
    return (Any,) * count
