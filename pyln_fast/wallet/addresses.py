"""Any address that a user may give us, as a script."""

from __future__ import annotations

from pyln_fast.errors import DecodeError
from pyln_fast.tx import base58
from pyln_fast.tx.scripts import script_pubkey_from_address
from pyln_fast.types import Network

# Bitcoin Core's base58Prefixes.
_P2PKH_VERSIONS = {True: 0, False: 111}
_P2SH_VERSIONS = {True: 5, False: 196}


def script_pubkey(address: str, network: Network) -> bytes:
    """The script of a segwit, P2PKH or P2SH address. Raises DecodeError, also for another network's address."""
    text = address.strip()
    if text[:3].lower() in ("bc1", "tb1") or text[:5].lower() == "bcrt1":
        return script_pubkey_from_address(text, network)
    version, digest = base58.decode_check(text)
    mainnet = network is Network.MAINNET
    if version == _P2PKH_VERSIONS[mainnet]:
        return b"\x76\xa9\x14" + digest + b"\x88\xac"
    if version == _P2SH_VERSIONS[mainnet]:
        return b"\xa9\x14" + digest + b"\x87"
    raise DecodeError("address", f"version {version} is no address of {network.value}")
