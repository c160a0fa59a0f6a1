"""Connections between simulated nodes: bytes in order, as many at a time as the simulator likes, and every way in which
a connection dies: closed, cut at some byte, half-open, or just not moving."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyln_fast.testing.sim_node import SimNode

PAUSE_BYTES = 64 << 10
"""A clogged socket's buffer is full from here on."""


class Pipe:
    """One direction of a link."""

    __slots__ = ("clogged", "data", "ended", "lost")

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        """Behind the data comes the end of the stream."""
        self.clogged = False
        self.lost = False
        """Half-open: nothing arrives any more, not even the end."""


class Link:
    """A connection of two nodes. End 0 called."""

    __slots__ = ("conns", "gone", "nodes", "number", "pipes")

    def __init__(self, number: int, caller: SimNode, called: SimNode) -> None:
        self.number = number
        self.nodes = (caller, called)
        self.conns = (2 * number, 2 * number + 1)
        self.pipes = (Pipe(), Pipe())
        """Pipe i carries what end i sends."""
        self.gone = [False, False]
        """The end has no socket any more."""

    def name(self, end: int) -> str:
        return f"{self.nodes[end].name}->{self.nodes[1 - end].name}#{self.number}"


class SimNetwork:
    def __init__(self) -> None:
        self.links: dict[int, Link] = {}
        self._ends: dict[int, tuple[Link, int]] = {}
        self._next = 0

    def connect(self, caller: SimNode, called: SimNode) -> Link:
        link = Link(self._next, caller, called)
        self._next += 1
        self.links[link.number] = link
        for end in (0, 1):
            self._ends[link.conns[end]] = (link, end)
        called.node.new_inbound_connection(link.conns[1])
        caller.node.new_outbound_connection(link.conns[0], called.node_id)
        return link

    def link_of(self, conn: int) -> tuple[Link, int] | None:
        """The link and its end that a node knows as `conn`, until both ends are gone."""
        return self._ends.get(conn)

    def between(self, a: SimNode, b: SimNode) -> list[Link]:
        return [link for link in self.links.values() if link.nodes in ((a, b), (b, a))]

    def has_socket(self, node: SimNode, other: SimNode) -> bool:
        """Whether `node` has an open socket with the other one, as far as it knows."""
        return any(not link.gone[link.nodes.index(node)] for link in self.between(node, other))

    # --- what nodes do

    def send(self, conn: int, data: bytes) -> None:
        if conn not in self._ends:
            return
        link, end = self._ends[conn]
        pipe = link.pipes[end]
        if not link.gone[end] and not pipe.lost and not pipe.ended:
            pipe.data += data

    def close(self, conn: int) -> None:
        """The node closes its socket, behind what it has sent."""
        if conn not in self._ends:
            return
        link, end = self._ends[conn]
        if not link.gone[end]:
            link.gone[end] = True
            link.pipes[end].ended = True
            self._forget(link)

    # --- what the simulator does

    def deliverable(self) -> list[tuple[Link, int]]:
        """Links and the end whose bytes (or whose end of stream) can arrive now."""
        return [
            (link, end)
            for link in self.links.values()
            for end in (0, 1)
            if (pipe := link.pipes[end]).data or pipe.ended
            if not pipe.clogged and not pipe.lost and link.nodes[1 - end].takes_input(link, 1 - end)
        ]

    def deliver(self, link: Link, end: int, count: int) -> bytes:
        """At most so many of the bytes that this end sent; empty once the stream has ended."""
        pipe, other = link.pipes[end], 1 - end
        data = bytes(pipe.data[:count])
        del pipe.data[:count]
        if link.gone[other]:
            pipe.data.clear()
            pipe.lost |= pipe.ended
        elif data:
            link.nodes[other].node.read_event(link.conns[other], data)
        else:
            link.gone[other] = True
            link.pipes[other].ended = True
            link.nodes[other].node.socket_disconnected(link.conns[other])
        self._forget(link)
        return data

    def cut(self, link: Link, kept: tuple[int, int]) -> None:
        """The connection breaks: of each direction so many bytes still arrive, then its end."""
        for pipe, count in zip(link.pipes, kept):
            del pipe.data[count:]
            pipe.ended = True
            pipe.clogged = False

    def half_open(self, link: Link, end: int, kept: int) -> None:
        """After so many bytes nothing of this end arrives any more, and nobody is told."""
        pipe = link.pipes[end]
        del pipe.data[kept:]
        pipe.lost = True

    def clog(self, link: Link, end: int, clogged: bool) -> None:
        link.pipes[end].clogged = clogged
        if not link.gone[end]:
            full = clogged and len(link.pipes[end].data) > PAUSE_BYTES
            link.nodes[end].node.peer_manager.set_write_paused(link.conns[end], full)

    def drop_node(self, node: SimNode, silently: bool) -> None:
        """The node's process is gone. Its machine says so to the peers, unless that is gone too."""
        for link in list(self.links.values()):
            for end in (0, 1):
                if link.nodes[end] is node and not link.gone[end]:
                    link.gone[end] = True
                    link.pipes[end].ended = True
                    if silently:
                        self.half_open(link, end, 0)
                    self._forget(link)

    def heal(self) -> None:
        """No clogged and no half-open links any more: the latter end at last."""
        for link in list(self.links.values()):
            for end in (0, 1):
                self.clog(link, end, False)
                if link.pipes[end].lost:
                    link.pipes[end].lost = False
                    link.pipes[end].ended = True
            self._forget(link)

    def _forget(self, link: Link) -> None:
        """Nobody holds an end of it."""
        if all(link.gone):
            self.links.pop(link.number, None)
            for conn in link.conns:
                self._ends.pop(conn, None)
