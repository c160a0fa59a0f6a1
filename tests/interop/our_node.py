"""Our node in a small shell: asyncio sockets, a store that loses what was not synced, a clock."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import TypeVar

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.chain.interfaces import ConfirmationTarget
from pyln_fast.config import ChannelHandshakeConfig, ChannelHandshakeLimits, UserConfig
from pyln_fast.events import Event, OpenChannelRequest, PaymentClaimable
from pyln_fast.node.details import ChannelDetails
from pyln_fast.node.effects import Answer, BroadcastPackage, CloseSocket, OfferEvent, SendBytes, WriteBatch
from pyln_fast.node.node import Node
from pyln_fast.persist.memory_store import MemoryStore, MemoryWriter
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.types import (
    BlockHeight,
    Blocks,
    FeeratePerKw,
    Monotonic,
    Network,
    NodeId,
    PublicKey,
    Secret,
    UnixTime,
)
from pyln_fast.wallet.keys import WalletKeys, seed_from_words, words_from_entropy
from tests.interop.chain import Chain
from tests.interop.cuts import CuttingPeerManager

FEERATE = FeeratePerKw(1000)
MAX_FEERATE = FeeratePerKw(25_000)
FLOOR = FeeratePerKw(253)
_FLOORED = (
    ConfirmationTarget.MIN_ALLOWED_ANCHOR_CHANNEL_REMOTE_FEE,
    ConfirmationTarget.MIN_ALLOWED_NON_ANCHOR_CHANNEL_REMOTE_FEE,
    ConfirmationTarget.CHANNEL_CLOSE_MINIMUM,
)
_TICK_SECS = 0.5
T = TypeVar("T")


class FixedFees:
    def __init__(self) -> None:
        self.feerate = FEERATE

    def get_est_sat_per_1000_weight(self, confirmation_target: ConfirmationTarget) -> FeeratePerKw:
        if confirmation_target is ConfirmationTarget.MAXIMUM_FEE_ESTIMATE:
            return MAX_FEERATE
        return FLOOR if confirmation_target in _FLOORED else self.feerate


def our_config(anchors: bool) -> UserConfig:
    return UserConfig(
        channel_handshake_config=ChannelHandshakeConfig(
            minimum_depth=Blocks(1), negotiate_anchors_zero_fee_htlc_tx=anchors, our_max_accepted_htlcs=400
        ),
        channel_handshake_limits=ChannelHandshakeLimits(force_announced_channel_preference=False),
        accept_forwards_to_priv_channels=True,
    )


class OurNode:
    """Accepts every channel and, unless told to hold, claims every payment."""

    def __init__(self, name: str, chain: Chain, anchors: bool) -> None:
        self.name = name
        self.chain = chain
        self.config = our_config(anchors)
        self.fees = FixedFees()
        self.store = MemoryStore()
        self.events: list[Event] = []
        self.log: list[str] = []
        self.hold_payments = False
        self.port = 0
        self.alive = False
        self.node: Node
        self._server: asyncio.Server | None = None
        self._writer = MemoryWriter(self.store)
        self._sockets: dict[int, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._conn = 0
        self._token = 0
        self._ahead_ms = 0
        self._answers: dict[int, asyncio.Future[object]] = {}

    # --- life

    async def start(self) -> None:
        seed = Secret(hashlib.sha256(self.name.encode()).digest())
        now = time.time_ns()
        wallet_keys = WalletKeys(seed_from_words(words_from_entropy(Secret(seed[:16]))), Network.REGTEST)
        keys = KeysManager(seed, now // 10**9, now % 10**9)
        loaded = self.store.load()
        locator = BlockLocator.new(self.chain.node.best_block_hash, BlockHeight(self.chain.height))
        wall = UnixTime(now // 10**9)
        tables, sequence = loaded.tables, loaded.sequence
        self.node = Node(Network.REGTEST, keys, wallet_keys, self.config, self.fees, tables, sequence, locator, wall)
        self._writer = MemoryWriter(self.store)
        self.cuts = CuttingPeerManager(self.node.peer_manager, self._link_cut)
        self.node.peer_manager = self.cuts  # type: ignore[assignment]
        self.alive = True
        self.turn()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._spawn(self._tick())
        await self.chain.follow(self)

    async def stop(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.chain.leave(self)
        assert self._server is not None
        self._server.close()
        for socket in self._sockets.values():
            socket.transport.abort()
        self._sockets.clear()
        for task in self._tasks:
            task.cancel()

    async def kill(self, keep: int = 0) -> None:
        """As SIGKILL does: what was synced is left, and `keep` of the batches that were on their way to the disk."""
        self.store = self._writer.crash(keep)
        await self.stop()

    def _spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        while self.alive:
            self.tick()
            await asyncio.sleep(_TICK_SECS)

    def tick(self, later_ms: int = 0) -> None:
        """`later_ms`: as if so much time had passed at once."""
        self._ahead_ms += later_ms
        self.node.timer_tick(Monotonic(time.monotonic_ns() // 10**6 + self._ahead_ms), UnixTime(int(time.time())))
        self.turn()

    # --- turns

    def turn(self) -> None:
        while self.alive:
            effects = self.node.process_events()
            for effect in effects:
                self._perform(effect)
            for report in self.node.reports:
                self.log.append(f"{report.level}: {report.text}" + (f": {report.error!r}" if report.error else ""))
            self.node.reports.clear()
            if not effects and not (self.node.has_work and self.node.can_accept_input):
                return

    def _perform(self, effect: object) -> None:
        match effect:
            case WriteBatch():
                self._writer.submit(effect.batch, lambda *_: None)
                asyncio.get_running_loop().call_soon(self._synced, self._writer, self.node)
            case SendBytes():
                socket = self._sockets.get(effect.conn)
                if socket is not None:
                    socket.write(effect.data)
            case CloseSocket():
                socket = self._sockets.pop(effect.conn, None)
                if socket is not None:
                    socket.close()
            case BroadcastPackage():
                self.chain.broadcast(self.name, effect.transactions)
            case OfferEvent():
                asyncio.get_running_loop().call_soon(self._offered, self.node, effect)
            case Answer():
                waiting = self._answers.pop(effect.token, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(effect.result)

    def _synced(self, writer: MemoryWriter, node: Node) -> None:
        if not self.alive or writer is not self._writer or not writer.unsynced:
            return
        writer.sync(1)
        node.batch_durable(self.store.sequence)
        self.turn()

    def _offered(self, node: Node, offer: OfferEvent) -> None:
        if not self.alive or node is not self.node:
            return
        event = offer.event
        self.events.append(event)
        if isinstance(event, OpenChannelRequest):
            name, peer = event.temporary_channel_id, event.counterparty_node_id
            node.submit(0, lambda node: node.channel_manager.accept_inbound_channel(name, peer))
        elif isinstance(event, PaymentClaimable) and not self.hold_payments:
            preimage = event.purpose.payment_preimage
            if preimage is not None:
                node.submit(0, lambda node: node.payments.claim_funds(preimage))
        node.event_handled(offer.sequence)
        self.turn()

    async def call(self, function: Callable[[Node], T]) -> T:
        """A command, and its answer once it is durable. Raises what it raised."""
        self._token += 1
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._answers[self._token] = answer
        self.node.submit(self._token, function)
        self.turn()
        result = await answer
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[return-value]

    # --- sockets

    async def connect(self, port: int, node_id: str) -> None:
        reader, socket = await asyncio.open_connection("127.0.0.1", port)
        conn = self._add(socket)
        self.node.new_outbound_connection(conn, NodeId(PublicKey(bytes.fromhex(node_id))))
        self.turn()
        self._spawn(self._read(conn, reader))

    async def _accepted(self, reader: asyncio.StreamReader, socket: asyncio.StreamWriter) -> None:
        conn = self._add(socket)
        self.node.new_inbound_connection(conn)
        await self._read(conn, reader)

    def _add(self, socket: asyncio.StreamWriter) -> int:
        self._conn += 1
        self._sockets[self._conn] = socket
        return self._conn

    async def _read(self, conn: int, reader: asyncio.StreamReader) -> None:
        node = self.node
        while self.alive and node is self.node:
            try:
                data = await reader.read(1 << 16)
            except OSError:
                data = b""
            if not self.alive or node is not self.node:
                return
            if not data:
                break
            node.read_event(conn, data)
            self.turn()
        self._closed(node, conn)

    def _closed(self, node: Node, conn: int) -> None:
        if not self.alive or node is not self.node:
            return
        socket = self._sockets.pop(conn, None)
        if socket is not None:
            socket.close()
        node.socket_disconnected(conn)
        self.turn()

    def _link_cut(self, conn: int) -> None:
        """What was given to the socket before the cut still arrives."""
        asyncio.get_running_loop().call_soon(self._closed, self.node, conn)

    def disconnect_all(self) -> None:
        for conn in list(self._sockets):
            self._closed(self.node, conn)

    # --- blocks

    async def block_height(self) -> int:
        return self.node.locator.height

    async def block_connected(self, raw: bytes, height: int) -> None:
        self.node.block_connected(raw, BlockHeight(height), self.node.locator.advance(raw[:80]))
        self.turn()

    # --- what one sees

    @property
    def node_id(self) -> str:
        return self.node.core.node_id.hex()

    def channels(self, peer: str | None = None) -> list[ChannelDetails]:
        return [
            each
            for each in self.node.channel_manager.list_channels()
            if peer is None or each.counterparty_node_id.hex() == peer
        ]

    @property
    def is_writing(self) -> bool:
        """Whether messages still wait for the disk."""
        return self._writer.unsynced > 0

    def is_connected(self, peer: str) -> bool:
        return any(node_id.hex() == peer for node_id in self.node.core.peers)

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]
