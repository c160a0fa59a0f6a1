"""What people and programs on the same machine give us: addresses, the configuration, bitcoind's answers."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec

from pyln_fast.chain.header_chain import ChainSourceError
from pyln_fast.errors import DecodeError
from pyln_fast.runtime.bitcoind import BitcoindClient
from pyln_fast.runtime.bitcoind_rpc import BitcoindRpc
from pyln_fast.runtime.settings import InvalidSettings, override, read_config, to_config
from pyln_fast.tx import base58, bech32, scripts
from pyln_fast.types import BlockHash, Network, OutPoint, Txid
from pyln_fast.wallet.addresses import script_pubkey

NETWORKS = tuple(Network)


def address(data: bytes) -> None:
    """The first byte decides: a network and text, or a version and data that get their right checksum."""
    if not data:
        return
    network, mode, rest = NETWORKS[data[0] % len(NETWORKS)], data[0] // len(NETWORKS) % 4, data[1:]
    if mode == 0:
        text = rest.decode("utf-8", "surrogateescape")
    elif mode == 1:
        text = base58.encode_check(rest[0] if rest else 0, rest[1:])
    else:
        constant = (bech32.BECH32, bech32.BECH32M)[mode - 2]
        text = bech32.encode(network.bech32_hrp, bytes(byte & 31 for byte in rest), constant)
    try:
        script = script_pubkey(text, network)
    except DecodeError:
        return
    if scripts.witness_program(script) is None:
        version, digest = base58.decode_check(text.strip())
        assert base58.encode_check(version, digest) == text.strip()
        assert digest in script
    else:
        assert scripts.address(script, network) == text.strip().lower()


class FileOfBytes:
    """As much of a Path as `read_config` uses."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._data)

    def __str__(self) -> str:
        return "config.toml"


def config(data: bytes) -> None:
    """config.toml as a whole, and as `section.name=value` of the command line."""
    try:
        read = read_config(cast(Path, FileOfBytes(data)))
    except InvalidSettings:
        pass
    else:
        assert to_config(msgspec.to_builtins(read)) == read
    for assignment in data.decode("utf-8", "replace").splitlines()[:4]:
        try:
            override(to_config({}), [assignment])
        except InvalidSettings:
            continue


class AnsweringRpc(BitcoindRpc):
    """Every call gets the same answer."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__("http://127.0.0.1:8332")
        self._status = status
        self._answer = answer

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        return self._status, self._answer


HASH = bytes(32)
PARENT = bytes.fromhex("0100000001" + "11" * 32 + "00000000" + "00" + "ffffffff" + "01" + "00" * 8 + "00" + "00" * 4)
QUESTIONS: tuple[Callable[[BitcoindClient], Awaitable[object]], ...] = (
    lambda client: client.check_ready(),
    lambda client: client.get_genesis_hash(),
    lambda client: client.get_best_block(),
    lambda client: client.get_header(BlockHash(HASH)),
    lambda client: client.get_block(BlockHash(HASH)),
    lambda client: client.get_utxo(OutPoint(Txid(HASH), 0)),
    lambda client: client.broadcast([PARENT]),
    lambda client: client.broadcast([PARENT, PARENT.replace(b"\x11", b"\x12")]),
    lambda client: client.refresh_fees(),
)
STATUSES = (200, 500, 401, 403)
HUGE = 1 << 80


def bitcoind_answer(data: bytes) -> None:
    """The first byte is the question, the second the HTTP status: either an answer of its type, or one error in one
    line."""
    if len(data) < 2:
        return
    question = QUESTIONS[data[0] % len(QUESTIONS)]
    client = BitcoindClient(AnsweringRpc(STATUSES[data[1] % len(STATUSES)], data[2:]))
    try:
        answer = run(cast(Coroutine[Any, Any, object], question(client)))
    except ChainSourceError as error:
        assert len(str(error)) < 1000 + 2 * len(data)
        return
    assert not isinstance(answer, Decimal)


def run(coroutine: Coroutine[Any, Any, object]) -> object:
    """Nothing in it waits, so no loop is needed."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")
