"""Any address that a user may give us, as a script."""

from __future__ import annotations

import hashlib

from pyln_fast.errors import DecodeError
from pyln_fast.tx.scripts import script_pubkey_from_address
from pyln_fast.types import Network

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAX_BASE58 = 40
# Bitcoin Core's base58Prefixes.
_P2PKH_VERSIONS = {True: 0, False: 111}
_P2SH_VERSIONS = {True: 5, False: 196}


def script_pubkey(address: str, network: Network) -> bytes:
    """The script of a segwit, P2PKH or P2SH address. Raises DecodeError, also for another network's address."""
    text = address.strip()
    if text[:3].lower() in ("bc1", "tb1") or text[:5].lower() == "bcrt1":
        return script_pubkey_from_address(text, network)
    version, digest = _base58check(text)
    mainnet = network is Network.MAINNET
    if version == _P2PKH_VERSIONS[mainnet]:
        return b"\x76\xa9\x14" + digest + b"\x88\xac"
    if version == _P2SH_VERSIONS[mainnet]:
        return b"\xa9\x14" + digest + b"\x87"
    raise DecodeError("address", f"version {version} is no address of {network.value}")


def _base58check(text: str) -> tuple[int, bytes]:
    """The version byte and the 20 bytes of hash."""
    if not text or len(text) > _MAX_BASE58 or any(char not in _BASE58 for char in text):
        raise DecodeError("address", "neither bech32 nor base58")
    number = 0
    for char in text:
        number = number * 58 + _BASE58.index(char)
    zeros = len(text) - len(text.lstrip("1"))
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != 25:
        raise DecodeError("address", f"{len(raw)} bytes of base58, not 25")
    if hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] != raw[21:]:
        raise DecodeError("address", "the checksum is wrong")
    return raw[0], raw[1:21]
