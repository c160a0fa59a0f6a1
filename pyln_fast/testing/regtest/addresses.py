"""Regtest addresses: bech32 and bech32m (BIP 173, BIP 350) and the two base58 kinds."""

from __future__ import annotations

from pyln_fast.errors import DecodeError
from pyln_fast.tx import base58, scripts
from pyln_fast.types import Network

_PUBKEY_HASH, _SCRIPT_HASH = 111, 196


class InvalidAddress(ValueError):
    """Text that is no address of the regtest chain."""


def script_of_address(address: str) -> bytes:
    """The scriptPubKey that an address stands for. Raises InvalidAddress."""
    if not address.lower().startswith(Network.REGTEST.bech32_hrp + "1"):
        return _script_of_base58(address)
    try:
        return scripts.script_pubkey_from_address(address, Network.REGTEST)
    except DecodeError as error:
        raise InvalidAddress(error.why) from None


def _script_of_base58(address: str) -> bytes:
    try:
        version, digest = base58.decode_check(address)
    except DecodeError as error:
        raise InvalidAddress(f"Invalid or unsupported Segwit (Bech32) or Base58 encoding: {error.why}") from None
    if version == _PUBKEY_HASH:
        return b"\x76\xa9\x14" + digest + b"\x88\xac"
    if version == _SCRIPT_HASH:
        return b"\xa9\x14" + digest + b"\x87"
    raise InvalidAddress("Invalid or unsupported Base58-encoded address.")


def address_of_script(script: bytes) -> str | None:
    """The address of a scriptPubKey, None where it has none."""
    program = scripts.witness_program(script)
    if program is not None and (program[0] or len(program[1]) in (20, 32)):
        return scripts.address(script, Network.REGTEST)
    if len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return base58.encode_check(_PUBKEY_HASH, script[3:23])
    if len(script) == 23 and script[:2] == b"\xa9\x14" and script[22:] == b"\x87":
        return base58.encode_check(_SCRIPT_HASH, script[2:22])
    return None
