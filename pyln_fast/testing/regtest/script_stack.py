"""The operations of scripts that only move and compare what is on the stack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pyln_fast.testing.regtest.block_store import sha256d
from pyln_fast.testing.regtest.script_numbers import ScriptFailure, decode, encode, is_true

SHORT_STACK = "Operation not valid with the current stack size"
Operation = Callable[[list[bytes], bool], None]
"""Works on the stack; the flag asks for minimally encoded numbers."""


def need(stack: list[bytes], count: int) -> None:
    if len(stack) < count:
        raise ScriptFailure(SHORT_STACK)


def pop_number(stack: list[bytes], minimal: bool) -> int:
    need(stack, 1)
    return decode(stack.pop(), minimal)


def verify(stack: list[bytes], reason: str) -> None:
    need(stack, 1)
    if not is_true(stack[-1]):
        raise ScriptFailure(reason)
    stack.pop()


def boolean(value: bool) -> bytes:
    return b"\x01" if value else b""


def _moves(count: int, function: Callable[[list[bytes]], list[bytes]]) -> Operation:
    """Replaces the top `count` elements by what the function makes of them."""

    def run(stack: list[bytes], minimal: bool) -> None:
        need(stack, count)
        top = stack[len(stack) - count :]
        stack[len(stack) - count :] = function(top)

    return run


def _numbers(count: int, function: Callable[..., int]) -> Operation:
    """Replaces the top `count` numbers by one."""

    def run(stack: list[bytes], minimal: bool) -> None:
        need(stack, count)
        numbers = [decode(data, minimal) for data in stack[len(stack) - count :]]
        stack[len(stack) - count :] = [encode(int(function(*numbers)))]

    return run


def _if_dup(stack: list[bytes], minimal: bool) -> None:
    need(stack, 1)
    if is_true(stack[-1]):
        stack.append(stack[-1])


def _depth(stack: list[bytes], minimal: bool) -> None:
    stack.append(encode(len(stack)))


def _pick(stack: list[bytes], minimal: bool, remove: bool = False) -> None:
    need(stack, 2)
    depth = pop_number(stack, minimal)
    if not 0 <= depth < len(stack):
        raise ScriptFailure(SHORT_STACK)
    stack.append(stack.pop(-1 - depth) if remove else stack[-1 - depth])


def _roll(stack: list[bytes], minimal: bool) -> None:
    _pick(stack, minimal, remove=True)


def _equal_verify(stack: list[bytes], minimal: bool) -> None:
    need(stack, 2)
    stack[-2:] = [boolean(stack[-1] == stack[-2])]
    verify(stack, "Script failed an OP_EQUALVERIFY operation")


def _num_equal_verify(stack: list[bytes], minimal: bool) -> None:
    OPERATIONS[0x9C](stack, minimal)
    verify(stack, "Script failed an OP_NUMEQUALVERIFY operation")


def _verify(stack: list[bytes], minimal: bool) -> None:
    verify(stack, "Script failed an OP_VERIFY operation")


def _hash(function: Callable[[bytes], bytes]) -> Operation:
    return _moves(1, lambda t: [function(t[0])])


def _ripemd160(data: bytes) -> bytes:
    return hashlib.new("ripemd160", data).digest()


OPERATIONS: dict[int, Operation] = {
    0x61: lambda stack, minimal: None,  # OP_NOP
    0x69: _verify,
    0x6D: _moves(2, lambda t: []),  # OP_2DROP
    0x6E: _moves(2, lambda t: t + t),  # OP_2DUP
    0x6F: _moves(3, lambda t: t + t),  # OP_3DUP
    0x70: _moves(4, lambda t: t + t[:2]),  # OP_2OVER
    0x71: _moves(6, lambda t: t[2:] + t[:2]),  # OP_2ROT
    0x72: _moves(4, lambda t: t[2:] + t[:2]),  # OP_2SWAP
    0x73: _if_dup,
    0x74: _depth,
    0x75: _moves(1, lambda t: []),  # OP_DROP
    0x76: _moves(1, lambda t: t + t),  # OP_DUP
    0x77: _moves(2, lambda t: t[1:]),  # OP_NIP
    0x78: _moves(2, lambda t: t + t[:1]),  # OP_OVER
    0x79: _pick,
    0x7A: _roll,
    0x7B: _moves(3, lambda t: t[1:] + t[:1]),  # OP_ROT
    0x7C: _moves(2, lambda t: [t[1], t[0]]),  # OP_SWAP
    0x7D: _moves(2, lambda t: [t[1], *t]),  # OP_TUCK
    0x82: _moves(1, lambda t: [*t, encode(len(t[0]))]),  # OP_SIZE
    0x87: _moves(2, lambda t: [boolean(t[0] == t[1])]),  # OP_EQUAL
    0x88: _equal_verify,
    0x8B: _numbers(1, lambda a: a + 1),
    0x8C: _numbers(1, lambda a: a - 1),
    0x8F: _numbers(1, lambda a: -a),
    0x90: _numbers(1, abs),
    0x91: _numbers(1, lambda a: a == 0),
    0x92: _numbers(1, lambda a: a != 0),
    0x93: _numbers(2, lambda a, b: a + b),
    0x94: _numbers(2, lambda a, b: a - b),
    0x9A: _numbers(2, lambda a, b: a != 0 and b != 0),
    0x9B: _numbers(2, lambda a, b: a != 0 or b != 0),
    0x9C: _numbers(2, lambda a, b: a == b),
    0x9D: _num_equal_verify,
    0x9E: _numbers(2, lambda a, b: a != b),
    0x9F: _numbers(2, lambda a, b: a < b),
    0xA0: _numbers(2, lambda a, b: a > b),
    0xA1: _numbers(2, lambda a, b: a <= b),
    0xA2: _numbers(2, lambda a, b: a >= b),
    0xA3: _numbers(2, min),
    0xA4: _numbers(2, max),
    0xA5: _numbers(3, lambda x, low, high: low <= x < high),  # OP_WITHIN
    0xA6: _hash(_ripemd160),
    0xA7: _hash(lambda data: hashlib.sha1(data).digest()),
    0xA8: _hash(lambda data: hashlib.sha256(data).digest()),
    0xA9: _hash(lambda data: _ripemd160(hashlib.sha256(data).digest())),
    0xAA: _hash(sha256d),
}
