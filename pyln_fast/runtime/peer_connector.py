"""Calling peers: once because the user says so, and again and again where there are channels."""

from __future__ import annotations

import asyncio
import logging
import random

from pyln_fast.errors import LocalError
from pyln_fast.node.node import Node
from pyln_fast.runtime.background_processor import BackgroundProcessor
from pyln_fast.runtime.tcp import CannotConnect
from pyln_fast.tx.keys import is_valid_public_key
from pyln_fast.types import NodeId, PublicKey

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0
"""Between two calls to a peer with channels, doubled after each that fails, and each time a random part of that: two
nodes that lost each other at the same moment must not go on calling each other at the same moments."""


class InvalidNodeAddress(LocalError):
    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text}: {why}; an address of a node is node_id@host:port")
        self.text = text
        self.why = why


def parse_host_port(text: str) -> tuple[str, int]:
    """`host:port`, an IPv6 host in brackets. Raises InvalidNodeAddress."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 0xFFFF:
        raise InvalidNodeAddress(text, "there is no host and port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_node_address(text: str) -> tuple[NodeId, str, int]:
    """Raises InvalidNodeAddress."""
    hex_id, at, where = text.strip().partition("@")
    if not at:
        raise InvalidNodeAddress(text, "there is no @")
    return (parse_node_id(hex_id), *parse_host_port(where))


def parse_node_id(text: str) -> NodeId:
    """Raises InvalidNodeAddress."""
    try:
        node_id = bytes.fromhex(text)
    except ValueError:
        node_id = b""
    if len(node_id) != 33 or not is_valid_public_key(node_id):
        raise InvalidNodeAddress(text, "the node id is no public key")
    return NodeId(PublicKey(node_id))


async def connect(processor: BackgroundProcessor, node_id: NodeId, host: str, port: int) -> None:
    """Returns when both have said `init`, at once if they have. Raises CannotConnect, NodeStopped."""
    if node_id == processor.node.core.node_id:
        raise CannotConnect(f"{host}:{port}", "that is this node itself")
    if processor.node.peer_manager.connection_of(node_id) is not None and node_id in processor.node.core.peers:
        return
    conn = await processor.tcp.connect(node_id, host, port)

    def outcome(node: Node) -> bool | None:
        if node_id in node.core.peers:
            return True
        return False if processor.tcp.get(conn) is None else None

    if not await processor.wait_until(outcome):
        raise CannotConnect(f"{host}:{port}", "the peer closed the connection during the handshake")


class PeerConnector:
    """Keeps the node connected with the peers of its channels whose addresses it knows."""

    def __init__(self, processor: BackgroundProcessor) -> None:
        self._processor = processor
        self._calls: dict[NodeId, asyncio.Task[None]] = {}
        self._stopped = False
        processor.after_tick.append(self.check)

    async def stop(self) -> None:
        self._stopped = True
        tasks = list(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> None:
        """Calls who is not there and is not being called."""
        if self._stopped:
            return
        node = self._processor.node
        known = node.peer_addresses()
        for node_id in node.core.absent_peers():
            if node_id in known and node_id not in self._calls:
                call = asyncio.get_running_loop().create_task(self._call(node_id), name="calling a peer")
                self._calls[node_id] = call

    async def _call(self, node_id: NodeId) -> None:
        try:
            await self._call_until_connected(node_id)
        finally:
            del self._calls[node_id]

    async def _call_until_connected(self, node_id: NodeId) -> None:
        """Or until nobody wants that any more."""
        node = self._processor.node
        pause = FIRST_PAUSE_SECONDS
        while not self._stopped:
            await asyncio.sleep(random.uniform(0, pause))
            address = node.peer_addresses().get(node_id)
            if address is None or node_id not in node.core.absent_peers():
                return
            try:
                await connect(self._processor, node_id, address.host, address.port)
            except CannotConnect as error:
                _LOG.debug("%s", error)
            except LocalError:
                return
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
