"""Gives the database of a stopped node a past: what is left on disk of payments that were made long ago.

`python -m benchmarks.prefill --data-dir DIR --payments N` writes the history of N payments that the node sent and of N
that it forwarded over its channels, with the revoked commitments of both, as the node's own records through the store's
own appends and checkpoints. A received payment leaves nothing but commitments. What the node writes at last for each of
them is what is written here; what it deletes again (HTLCs, events, payments under way) is not.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pyln_fast.chain.channel_monitor import MonitorState
from pyln_fast.errors import LocalError
from pyln_fast.events import Path as PaymentPath
from pyln_fast.events import RouteHop
from pyln_fast.node.state import COMMITMENTS, FINISHED_PAYMENTS, FORWARDED, MONITORS, NODE, NODE_KEY, ForwardedPayment
from pyln_fast.payment.invoice_fields import RouteHint, RouteHintHop
from pyln_fast.payment.outbound import Attempt, Attempts, OutboundPayment, PaymentStatus
from pyln_fast.persist import directory as disk
from pyln_fast.persist import overlay
from pyln_fast.persist.sqlite_store import SqliteStore
from pyln_fast.records import Batch, Write
from pyln_fast.tx.monitor_update import CounterpartyCommitment
from pyln_fast.tx.parameters import CommitmentHtlc
from pyln_fast.types import (
    BlockHeight,
    Blocks,
    Msat,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PaymentSecret,
    PrivateKey,
    ShortChannelId,
    Txid,
    UnixTime,
)

PAYMENTS_A_BATCH = 2000
BATCHES_A_SLICE = 25
"""A checkpoint slice of 50,000 payments touches each page of a large table once, not once a payment."""
CACHE_BYTES = 512 << 20
"""SQLite's, while it fills."""
COMMITMENTS_A_PAYMENT = 1.0
"""Half a commitment a payment is signed under full load, two if there is one payment at a time."""
MOST_HTLCS = 7
"""In a commitment; so many on average as two nodes at full speed have makes 350 bytes."""
PAST_SECONDS = 30 * 24 * 3600
MOST_HINTS = 3
HINT_SCID = ShortChannelId((1 << 44) | 1)


class NoChannels(LocalError):
    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory}: the node has no channel that payments could have gone over")


class Prefilled(msgspec.Struct, frozen=True):
    """What a call of `prefill` added."""

    payments: int
    rows: int
    database_bytes: int
    """By how much the database file has grown."""
    seconds: float
    an_id: PaymentId
    """Of one of the payments."""

    @property
    def bytes_a_payment(self) -> float:
        return self.database_bytes / self.payments


class _Past:
    """Makes the records. The same seed gives the same ones, another seed none of them."""

    def __init__(self, seed: int, monitors: list[MonitorState], now: UnixTime) -> None:
        self._random = random.Random(seed)
        self._monitors = monitors
        self._now = now
        # Of commitments and of forwarded HTLCs: far above those of any channel, so nothing of the node's is replaced.
        self._next = {monitor.channel_id: (seed + 1) << 32 for monitor in monitors}
        self._owed_commitments = 0.0
        hop = RouteHintHop(monitors[0].counterparty_node_id, HINT_SCID, Msat(1000), 0, Blocks(72))
        self._hints: tuple[RouteHint, ...] = ((hop,),) * MOST_HINTS

    def payment(self, age: float) -> tuple[PaymentId, list[Write]]:
        """One that was sent and one that was forwarded, at `age` of the way from then to now."""
        at = UnixTime(self._now - int(PAST_SECONDS * (1 - age)))
        monitor, other = self._random.choice(self._monitors), self._random.choice(self._monitors)
        sent = self._sent(monitor, at)
        writes: list[Write] = [FINISHED_PAYMENTS.put(sent.payment_id, sent), self._forwarded(monitor, other, at)]
        self._owed_commitments += COMMITMENTS_A_PAYMENT
        while self._owed_commitments >= 1:
            self._owed_commitments -= 1
            writes.append(self._commitment(monitor))
        return sent.payment_id, writes

    def _number(self, monitor: MonitorState) -> int:
        number = self._next[monitor.channel_id]
        self._next[monitor.channel_id] = number + 1
        return number

    def _sent(self, monitor: MonitorState, at: UnixTime) -> OutboundPayment:
        random_bytes = self._random.randbytes
        preimage = PaymentPreimage(random_bytes(32))
        payment_hash = PaymentHash(hashlib.sha256(preimage).digest())
        amount = Msat(self._random.randrange(1_000, 100_000_000))
        peer = monitor.counterparty_node_id
        path = PaymentPath((RouteHop(peer, HINT_SCID, amount, 45),))
        return OutboundPayment(
            payment_id=PaymentId(payment_hash),
            payment_hash=payment_hash,
            payment_secret=PaymentSecret(random_bytes(32)),
            payment_metadata=None,
            custom_tlvs=(),
            amount_msat=amount,
            payee=peer,
            final_cltv_expiry_delta=45,
            hints=self._hints,
            max_fee_msat=Msat(50_000),
            max_total_cltv_expiry_delta=1008,
            retry=Attempts(3),
            began_at=at,
            expires_at=UnixTime(at + 3600),
            status=PaymentStatus.FULFILLED,
            next_attempt=1,
            attempt=Attempt(0, PrivateKey(random_bytes(32)), path, monitor.channel_id, amount),
            preimage=preimage,
            fee_paid_msat=Msat(0),
        )

    def _forwarded(self, monitor: MonitorState, other: MonitorState, at: UnixTime) -> Write:
        amount = Msat(self._random.randrange(1_000, 100_000_000))
        record = ForwardedPayment(monitor.channel_id, other.channel_id, amount, Msat(1000 + amount // 1000), at)
        return FORWARDED.put(monitor.channel_id + self._number(monitor).to_bytes(8, "big"), record)

    def _commitment(self, monitor: MonitorState) -> Write:
        """As the newest one that the channel signed, with other HTLCs."""
        random_bytes, number = self._random.randbytes, self._number(monitor)
        htlcs = tuple(
            CommitmentHtlc(number + n, False, Msat(1_000_000), PaymentHash(random_bytes(32)), BlockHeight(185))
            for n in range(self._random.randrange(MOST_HTLCS + 1))
        )
        newest = monitor.counterparty_commitment.commitment
        spec = msgspec.structs.replace(newest.spec, htlcs=htlcs)
        commitment = msgspec.structs.replace(newest, number=number, spec=spec)
        record = CounterpartyCommitment(commitment, Txid(random_bytes(32)))
        return COMMITMENTS.put(monitor.channel_id + number.to_bytes(8, "big"), record)


def prefill(directory: Path, payments: int) -> Prefilled:
    """Into the database of a node that does not run and has a channel. Raises NoChannels, StoreError."""
    start, before = time.perf_counter(), (directory / disk.StoreKind.SQLITE.file).stat().st_size
    store = SqliteStore(directory)
    try:
        loaded = store.load([MONITORS.name, NODE.name]).tables
        monitors = [MONITORS.decode(value) for value in loaded[MONITORS.name].values()]
        if not monitors:
            raise NoChannels(directory)
        store._db.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
        past = _Past(store.sequence, monitors, NODE.decode(loaded[NODE.name][NODE_KEY]).wall_time)
        rows, an_id = _fill(store, past, payments)
    finally:
        store.close()
    grown = (directory / disk.StoreKind.SQLITE.file).stat().st_size - before
    return Prefilled(payments, rows, grown, time.perf_counter() - start, an_id)


def _fill(store: SqliteStore, past: _Past, payments: int) -> tuple[int, PaymentId]:
    """Everything is in the tables when it returns, as in a node that was idle for a moment."""
    rows, an_id = 0, PaymentId(bytes(32))
    with _large_slices():
        for first in range(0, payments, PAYMENTS_A_BATCH):
            writes: list[Write] = []
            for index in range(first, min(first + PAYMENTS_A_BATCH, payments)):
                an_id, of_payment = past.payment(index / payments)
                writes += of_payment
            store.append(Batch(store.sequence + 1, tuple(writes)))
            rows += len(writes)
            if store.tail_rows >= BATCHES_A_SLICE:
                _checkpoint(store)
        _checkpoint(store)
    return rows, an_id


def _checkpoint(store: SqliteStore) -> None:
    while store.checkpoint():
        pass


@contextmanager
def _large_slices() -> Iterator[None]:
    """Nobody waits for an append here."""
    before = overlay.SLICE_KEYS, overlay.SLICE_BYTES
    overlay.SLICE_KEYS, overlay.SLICE_BYTES = 1 << 60, 1 << 60
    try:
        yield
    finally:
        overlay.SLICE_KEYS, overlay.SLICE_BYTES = before


def main(
    data_dir: Annotated[Path, typer.Option(help="Of a node that has channels and does not run.")],
    payments: Annotated[int, typer.Option(min=1, help="How many were sent, and how many forwarded.")] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="What was done, as JSON.")] = False,
) -> None:
    """Gives the database of a stopped node the history of many payments."""
    try:
        done = prefill(data_dir, payments)
    except LocalError as error:
        typer.echo(f"prefill: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(msgspec.json.encode(done))
        return
    typer.echo(
        f"{done.payments} payments, {done.rows} records, {done.database_bytes} bytes "
        f"({done.bytes_a_payment:.0f} a payment) in {done.seconds:.1f} s"
    )


if __name__ == "__main__":
    typer.run(main)
