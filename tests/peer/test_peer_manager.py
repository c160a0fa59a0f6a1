"""Two PeerManagers back to back, and one against a peer that does as the test wants."""

import hashlib

import pytest
from coincurve import PrivateKey as CoincurveKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.features import Feature, Features, init_features
from pyln_fast.peer.connection import ALL_CHANNELS, PeerLimits, PeerRules
from pyln_fast.peer.handlers import (
    ConnectionFailed,
    Family,
    MessageHandlers,
    MessageReceived,
    PeerConnected,
    PeerDisconnected,
    PeerEvent,
    family_of,
    printable,
)
from pyln_fast.peer.noise import Noise
from pyln_fast.peer.peer_manager import CloseSocket, Output, PeerManager
from pyln_fast.types import Monotonic, Network, NodeId, PrivateKey, PublicKey, Secret
from pyln_fast.wire.channel_msgs import ChannelReady, CommitmentSigned, UpdateFee
from pyln_fast.wire.codec import MESSAGES, UnknownMessage, decode, encode
from pyln_fast.wire.gossip_msgs import GossipTimestampFilter
from pyln_fast.wire.layout import bolt_name
from pyln_fast.wire.setup_msgs import Error, Init, OnionMessage, Ping, Pong, Warning

REGTEST = Network.REGTEST.chain_hash
FEATURES = init_features(required=[Feature.VAR_ONION_OPTIN], optional=[Feature.OPTION_ANCHORS])
RULES = PeerRules(FEATURES, (REGTEST,), frozenset({37913, 40000}))
ALICE, BOB = PrivateKey(b"\x0a" * 32), PrivateKey(b"\x0b" * 32)


class Entropy:
    def __init__(self, seed: bytes) -> None:
        self.state = seed

    def get_secure_random_bytes(self) -> Secret:
        self.state = hashlib.sha256(self.state).digest()
        return Secret(self.state)


def node_id(secret: bytes) -> NodeId:
    return NodeId(PublicKey(CoincurveKey(secret).public_key.format()))


def fee(n: int = 1) -> UpdateFee:
    return UpdateFee(bytes([n]) * 32, 253)


class Node:
    def __init__(self, secret: PrivateKey, rules: PeerRules = RULES) -> None:
        self.id = node_id(secret)
        self.manager = PeerManager(secret, Entropy(secret), rules)
        self.events: list[PeerEvent] = []
        self.closed: list[int] = []

    def messages(self) -> list[object]:
        return [event.message for event in self.events if isinstance(event, MessageReceived)]


def exchange(a: Node, b: Node, pieces: int | None = None) -> None:
    """Carries bytes both ways until nothing moves; `pieces` at a time, or all at once."""
    moved = True
    while moved:
        moved = False
        for source, target in ((a, b), (b, a)):
            for output in source.manager.take_output():
                moved = True
                if isinstance(output, CloseSocket):
                    source.closed.append(output.conn)
                    target.events += target.manager.socket_disconnected(output.conn)
                    continue
                size = pieces or len(output.data)
                for start in range(0, len(output.data), size):
                    piece = output.data[start : start + size]
                    target.events += target.manager.read_event(output.conn, piece)


def connect(a: Node, b: Node, conn: int = 1, pieces: int | None = None) -> None:
    a.manager.new_outbound_connection(conn, b.id)
    b.manager.new_inbound_connection(conn)
    exchange(a, b, pieces)


def connected_pair(rules: PeerRules = RULES) -> tuple[Node, Node]:
    a, b = Node(ALICE, rules), Node(BOB, rules)
    connect(a, b)
    a.events.clear()
    b.events.clear()
    return a, b


@pytest.mark.parametrize("pieces", [None, 1, 7])
def test_two_nodes_connect_and_talk(pieces: int | None) -> None:
    a, b = Node(ALICE), Node(BOB)
    connect(a, b, 5, pieces)
    init = Init(b"", FEATURES.encode(), (REGTEST,))
    assert a.events == [PeerConnected(5, b.id, init, False)]
    assert b.events == [PeerConnected(5, a.id, init, True)]
    assert b.events[0].features == FEATURES
    assert (a.manager.connection_of(b.id), b.manager.list_peers()) == (5, [(5, a.id)])
    for n in range(3):
        a.manager.send_message(5, fee(n))
        b.manager.send_message(5, fee(n + 10))
    exchange(a, b, pieces)
    assert a.messages() == [fee(10), fee(11), fee(12)]
    assert b.messages() == [fee(0), fee(1), fee(2)]


def test_a_turn_is_one_write_for_each_connection() -> None:
    a, _ = connected_pair()
    for n in range(100):
        a.manager.send_message(1, fee(n))
    (output,) = a.manager.take_output()
    assert output == Output(1, output.data)
    assert len(output.data) == 100 * (18 + 16 + len(encode(fee())))
    assert a.manager.take_output() == []
    assert not a.manager.has_output()


def test_an_inbound_peer_learns_its_address() -> None:
    a, b = Node(ALICE), Node(BOB)
    a.manager.new_outbound_connection(1, b.id)
    b.manager.new_inbound_connection(1, b"\x01\x08\x08\x08\x08\x26\x07")
    exchange(a, b)
    assert a.events[0].init.remote_addr == b"\x01\x08\x08\x08\x08\x26\x07"
    assert b.events[0].init.remote_addr is None


class Peer:
    """A peer of one Node that says what the test wants, over real Noise."""

    def __init__(self, node: Node, conn: int = 1, secret: PrivateKey = BOB, hello: bytes | None = None) -> None:
        self.node, self.conn = node, conn
        self.noise = Noise.initiator(PrivateKey(b"\x0e" * 32), secret, node.id)
        self.heard: list[object] = []
        self.hung_up = False
        node.manager.new_inbound_connection(conn)
        self.write(self.noise.start())
        if hello is None:
            hello = encode(Init(b"", FEATURES.encode(), (REGTEST,)))
        if hello:
            self.say_raw(hello)

    def write(self, data: bytes) -> None:
        self.node.events += self.node.manager.read_event(self.conn, data)
        self.read()

    def read(self) -> None:
        reply = b""
        for output in self.node.manager.take_output():
            if output == CloseSocket(self.conn):
                self.hung_up = True
            elif output.conn == self.conn:
                answer, messages = self.noise.receive(output.data)
                reply += answer
                self.heard += [decode(message) for message in messages]
        if reply:
            self.write(reply)

    def say_raw(self, *messages: bytes) -> None:
        self.write(self.noise.encrypt(list(messages)))

    def say(self, *messages: object) -> None:
        self.say_raw(*(encode(message) for message in messages))


def peer_of(secret: PrivateKey = ALICE, rules: PeerRules = RULES) -> tuple[Node, Peer]:
    node = Node(secret, rules)
    peer = Peer(node)
    assert isinstance(node.events.pop(), PeerConnected)
    assert isinstance(peer.heard.pop(), Init)
    return node, peer


def init_of(
    *, required: list[Feature] | None = None, bits: int = 0, networks: tuple[bytes, ...] | None = None
) -> bytes:
    raw = (int.from_bytes(Features.of(required=required or []).raw, "big") | bits).to_bytes(20, "big").lstrip(b"\0")
    return encode(Init(b"", raw, networks))


@pytest.mark.parametrize(
    ("hello", "why", "says_why"),
    [
        (encode(fee()), "the first message is not init", False),
        (encode(Ping(0, b"")), "the first message is not init", False),
        (encode(UnknownMessage(301, b"")), "the first message is not init", False),
        (b"\x00", "message: 1 bytes, the type alone has 2", False),
        (b"\x00\x10\x00\x05\x00", "init.globalfeatures: 5 bytes, 1 are left", True),
        (b"\x00\x10\x00\x00\x00\x00\x01\x1f" + bytes(31), "init: type 1: 31 of its 32 bytes are there", True),
        (init_of(networks=(Network.MAINNET.chain_hash,)), "init: no common chain", True),
        (init_of(networks=()), "init: no common chain", True),
        (init_of(bits=1 << 100), "init: required feature bits [100] are not supported here", True),
        (
            init_of(required=[Feature.OPTION_SPLICE]),
            "init: required feature bits [62] are not supported here",
            True,
        ),
        (init_of(bits=2 << 50), "init: option_zeroconf is set without option_scid_alias", True),
    ],
    ids=range(11),
)
def test_a_bad_beginning_ends_the_connection(hello: bytes, why: str, says_why: bool) -> None:
    node = Node(ALICE)
    peer = Peer(node, hello=hello)
    assert node.events == [ConnectionFailed(1, node_id(BOB), why)]
    assert peer.hung_up
    assert type(peer.heard[0]) is Init
    assert peer.heard[1:] == ([Warning(ALL_CHANNELS, why.encode())] if says_why else [])
    assert node.manager.list_peers() == []


def test_features_that_we_require() -> None:
    rules = PeerRules(init_features(required=[Feature.OPTION_ANCHORS]), (REGTEST,))
    node = Node(ALICE, rules)
    Peer(node, hello=init_of())
    why = "init: option_anchors is required here, and the peer does not offer it"
    assert node.events == [ConnectionFailed(1, node_id(BOB), why)]


def test_networks_may_be_missing_and_global_features_count() -> None:
    node = Node(ALICE)
    Peer(node, hello=encode(Init(b"\x80\x00\x00", b"\x01\x00")))
    (event,) = node.events
    assert event.features.bits() == [8, 23]


def test_a_second_init_is_refused() -> None:
    node, peer = peer_of()
    peer.say(Init(b"", b""), fee())
    assert node.events == [PeerDisconnected(1, node_id(BOB), "a second init")]
    assert peer.heard == [Warning(ALL_CHANNELS, b"a second init")]
    assert peer.hung_up


def test_unknown_messages() -> None:
    node, peer = peer_of()
    odd, declared, declared_even = UnknownMessage(301, b"x"), UnknownMessage(37913, b"{}"), UnknownMessage(40000, b"")
    peer.say(odd, declared, UnknownMessage(40001, b""), declared_even)
    assert node.messages() == [declared, declared_even]
    assert peer.heard == []
    peer.say(fee(), UnknownMessage(40002, b""), fee())
    why = "message: type 40002 is unknown and even"
    assert node.events[2:] == [MessageReceived(1, node_id(BOB), fee()), PeerDisconnected(1, node_id(BOB), why)]
    assert peer.hung_up


def test_an_unknown_even_message_of_the_bolts_range() -> None:
    node, peer = peer_of()
    peer.say_raw(b"\x01\x2c")
    assert node.events == [PeerDisconnected(1, node_id(BOB), "message: type 300 is unknown and even")]
    assert peer.heard == [Warning(ALL_CHANNELS, b"message: type 300 is unknown and even")]


def test_a_message_that_does_not_decode_names_its_channel() -> None:
    node, peer = peer_of()
    raw = encode(CommitmentSigned(b"c" * 32, bytes(64), (bytes(64),)))
    peer.say_raw(raw[:-1], encode(fee()))
    why = "commitment_signed.htlc_signature: 63 of its 64 bytes are there"
    assert node.events == [PeerDisconnected(1, node_id(BOB), why)]
    assert peer.heard == [Warning(b"c" * 32, why.encode())]
    assert peer.hung_up
    assert node.manager.read_event(1, b"late") == []


def test_error_and_warning_are_handed_on() -> None:
    node, peer = peer_of()
    messages = [Error(ALL_CHANNELS, b"all"), Warning(b"c" * 32, b"one")]
    peer.say(*messages)
    assert node.messages() == messages
    assert not peer.hung_up


def test_the_largest_message_goes_both_ways() -> None:
    a, b = connected_pair()
    blob = UnknownMessage(37913, bytes(65533))
    a.manager.send_message(1, blob)
    exchange(a, b, 1000)
    assert b.messages() == [blob]


def test_pings_of_every_legal_size_are_answered() -> None:
    node, peer = peer_of()
    sizes = [*range(0, 65532, 1021), 65530, 65531]
    for size in sizes:
        peer.say(Ping(size, bytes(min(size, 65529))))
    assert [len(pong.ignored) for pong in peer.heard] == sizes
    assert all(pong == Pong(bytes(len(pong.ignored))) for pong in peer.heard)
    peer.heard.clear()
    for size in (65532, 65535):
        peer.say(Ping(size, b""))
    assert peer.heard == []
    assert node.events == []


def test_a_flood_of_pings_is_not_a_flood_of_pongs() -> None:
    node, peer = peer_of()
    data = peer.noise.encrypt([encode(Ping(65531, b""))] * 1000)
    node.events += node.manager.read_event(1, data)
    why = "more pings than it reads pongs"
    assert node.events == [PeerDisconnected(1, node_id(BOB), why)]
    peer.read()
    assert peer.heard == [Warning(ALL_CHANNELS, why.encode())]
    assert peer.hung_up


def test_a_flood_of_messages_arrives_whole_and_in_order() -> None:
    node, peer = peer_of()
    flood = [UnknownMessage(301, bytes(100)), fee()] * 5000
    peer.say(*flood)
    assert node.messages() == [fee()] * 5000


def test_reading_pauses_by_bytes_while_the_socket_is_full() -> None:
    rules = PeerRules(FEATURES, (REGTEST,), limits=PeerLimits(pause_reading_bytes=1000, output_chunk_bytes=500))
    node, _ = peer_of(rules=rules)
    node.manager.set_write_paused(1, True)
    for _ in range(10):
        node.manager.send_message(1, UnknownMessage(37913, bytes(98)))
    assert not node.manager.should_pause_reading(1)
    node.manager.send_message(1, UnknownMessage(37913, b""))
    assert node.manager.should_pause_reading(1)
    assert node.manager.take_output() == []
    assert not node.manager.has_output()
    node.manager.set_write_paused(1, False)
    sizes = [len(output.data) for _ in range(3) for output in node.manager.take_output()]
    assert sizes == [5 * (100 + 34), 5 * (100 + 34), 2 + 34]
    assert not node.manager.should_pause_reading(1)


def test_a_disconnect_queues_behind_its_error() -> None:
    node, peer = peer_of()
    node.manager.set_write_paused(1, True)
    node.manager.send_message(1, Error(b"c" * 32, b"gone"))
    assert node.manager.disconnect(1, "failed") == [PeerDisconnected(1, node_id(BOB), "failed")]
    assert node.manager.disconnect(1, "failed") == []
    node.manager.send_message(1, fee())
    peer.read()
    assert peer.heard == [Error(b"c" * 32, b"gone")]
    assert peer.hung_up
    assert node.manager.take_output() == []
    assert node.manager.socket_disconnected(1) == []


def test_a_lost_socket_takes_its_queue_with_it() -> None:
    node, _ = peer_of()
    node.manager.send_message(1, fee())
    assert node.manager.socket_disconnected(1, "reset") == [PeerDisconnected(1, node_id(BOB), "reset")]
    assert node.manager.take_output() == []
    assert node.manager.connection_of(node_id(BOB)) is None


def test_nobody_speaks_before_init() -> None:
    node = Node(ALICE)
    Peer(node, hello=b"")
    with pytest.raises(AssertionError):
        node.manager.send_message(1, fee())


def test_a_newer_connection_of_the_same_node_replaces_the_older() -> None:
    node, old = peer_of()
    node.manager.send_message(1, fee(7))
    new = Peer(node, conn=2)
    assert node.events[0] == PeerDisconnected(1, node_id(BOB), "replaced by a newer connection of the same node")
    assert [type(event) for event in node.events] == [PeerDisconnected, PeerConnected]
    assert node.manager.connection_of(node_id(BOB)) == 2
    # The late end of the old socket does not touch the new connection.
    assert node.manager.socket_disconnected(1) == []
    node.events.clear()
    new.say(fee())
    assert node.events == [MessageReceived(2, node_id(BOB), fee())]
    assert node.manager.read_event(1, old.noise.encrypt([encode(fee())])) == []


@pytest.mark.parametrize(("a_secret", "b_secret"), [(ALICE, BOB), (BOB, ALICE)])
def test_of_two_calls_at_the_same_moment_the_lower_ids_stands(a_secret: PrivateKey, b_secret: PrivateKey) -> None:
    a, b = Node(a_secret), Node(b_secret)
    a.manager.new_outbound_connection(1, b.id)
    b.manager.new_inbound_connection(1)
    b.manager.new_outbound_connection(2, a.id)
    a.manager.new_inbound_connection(2)
    while outputs := [(a, output) for output in a.manager.take_output()] + [
        (b, output) for output in b.manager.take_output()
    ]:
        for source, output in outputs:
            target = b if source is a else a
            if isinstance(output, Output):
                target.events += target.manager.read_event(output.conn, output.data)
            else:
                target.events += target.manager.socket_disconnected(output.conn)
    stays = 1 if a.id < b.id else 2
    for node, other in ((a, b), (b, a)):
        assert node.manager.list_peers() == [(stays, other.id)]
        assert {type(event): event.conn for event in node.events} == {PeerConnected: stays, ConnectionFailed: 3 - stays}
        assert len(node.events) == 2


def test_one_who_only_claims_to_be_a_node_replaces_nobody() -> None:
    node, _ = peer_of()
    node.manager.new_inbound_connection(2)
    node.events += node.manager.read_event(2, bytes(50))
    assert [type(event) for event in node.events] == [ConnectionFailed]
    assert node.events[0].node_id is None
    assert node.manager.connection_of(node_id(BOB)) == 1


def test_a_bad_frame_ends_the_connection_in_silence() -> None:
    node, peer = peer_of()
    data = peer.noise.encrypt([encode(fee()), encode(Ping(4, b"")), encode(fee(2))])
    node.events += node.manager.read_event(1, data[:-1] + bytes([data[-1] ^ 1]))
    received, gone = node.events
    assert received == MessageReceived(1, node_id(BOB), fee())
    assert gone == PeerDisconnected(1, node_id(BOB), "a frame's tag does not match")
    assert node.manager.take_output() == [CloseSocket(1)]


def tick(node: Node, ms: int) -> None:
    node.events += node.manager.timer_tick(Monotonic(ms))


def test_a_handshake_has_a_time_limit() -> None:
    node = Node(ALICE)
    node.manager.new_inbound_connection(1)
    silent = Peer(node, conn=2, hello=b"")
    tick(node, 1_000_000)
    tick(node, 1_009_999)
    assert node.events == []
    tick(node, 1_010_000)
    assert node.events == [
        ConnectionFailed(1, None, "handshake timeout"),
        ConnectionFailed(2, node_id(BOB), "handshake timeout"),
    ]
    silent.read()
    assert silent.hung_up


def test_an_idle_peer_is_pinged_and_given_up_when_silent() -> None:
    node, peer = peer_of()
    for ms in (0, 9_999, 10_000, 15_000):
        tick(node, ms)
        peer.read()
    assert peer.heard == [Ping(0, bytes(64))]
    peer.say(Pong(b""))
    tick(node, 20_000)
    peer.read()
    assert peer.heard == [Ping(0, bytes(64))] * 2
    tick(node, 29_999)
    assert node.events == []
    tick(node, 30_000)
    assert node.events == [PeerDisconnected(1, node_id(BOB), "no pong for 10000 ms")]


def test_a_busy_peer_has_longer_to_answer_but_not_for_ever() -> None:
    node, peer = peer_of()
    tick(node, 0)
    tick(node, 10_000)
    for ms in range(20_000, 60_000, 10_000):
        peer.say(UnknownMessage(301, b""))
        tick(node, ms)
    assert node.events == []
    peer.say(UnknownMessage(301, b""))
    tick(node, 60_000)
    assert node.events == [PeerDisconnected(1, node_id(BOB), "no pong for 50000 ms")]


def test_a_pong_of_another_length_answers_nothing() -> None:
    node, peer = peer_of()
    tick(node, 0)
    tick(node, 10_000)
    peer.say(Pong(b"x"))
    assert node.events == []
    for ms in (20_000, 30_000):
        tick(node, ms)
    assert node.events == [PeerDisconnected(1, node_id(BOB), "no pong for 20000 ms")]


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_node_before_the_handshake(data: bytes) -> None:
    node = Node(ALICE)
    node.manager.new_inbound_connection(1)
    node.events += node.manager.read_event(1, data)
    assert all(isinstance(event, ConnectionFailed) for event in node.events)
    assert node.events or len(data) < 50


@settings(max_examples=150)
@given(st.sampled_from([message.TYPE for message in MESSAGES]) | st.integers(0, 65535), st.binary(max_size=200))
def test_no_message_breaks_the_node(message_type: int, body: bytes) -> None:
    node, peer = peer_of()
    peer.say_raw(message_type.to_bytes(2, "big") + body)
    ended = any(isinstance(event, PeerDisconnected) for event in node.events)
    assert ended == peer.hung_up
    assert node.manager.take_output() == []


def test_every_message_has_a_family() -> None:
    channel = {bolt_name(message) for message in MESSAGES if family_of_type(message) is Family.CHANNEL}
    routing = {bolt_name(message) for message in MESSAGES if family_of_type(message) is Family.ROUTING}
    assert "announcement_signatures" in channel
    assert {"error", "warning", "peer_storage", "open_channel", "splice_init", "stfu"} <= channel
    assert routing == {
        "channel_announcement",
        "node_announcement",
        "channel_update",
        "query_short_channel_ids",
        "reply_short_channel_ids_end",
        "query_channel_range",
        "reply_channel_range",
        "gossip_timestamp_filter",
    }
    assert family_of_type(OnionMessage) is Family.ONION
    assert family_of(UnknownMessage(37913, b"")) is Family.CUSTOM


def family_of_type(message: type) -> Family:
    fields = [b""] * len(message.__struct_fields__)
    return family_of(message(*fields))


class Recorder:
    def __init__(self) -> None:
        self.calls: list[PeerEvent] = []
        self.peer_connected = self.message_received = self.peer_disconnected = self.calls.append


def test_events_reach_the_handlers_that_they_concern() -> None:
    channel, custom = Recorder(), Recorder()
    handlers = MessageHandlers(channel, custom=custom)
    bob = node_id(BOB)
    connected, gone = PeerConnected(1, bob, Init(b"", b""), True), PeerDisconnected(1, bob, "")
    ready = MessageReceived(1, bob, ChannelReady(bytes(32), bytes(33)))
    custom_message = MessageReceived(1, bob, UnknownMessage(37913, b""))
    gossip = MessageReceived(1, bob, GossipTimestampFilter(bytes(32), 0, 0))
    for event in (connected, ready, custom_message, gossip, gone, ConnectionFailed(2, None, "")):
        handlers.dispatch(event)
    assert channel.calls == [connected, ready, gone]
    assert custom.calls == [connected, custom_message, gone]


def test_what_a_peer_wrote_is_made_safe_to_print() -> None:
    assert printable(b"ok \x1b[31m\n\xff") == "ok ?[31m??"
    assert printable(b"x" * 600) == "x" * 512 + "… (600 bytes)"
