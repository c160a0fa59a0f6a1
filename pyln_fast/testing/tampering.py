"""Messages as a peer that follows no rules would send them: out of honest ones, by small changes."""

from __future__ import annotations

import random
from typing import TypeVar

from msgspec.structs import replace

from pyln_fast.types import ChannelId, FeeratePerKw
from pyln_fast.wire.channel_msgs import Shutdown, UpdateFee
from pyln_fast.wire.codec import AnyMessage, UnknownMessage, encode
from pyln_fast.wire.layout import Message
from pyln_fast.wire.setup_msgs import Error, Ping, Warning

B = TypeVar("B", bound=bytes)

INTEGER_LIMITS = (0, 1, 0xFF, 0xFFFF, 0xFFFF_FFFF, (1 << 48) - 1, 1 << 63, (1 << 64) - 1)
BURST = 40
"""Messages of one flood."""


def altered(message: AnyMessage, numbers: random.Random) -> AnyMessage:
    """The message with one field changed, by a little or to a limit of its type: perhaps to what has no bytes."""
    names = message.__struct_fields__
    name = numbers.choice(names)
    return replace(message, **{name: _altered_value(getattr(message, name), numbers)})


def _altered_value(value: object, numbers: random.Random) -> object:
    if isinstance(value, bytes):
        return _altered_bytes(value, numbers)
    if isinstance(value, tuple):
        return _altered_tuple(value, numbers)
    if isinstance(value, int):
        near = (value - 1, value + 1, value + 1000, value * 2, value // 2)
        return max(0, numbers.choice((*near, *near, *INTEGER_LIMITS)))
    return value


def _altered_bytes(value: B, numbers: random.Random) -> B:
    if not value:
        return type(value)(numbers.randbytes(3))
    kind = numbers.random()
    if kind < 0.6:
        at = numbers.randrange(len(value))
        return type(value)(value[:at] + bytes([value[at] ^ 1 << numbers.randrange(8)]) + value[at + 1 :])
    if kind < 0.8:
        return type(value)(numbers.randbytes(len(value)))
    return type(value)(bytes(len(value)))


def _altered_tuple(values: tuple[object, ...], numbers: random.Random) -> tuple[object, ...]:
    if not values:
        return values
    at = numbers.randrange(len(values))
    kind = numbers.random()
    if kind < 0.3:
        return values[:at] + values[at + 1 :]
    if kind < 0.6:
        return (*values, values[at])
    return (*values[:at], _altered_value(values[at], numbers), *values[at + 1 :])


def truncated(message: Message, numbers: random.Random) -> AnyMessage:
    """A message of the same type whose bytes end too early, or go on for too long."""
    body = encode(message)[2:]
    if numbers.random() < 0.7:
        return UnknownMessage(message.TYPE, body[: numbers.randrange(len(body))])
    return UnknownMessage(message.TYPE, body + numbers.randbytes(numbers.randint(1, 40)))


def forged(channel_id: ChannelId, numbers: random.Random) -> AnyMessage:
    """A message that nothing before it called for."""
    kind = numbers.randrange(6)
    if kind == 0:
        return UpdateFee(channel_id, FeeratePerKw(numbers.choice((0, 1, 252, 253, 5000, 1_000_000, 0xFFFF_FFFF))))
    if kind == 1:
        return Shutdown(channel_id, numbers.choice((b"", b"\x00\x14" + bytes(20), b"\x6a" * 30, bytes(600))))
    if kind == 2:
        return Warning(channel_id, numbers.randbytes(20))
    if kind == 3:
        return UnknownMessage(numbers.choice((32001, 32000, 141, 142, 65535)), numbers.randbytes(10))
    if kind == 4:
        return Ping(numbers.choice((0, 1, 65531, 65532, 65535)), bytes(numbers.randrange(100)))
    return Error(channel_id, b"an error out of nowhere")


def flood(channel_id: ChannelId, numbers: random.Random) -> list[AnyMessage]:
    kind = numbers.randrange(3)
    if kind == 0:
        return [Ping(65531, b"")] * BURST
    if kind == 1:
        return [Warning(channel_id, bytes(1000))] * BURST
    return [UnknownMessage(32001, bytes(60_000))] * (BURST // 4)
