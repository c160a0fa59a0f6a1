"""Every connection of the node. No socket and no clock: bytes, connections and ticks come in, events and bytes go out.

`conn` is the caller's number for a connection; it is never used twice. Each input returns the events that follow from
it. `take_output` gives what the sockets are to send, and then which to close.
"""

from __future__ import annotations

import msgspec

from pyln_fast._ext._keys import pubkey_create
from pyln_fast.peer.connection import Connection, PeerLimits, PeerRules
from pyln_fast.peer.handlers import PeerEvent
from pyln_fast.peer.noise import Noise
from pyln_fast.sign.interfaces import EntropySource
from pyln_fast.types import Monotonic, NodeId, PrivateKey, PublicKey
from pyln_fast.wire.codec import AnyMessage

__all__ = ["CloseSocket", "Output", "PeerLimits", "PeerManager", "PeerRules"]


class Output(msgspec.Struct, frozen=True, array_like=True):
    conn: int
    data: bytes


class CloseSocket(msgspec.Struct, frozen=True, array_like=True):
    """After all output before it has been sent."""

    conn: int


class PeerManager:
    def __init__(self, node_secret: PrivateKey, entropy: EntropySource, rules: PeerRules) -> None:
        self._node_secret = node_secret
        self._node_id = NodeId(PublicKey(pubkey_create(node_secret)))
        self._entropy = entropy
        self._rules = rules
        self._connections: dict[int, Connection] = {}
        self._by_node: dict[NodeId, Connection] = {}
        self._with_output: dict[int, Connection] = {}
        """In the order in which they got it; closed connections stay until their last output is taken."""
        self._write_paused: set[int] = set()

    def new_outbound_connection(self, conn: int, node_id: NodeId) -> None:
        """A socket to a node that we know by its id. Raises noise.InvalidKey if the id is no point of the curve."""
        self._add(conn, Noise.initiator(self._ephemeral_key(), self._node_secret, node_id), False, None)

    def new_inbound_connection(self, conn: int, remote_addr: bytes | None = None) -> None:
        """A socket that was accepted. `remote_addr`: its public address as BOLT 7 describes one, for our `init`."""
        self._add(conn, Noise.responder(self._ephemeral_key(), self._node_secret), True, remote_addr)

    def read_event(self, conn: int, data: bytes) -> list[PeerEvent]:
        """Bytes from a socket, as many as came. Bytes of a connection that is closed here are dropped."""
        connection = self._connections.get(conn)
        if connection is None:
            return []
        return self._after(connection, connection.receive(data, self._settle_rivals))

    def send_message(self, conn: int, message: AnyMessage) -> None:
        """To a connection that was reported as connected; a message to one that is gone dies with it.

        Raises codec.MessageTooLong.
        """
        connection = self._connections.get(conn)
        if connection is not None:
            connection.send(message)
            self._with_output[conn] = connection

    def disconnect(self, conn: int, why: str) -> list[PeerEvent]:
        """Closes it behind everything that was sent to it so far, such as the `error` that tells why."""
        connection = self._connections.get(conn)
        return [] if connection is None else self._after(connection, connection.close(why))

    def socket_disconnected(self, conn: int, why: str = "the peer closed the connection") -> list[PeerEvent]:
        """The socket is gone: nothing more is sent to it, and no CloseSocket follows."""
        connection = self._connections.get(conn)
        events = [] if connection is None else self._after(connection, connection.close(why))
        self._with_output.pop(conn, None)
        self._write_paused.discard(conn)
        return events

    def timer_tick(self, now: Monotonic) -> list[PeerEvent]:
        """At least every ten seconds. Finer ticks make finer timeouts."""
        events: list[PeerEvent] = []
        for connection in list(self._connections.values()):
            events += self._after(connection, connection.tick(now, len(self._by_node)))
        return events

    def take_output(self) -> list[Output | CloseSocket]:
        """What the sockets send now. A paused socket, or one with much to send, keeps the rest for the next call."""
        outputs: list[Output | CloseSocket] = []
        for conn, connection in list(self._with_output.items()):
            if conn in self._write_paused and not connection.closed:
                continue
            while connection.has_output:
                data = connection.take_output()
                if data:
                    outputs.append(Output(conn, data))
                if not connection.closed:
                    break
            if connection.closed:
                outputs.append(CloseSocket(conn))
                self._write_paused.discard(conn)
            if not connection.has_output:
                del self._with_output[conn]
        return outputs

    def has_output(self) -> bool:
        """Whether `take_output` has something for a socket that is not paused."""
        return any(
            conn not in self._write_paused or connection.closed for conn, connection in self._with_output.items()
        )

    def set_write_paused(self, conn: int, paused: bool) -> None:
        """The socket's own buffer is full, or has room again: until then its messages wait here."""
        if not paused:
            self._write_paused.discard(conn)
        elif conn in self._connections:
            self._write_paused.add(conn)

    def should_pause_reading(self, conn: int) -> bool:
        """A peer that does not take what we send is not read, so that it cannot make us queue without limit."""
        connection = self._connections.get(conn)
        return connection is not None and connection.queued_bytes > self._rules.limits.pause_reading_bytes

    def queued_bytes(self, conn: int) -> int:
        """Messages for a connection that wait to be sent; 0 for one that is gone."""
        connection = self._connections.get(conn)
        return 0 if connection is None else connection.queued_bytes

    def connection_of(self, node_id: NodeId) -> int | None:
        """The authenticated connection with a node, if there is one."""
        connection = self._by_node.get(node_id)
        return None if connection is None else connection.conn

    def list_peers(self) -> list[tuple[int, NodeId]]:
        """(conn, node id) of every authenticated connection, oldest first."""
        return [(connection.conn, node_id) for node_id, connection in self._by_node.items()]

    def _ephemeral_key(self) -> PrivateKey:
        return PrivateKey(self._entropy.get_secure_random_bytes())

    def _add(self, conn: int, noise: Noise, inbound: bool, remote_addr: bytes | None) -> None:
        assert conn not in self._connections, "a connection's number is used once"
        connection = Connection(conn, noise, self._rules, inbound, remote_addr)
        self._connections[conn] = connection
        self._after(connection, [])

    def _settle_rivals(self, connection: Connection) -> list[PeerEvent]:
        """BOLT 1 wants one connection a peer: the newest, for that is the one in which the peer believes.

        Only if both nodes called each other at the same moment, the call of the lower node id stands, on both sides:
        with the newest on each side, each would close what the other keeps.
        """
        node_id = connection.their_node_id
        assert node_id is not None
        older = self._by_node.get(node_id)
        if older is not None and not older.ready and older.inbound != connection.inbound:
            lower_id_is_theirs = node_id < self._node_id
            if older.inbound == lower_id_is_theirs:
                return connection.close("both nodes connected at once: the other connection stays")
        self._by_node[node_id] = connection
        if older is None:
            return []
        return self._after(older, older.close("replaced by a newer connection of the same node"))

    def _after(self, connection: Connection, events: list[PeerEvent]) -> list[PeerEvent]:
        if connection.closed:
            self._connections.pop(connection.conn, None)
            node_id = connection.their_node_id
            if node_id is not None and self._by_node.get(node_id) is connection:
                del self._by_node[node_id]
        if connection.closed or connection.has_output:
            self._with_output[connection.conn] = connection
        return events
