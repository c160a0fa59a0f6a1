from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from coincurve import PrivateKey as CurveKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.errors import Consequence
from pyln_fast.peer.noise import (
    MAX_MESSAGE_BYTES,
    BadFrame,
    BadTag,
    BadVersion,
    HandshakeError,
    InvalidKey,
    MessageTooLong,
    Noise,
)
from pyln_fast.types import NodeId, PrivateKey, PublicKey
from tests.oracle import noise as oracle

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bolt08-transport.json").read_text())["tests"]
HANDSHAKES = [vector for vector in VECTORS if vector["name"] != "transport-message test"]
(MESSAGES,) = [vector for vector in VECTORS if vector["name"] == "transport-message test"]

LS, RS = PrivateKey(b"\x11" * 32), PrivateKey(b"\x21" * 32)
LE, RE = PrivateKey(b"\x12" * 32), PrivateKey(b"\x22" * 32)


def node_id(key: bytes) -> NodeId:
    return NodeId(PublicKey(CurveKey(key).public_key.format()))


def at_once(noise: Noise, data: bytes) -> tuple[bytes, list[bytes]]:
    return noise.receive(data)


def byte_by_byte(noise: Noise, data: bytes) -> tuple[bytes, list[bytes]]:
    reply, messages = b"", []
    for i in range(len(data)):
        more, found = noise.receive(data[i : i + 1])
        reply += more
        messages += found
    return reply, messages


FEEDS = pytest.mark.parametrize("feed", [at_once, byte_by_byte])
Feed = Callable[[Noise, bytes], tuple[bytes, list[bytes]]]


def connected() -> tuple[Noise, Noise]:
    ours, theirs = Noise.initiator(LE, LS, node_id(RS)), Noise.responder(RE, RS)
    act_two, _ = theirs.receive(ours.start())
    act_three, _ = ours.receive(act_two)
    assert theirs.receive(act_three) == (b"", [])
    return ours, theirs


def from_vector(vector: dict) -> Noise:
    ephemeral, static = PrivateKey.fromhex(vector["e.priv"]), PrivateKey.fromhex(vector["ls.priv"])
    if "rs.pub" in vector:
        return Noise.initiator(ephemeral, static, NodeId(PublicKey(bytes.fromhex(vector["rs.pub"]))))
    return Noise.responder(ephemeral, static)


@FEEDS
@pytest.mark.parametrize("vector", HANDSHAKES, ids=lambda vector: vector["name"])
def test_bolt_8_handshake(vector: dict, feed: Feed) -> None:
    noise = from_vector(vector)
    sent = noise.start()
    raised = None
    for step in vector["steps"]:
        if "output" in step:
            assert sent.hex() == step["output"]
        if "input" in step:
            try:
                sent, messages = feed(noise, bytes.fromhex(step["input"]))
            except HandshakeError as error:
                raised = error
            else:
                assert messages == []
    expected = vector.get("error", "").split(" ")[0]
    if expected.endswith("READ_FAILED"):
        assert (sent, raised, noise.established) == (b"", None, False)
    elif expected:
        assert raised is not None
        assert (raised.bolt_name, raised.consequence) == (expected, Consequence.DISCONNECT)
        assert not noise.established
    else:
        assert noise.established
        assert_keys(noise, vector["keys"])


def assert_keys(noise: Noise, keys: dict[str, str]) -> None:
    """That the connection sends under sk and receives under rk, by using them."""
    ck = bytes.fromhex(MESSAGES["ck"])
    sending, receiving = (oracle.Cipher(ck, bytes.fromhex(keys[name])) for name in ("sk", "rk"))
    assert noise.encrypt([b"to them"]) == sending.frame(b"to them")
    assert noise.receive(receiving.frame(b"to us")) == (b"", [b"to us"])


def test_both_sides_know_each_other() -> None:
    ours, theirs = connected()
    assert (ours.established, theirs.established) == (True, True)
    assert (ours.their_node_id, theirs.their_node_id) == (node_id(RS), node_id(LS))


def test_a_responder_knows_nobody_before_act_three() -> None:
    theirs = Noise.responder(RE, RS)
    assert (theirs.their_node_id, theirs.established, theirs.start()) == (None, False, b"")
    theirs.receive(Noise.initiator(LE, LS, node_id(RS)).start())
    assert (theirs.their_node_id, theirs.established) == (None, False)


@FEEDS
def test_bolt_8_messages(feed: Feed) -> None:
    ours, theirs = connected()
    frames = [ours.encrypt([b"hello"]) for _ in range(1002)]
    for step in MESSAGES["steps"]:
        if "output" in step:
            assert frames[step["message"]].hex() == step["output"]
    assert feed(theirs, b"".join(frames)) == (b"", [b"hello"] * 1002)


def test_many_messages_in_one_call_are_the_same_frames() -> None:
    one_by_one, in_one_call = connected()[0], connected()[0]
    messages = [bytes([i & 255]) * (i * 7 % 300) for i in range(1100)]
    assert in_one_call.encrypt(messages) == b"".join(one_by_one.encrypt([message]) for message in messages)


@FEEDS
def test_messages_may_follow_act_three_in_one_read(feed: Feed) -> None:
    ours, theirs = Noise.initiator(LE, LS, node_id(RS)), Noise.responder(RE, RS)
    act_two, _ = theirs.receive(ours.start())
    act_three, _ = ours.receive(act_two)
    assert feed(theirs, act_three + ours.encrypt([b"init", b"", b"ping"])) == (b"", [b"init", b"", b"ping"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=12), st.data())
def test_any_split_of_the_bytes_gives_the_same_messages(messages: list[bytes], data: st.DataObject) -> None:
    ours, theirs = connected()
    frames = ours.encrypt(messages)
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=10).map(sorted))
    got: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(frames)]):
        got += theirs.receive(frames[start:end])[1]
    assert got == messages


def test_the_largest_message() -> None:
    ours, theirs = connected()
    largest = bytes(range(256)) * 256
    messages = [largest[:MAX_MESSAGE_BYTES], b"", largest[1:]]
    assert theirs.receive(ours.encrypt(messages)) == (b"", messages)


def test_a_message_too_long_changes_nothing() -> None:
    ours, theirs = connected()
    with pytest.raises(MessageTooLong) as raised:
        ours.encrypt([b"fine", bytes(MAX_MESSAGE_BYTES + 1)])
    assert raised.value.length == MAX_MESSAGE_BYTES + 1
    assert theirs.receive(ours.encrypt([b"fine"])) == (b"", [b"fine"])


@pytest.mark.parametrize("place", range(2 * (5 + 34)))
def test_one_changed_bit_ends_the_connection(place: int) -> None:
    ours, theirs = connected()
    frames = bytearray(ours.encrypt([b"hello", b"world"]))
    frames[place] ^= 0x10
    with pytest.raises(BadFrame) as raised:
        theirs.receive(bytes(frames))
    assert raised.value.messages == ([] if place < 39 else [b"hello"])
    assert not theirs.established


@pytest.mark.parametrize("place", range(50))
def test_one_changed_bit_of_act_one_is_refused(place: int) -> None:
    act = bytearray(Noise.initiator(LE, LS, node_id(RS)).start())
    act[place] ^= 1
    with pytest.raises(HandshakeError) as raised:
        Noise.responder(RE, RS).receive(bytes(act))
    assert isinstance(raised.value, BadVersion) == (place == 0)
    assert raised.value.act == 1


def test_an_initiator_that_looks_for_someone_else_is_refused() -> None:
    with pytest.raises(BadTag):
        Noise.responder(RE, RS).receive(Noise.initiator(LE, LS, node_id(b"\x31" * 32)).start())


def test_keys_that_are_none() -> None:
    zero, no_point = PrivateKey(bytes(32)), NodeId(PublicKey(b"\x02" + b"\xff" * 32))
    for keys in (
        (zero, LS, node_id(RS)),
        (LE, zero, node_id(RS)),
        (LE, LS, no_point),
        (LE, LS, NodeId(PublicKey(b""))),
    ):
        with pytest.raises(InvalidKey):
            Noise.initiator(*keys)
    for keys in ((zero, RS), (RE, zero), (RE, PrivateKey(b"\x11" * 31))):
        with pytest.raises(InvalidKey):
            Noise.responder(*keys)


@settings(max_examples=15, deadline=None)
@given(
    *[st.binary(min_size=32, max_size=32).filter(lambda key: any(key) and key[0] < 255)] * 4, st.binary(max_size=200)
)
def test_against_the_oracle(ls: bytes, le: bytes, rs: bytes, re: bytes, message: bytes) -> None:
    ours = Noise.initiator(PrivateKey(le), PrivateKey(ls), node_id(rs))
    theirs = Noise.responder(PrivateKey(re), PrivateKey(rs))
    a, b = oracle.Handshake(node_id(rs)), oracle.Handshake(node_id(rs))
    act_one = oracle.initiator_act_one(a, le, node_id(rs))
    assert ours.start() == act_one
    their_ephemeral = oracle.read_ephemeral(b, rs, act_one)
    act_two = oracle.initiator_act_one(b, re, their_ephemeral)
    assert theirs.receive(act_one) == (act_two, [])
    act_three, sending, receiving = oracle.initiator_act_three(a, ls, oracle.read_ephemeral(a, le, act_two))
    assert ours.receive(act_two) == (act_three, [])
    assert theirs.receive(act_three) == (b"", [])
    assert oracle.responder_act_three(b, re, act_three)[0] == theirs.their_node_id == node_id(ls)
    assert theirs.receive(sending.frame(message)) == (b"", [message])
    assert receiving.unframe(theirs.encrypt([message])) == (message, b"")
