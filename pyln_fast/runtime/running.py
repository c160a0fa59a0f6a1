"""A node that runs: everything that a start brings up, in order, and a stop takes down."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.header_chain import HeaderChain
from pyln_fast.errors import LocalError
from pyln_fast.events import Event
from pyln_fast.node.node import Node
from pyln_fast.node.state import LOADED_TABLES
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.kv_store import LoadedState, StoreError
from pyln_fast.persist.store_writer import StoreWriter
from pyln_fast.persist.stores import open_store
from pyln_fast.runtime.background_processor import BackgroundProcessor
from pyln_fast.runtime.bitcoind import BitcoindClient
from pyln_fast.runtime.bitcoind_rpc import BitcoindRpc
from pyln_fast.runtime.chain_poller import ChainPoller, locator_of_best
from pyln_fast.runtime.clock import Clock, SystemClock
from pyln_fast.runtime.entropy import keys_manager, load_or_create_seed, wallet_keys
from pyln_fast.runtime.event_handler import EventHandler
from pyln_fast.runtime.peer_connector import PeerConnector
from pyln_fast.runtime.settings import NodeSettings
from pyln_fast.types import Network, Secret
from pyln_fast.wallet.utxos import KEY_INDEXES, TRANSACTIONS, UTXOS

TABLES = (*LOADED_TABLES, UTXOS.name, TRANSACTIONS.name, KEY_INDEXES.name)


T = TypeVar("T")


class StartRefused(LocalError):
    """This node must not run like this."""


def check_may_run(settings: NodeSettings) -> None:
    """Raises StartRefused."""
    if not __debug__ or sys.flags.optimize:
        raise StartRefused("python -O removes assertions, which are part of this program: run it without")
    if settings.network is Network.MAINNET:
        raise StartRefused("mainnet is refused: this version cannot claim its money on chain after a force-close")


class Running:
    """Made by `bring_up`."""

    def __init__(
        self, client: BitcoindClient, writer: StoreWriter, processor: BackgroundProcessor, poller: ChainPoller
    ) -> None:
        self.client = client
        self.writer = writer
        self.processor = processor
        self.node = processor.node
        self.addresses: tuple[str, ...] = ()
        self._poller = poller
        self._connector: PeerConnector | None = None
        self._scanning = asyncio.Lock()
        self._closing = False
        self._following: asyncio.Task[None] | None = None
        self._fees: asyncio.Task[None] | None = None

    async def go_online(self, settings: NodeSettings) -> None:
        """Begins turns; to the chain's tip first, then to the peers. Raises ChainSourceError, CannotListen."""
        self.processor.start()
        await self._poller.synchronize()
        loop = asyncio.get_running_loop()
        self._following = loop.create_task(self._poller.run(), name="chain")
        self._fees = loop.create_task(self.client.follow_fees(), name="fees")
        bound = [(host, await self.processor.tcp.listen(host, port)) for host, port in settings.listen]
        self.addresses = tuple(f"{host}:{port}" for host, port in bound)
        self._connector = PeerConnector(self.processor)
        self._connector.check()

    async def wait_stopped(self) -> None:
        """Raises NodeStopped, and what ends the chain's source for good."""
        assert self._following is not None
        await asyncio.wait([self.processor.finished, self._following], return_when=asyncio.FIRST_COMPLETED)
        if self.processor.finished.done():
            return self.processor.finished.result()
        return self._following.result()

    async def stop(self) -> None:
        """Idempotent."""
        if self._connector is not None:
            await self._connector.stop()
        tasks = [task for task in (self._following, self._fees) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.processor.stop()
        self._closing = True
        await asyncio.to_thread(self.writer.close)
        await self.client.close()

    async def scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """A page of records that are not kept in memory: at most `limit` with keys above `after`. Raises StoreError,
        NodeStopped.

        One at a time, whoever asks: a batch waits for one page at most.
        """
        async with self._scanning:
            self._refuse_if_closing()
            return await self._scan(table, after, limit)

    def _refuse_if_closing(self) -> None:
        """The writer answers nothing that comes behind its end."""
        if self._closing:
            raise self.processor.stopped()

    async def _scan(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[tuple[bytes, bytes]]] = loop.create_future()

        def on_scan(records: list[tuple[bytes, bytes]], error: StoreError | None) -> None:
            loop.call_soon_threadsafe(_settle, found, records, error)

        self.writer.scan(table, on_scan, after, limit)
        return await found

    async def read(self, table: str, key: bytes) -> bytes | None:
        """One record that is not kept in memory. Raises StoreError, NodeStopped."""
        self._refuse_if_closing()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[bytes | None] = loop.create_future()

        def on_read(value: bytes | None, error: StoreError | None) -> None:
            loop.call_soon_threadsafe(_settle, found, value, error)

        self.writer.read(table, key, on_read)
        return await found


async def bring_up(
    settings: NodeSettings, handler: EventHandler, after_event: Callable[[Event], None], clock: Clock | None = None
) -> Running:
    """Opens and loads everything; nothing runs yet. Raises a LightningError of one line; then nothing is left open."""
    check_may_run(settings)
    store = await asyncio.to_thread(open_store, settings.data_dir, settings.store)
    client = BitcoindClient(
        BitcoindRpc(
            settings.bitcoind_url,
            user=settings.bitcoind_user,
            password=settings.bitcoind_password,
            cookie_file=settings.bitcoind_cookie,
        )
    )
    try:
        loaded, seed = await asyncio.to_thread(_load, store, settings.data_dir)
        await client.check_ready()
        await client.refresh_fees()
        locator = await locator_of_best(client, settings.network)
        running = _assemble(settings, store, client, loaded, seed, locator, handler, clock or SystemClock())
        running.processor.after_event.append(after_event)
    except BaseException:
        store.close()
        await client.close()
        raise
    return running


def _load(store: JournalStore, data_dir: Path) -> tuple[LoadedState, Secret]:
    loaded = store.load(TABLES)
    return loaded, load_or_create_seed(data_dir, may_create=loaded.sequence == 0)


def _assemble(
    settings: NodeSettings,
    store: JournalStore,
    client: BitcoindClient,
    loaded: LoadedState,
    seed: Secret,
    locator: BlockLocator,
    handler: EventHandler,
    clock: Clock,
) -> Running:
    node = Node(
        settings.network,
        keys_manager(seed),
        wallet_keys(seed, settings.network),
        settings.config,
        client,
        loaded.tables,
        loaded.sequence,
        locator,
        clock.wall(),
        frozenset() if settings.custom_messages is None else settings.custom_messages.types,
    )
    loop = asyncio.get_running_loop()
    processor: BackgroundProcessor | None = None

    def on_failure(error: StoreError) -> None:
        if processor is not None:
            loop.call_soon_threadsafe(processor.fail, str(error))

    writer = StoreWriter(store, on_failure)
    processor = BackgroundProcessor(node, writer, client, handler, clock)
    if settings.custom_messages is not None:
        processor.on_custom_message = settings.custom_messages.handle
    chain = HeaderChain(settings.network, node.locator)
    return Running(
        client, writer, processor, ChainPoller(client, chain, processor.deliver, poll_seconds=settings.poll_seconds)
    )


def _settle(future: asyncio.Future[T], result: T, error: StoreError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
