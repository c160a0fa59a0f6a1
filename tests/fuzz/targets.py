"""Every fuzz target: a function of bytes that raises if something is wrong, and where fuzzing it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

CORPUS = Path(__file__).parent / "corpus"


class Target(msgspec.Struct, frozen=True):
    """`function` and `seeds` name their module too: to import all of them takes seconds, and one is enough to fuzz."""

    name: str
    function: str
    seeds_of: str
    max_bytes: int = 4096
    """Of an input: longer ones find nothing that shorter ones do not."""
    weight: int = 1
    """Its share of the time."""

    @property
    def run(self) -> Callable[[bytes], None]:
        return _find(self.function)  # type: ignore[no-any-return]

    def seeds(self) -> Iterable[bytes]:
        return _find(f"seeds.{self.seeds_of}")()  # type: ignore[no-any-return]

    def corpus(self) -> list[Path]:
        """What is kept of earlier runs: inputs that reach different code, and `finding-…` for each bug that was one."""
        return sorted((CORPUS / self.name).glob("*"))


@cache
def _find(name: str) -> Any:
    module, _, attribute = name.partition(".")
    return getattr(import_module(f"tests.fuzz.{module}"), attribute)


TARGETS = {
    target.name: target
    for target in (
        Target("address", "text.address", "addresses", 200),
        Target("bitcoind_answer", "text.bitcoind_answer", "bitcoind_answers", 1000),
        Target("block", "chain.block", "blocks"),
        Target("config", "text.config", "configs", 1000),
        Target("failure_message", "wire.failure_message", "failure_messages", 400),
        Target("failure_return", "payment.failure_return", "failure_returns", 1000),
        Target("handshake", "handshake.handshake", "handshakes", 1000, 2),
        Target("invoice", "payment.invoice", "invoices", 1500),
        Target("onion_packet", "payment.onion_packet", "onion_packets", 2000),
        Target("onion_payload", "wire.onion_payload", "onion_payloads", 700),
        Target("peer_stream", "peer.peer_stream", "peer_streams", 3000, 6),
        Target("record", "store.record", "stored_records"),
        Target("store_row", "store.store_row", "store_rows", 1200),
        Target("tlv_stream", "wire.tlv_stream", "tlv_streams", 600),
        Target("transaction", "chain.raw_transaction", "transactions"),
        Target("wire_message", "wire.wire_message", "wire_messages"),
    )
}
