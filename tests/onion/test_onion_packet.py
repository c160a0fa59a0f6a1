from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast._ext import _core
from pyln_fast.onion import packet as onion
from pyln_fast.tx import keys
from pyln_fast.types import NodeId, PrivateKey, PublicKey, Secret
from pyln_fast.wire.failure_msgs import InvalidOnionHmac, InvalidOnionKey, InvalidOnionPayload, InvalidOnionVersion
from tests.oracle import curve
from tests.oracle import onion as oracle

VECTORS = Path(__file__).parents[1] / "vectors" / "bolt04"
FAILURES = {
    "version": InvalidOnionVersion,
    "hmac": InvalidOnionHmac,
    "key": InvalidOnionKey,
    "payload": InvalidOnionPayload,
}
slow = settings(max_examples=20, deadline=None)

scalars = st.integers(1, curve.N - 1).map(lambda n: PrivateKey(n.to_bytes(32, "big")))
payloads = st.one_of(st.binary(min_size=2, max_size=60), st.binary(min_size=250, max_size=256))


def load(name: str) -> dict:
    return json.loads((VECTORS / f"{name}.json").read_text())


def private(text: str) -> PrivateKey:
    return PrivateKey.fromhex(text)


def without_length(payload: str) -> bytes:
    raw = bytes.fromhex(payload)
    return raw[3:] if raw[0] == 0xFD else raw[1:]


def node_ids(secrets: list[PrivateKey]) -> list[NodeId]:
    return [NodeId(keys.public_key(secret)) for secret in secrets]


def hops_of(vector: list[dict]) -> list[tuple[NodeId, bytes]]:
    return [(NodeId(PublicKey(bytes.fromhex(hop["pubkey"]))), without_length(hop["payload"])) for hop in vector]


def as_oracle(result: onion.Peeled | onion.OnionFailure) -> object:
    if isinstance(result, onion.Peeled):
        return result.payload, result.next_packet, bytes(result.shared_secret)
    return next(name for name, failure in FAILURES.items() if isinstance(result.failure, failure))


def test_bolt4_packet() -> None:
    vector = load("onion-test")
    generate = vector["generate"]
    hops, data = hops_of(generate["hops"]), bytes.fromhex(generate["associated_data"])
    packet, secrets = onion.build(private(generate["session_key"]), hops, data)
    assert packet.hex() == vector["onion"]
    assert len(packet) == onion.PAYMENT_PACKET_BYTES
    for i, node_secret in enumerate(vector["decode"]):
        peeled = onion.peel(private(node_secret), packet, data)
        assert isinstance(peeled, onion.Peeled)
        assert (peeled.payload, peeled.shared_secret, peeled.path_secret) == (hops[i][1], secrets[i], None)
        assert (peeled.next_packet is None) == (i == len(hops) - 1)
        packet = peeled.next_packet or b""


def test_bolt4_payment_through_a_blinded_route() -> None:
    vector = load("blinded-payment-onion-test")
    generate, decrypt = vector["generate"], vector["decrypt"]["hops"]
    data = bytes.fromhex(generate["associated_data"])
    hops = hops_of(generate["full_route"]["hops"])
    packet, _ = onion.build(private(generate["session_key"]), hops, data)
    assert packet.hex() == generate["onion"] == decrypt[0]["onion"]
    # The introduction node (Bob) finds its path key in its payload and is addressed by its own node id.
    path_key = None
    for i, hop in enumerate(decrypt):
        peeled = onion.peel(private(hop["node_privkey"]), bytes.fromhex(hop["onion"]), data, path_key)
        assert isinstance(peeled, onion.Peeled)
        assert peeled.payload == hops[i][1]
        assert (peeled.next_packet or b"").hex() == (decrypt[i + 1]["onion"] if i + 1 < len(decrypt) else "")
        path_key = PublicKey(bytes.fromhex(hop["next_path_key"])) if "next_path_key" in hop else None


def test_bolt4_blinded_secrets() -> None:
    vector = load("route-blinding-test")
    for made, hop in zip(vector["generate"]["hops"], vector["unblind"]["hops"], strict=True):
        node_secret, path_key = private(hop["node_privkey"]), PublicKey(bytes.fromhex(hop["path_key"]))
        blinded_id = NodeId(PublicKey(bytes.fromhex(made["blinded_node_id"])))
        packet, secrets = onion.build(PrivateKey(b"\x05" * 32), [(blinded_id, b"\x00\x00")], b"")
        assert onion.peel(node_secret, packet, b"", path_key) == onion.Peeled(
            b"\x00\x00", None, secrets[0], Secret.fromhex(made["shared_secret"])
        )
        assert keys.public_key(private(hop["blinded_privkey"])) == blinded_id
        assert onion.peel(private(hop["blinded_privkey"]), packet, b"") == onion.Peeled(
            b"\x00\x00", None, secrets[0], None
        )


def test_bolt4_onion_message() -> None:
    vector = load("blinded-onion-message-onion-test")
    packet = bytes.fromhex(vector["onionmessage"]["onion_message_packet"])
    for hop in vector["decrypt"]["hops"]:
        # onion_message: type, path_key, u16 length, packet.
        message = bytes.fromhex(hop["onion_message"])
        assert message == b"\x02\x01" + message[2:35] + len(packet).to_bytes(2, "big") + packet
        peeled = onion.peel(private(hop["privkey"]), packet, b"", PublicKey(message[2:35]))
        assert isinstance(peeled, onion.Peeled)
        packet = peeled.next_packet or b""
    assert packet == b""
    assert bytes.fromhex(vector["onionmessage"]["unknown_tag_1"]) in peeled.payload


@slow
@given(
    scalars, st.lists(st.tuples(scalars, payloads), min_size=1, max_size=5), st.binary(max_size=40), st.integers(0, 900)
)
def test_build_and_peel_against_the_oracle(
    session_key: PrivateKey, route: list[tuple[PrivateKey, bytes]], data: bytes, room: int
) -> None:
    hops = [(NodeId(keys.public_key(secret)), payload) for secret, payload in route]
    size = 66 + sum(onion.hop_size(payload) for _, payload in hops) + room
    packet, secrets = onion.build(session_key, hops, data, size)
    assert packet == oracle.build(session_key, hops, data, size)
    for i, (node_secret, payload) in enumerate(route):
        peeled = onion.peel(node_secret, packet, data)
        assert as_oracle(peeled) == oracle.peel(node_secret, packet, data, None)
        assert isinstance(peeled, onion.Peeled)
        assert (peeled.payload, peeled.shared_secret) == (payload, secrets[i])
        packet = peeled.next_packet or b""
    assert packet == b""


def packet_with_field(node_secret: PrivateKey, unwrapped: bytes) -> bytes:
    """An authentic packet whose hop sees this."""
    session_key = PrivateKey(b"\x21" * 32)
    secret = oracle.ecdh(session_key, keys.public_key(node_secret))
    field = oracle.xor(unwrapped, oracle.stream(oracle.mac(b"rho", secret), len(unwrapped)))
    tag = oracle.mac(oracle.mac(b"mu", secret), field)
    return b"\x00" + keys.public_key(session_key) + field + tag


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.sampled_from(
            [b"\x00", b"\x01", b"\x02", b"\xfd\x00\xfc", b"\xfd\x00\xfd", b"\xfd\xff\xff", b"\xfe\x00\x00\x00\x05"]
        ),
        st.integers(0, 400).map(oracle.bigsize),
        st.just(b"\xff" * 9),
    ),
    st.integers(0, 400),
)
def test_every_length_in_front_of_a_payload(length: bytes, size: int) -> None:
    node_secret = PrivateKey(b"\x11" * 32)
    packet = packet_with_field(node_secret, (length + b"\x07" * size)[: max(size, 1)])
    result = onion.peel(node_secret, packet, b"")
    expected = oracle.peel(node_secret, packet, b"", None)
    assert as_oracle(result) == expected
    if expected == "payload":
        secret = Secret(oracle.ecdh(node_secret, packet[1:34]))
        assert result == onion.OnionFailure(InvalidOnionPayload(0, 0), secret)


@pytest.mark.parametrize("length", ["00", "01", "02", "fc", "fd00fc", "fd00fd", "fd0100", "fe000000fd", "fe00010000"])
def test_payloads_that_fit_to_the_byte(length: str) -> None:
    node_secret, prefix = PrivateKey(b"\x11" * 32), bytes.fromhex(length)
    payload = int.from_bytes(prefix[len(prefix) > 1 :], "big") if length != "fe00010000" else 300
    for size in (len(prefix) + payload + 31, len(prefix) + payload + 32):
        packet = packet_with_field(node_secret, prefix.ljust(size, b"\x07"))
        assert as_oracle(onion.peel(node_secret, packet, b"")) == oracle.peel(node_secret, packet, b"", None)


def test_a_batch_keeps_every_packet_apart() -> None:
    node_secret, other = PrivateKey(b"\x11" * 32), PrivateKey(b"\x12" * 32)
    me, you = node_ids([node_secret, other])
    data = b"\x42" * 32
    good, secrets = onion.build(PrivateKey(b"\x21" * 32), [(me, b"\x02\x01\x05"), (you, b"\x02\x01\x06")], data)
    last, last_secrets = onion.build(PrivateKey(b"\x22" * 32), [(me, b"\x02\x01\x07")], b"", 200)
    bad_key = good[:1] + b"\x09" + good[2:]
    digest = {packet: sha256(packet).digest() for packet in (good, b"\x01" + good[1:], bad_key, good[:40], b"")}
    results = onion.peel_batch(
        node_secret,
        [
            (good, data, None),
            (b"\x01" + good[1:], data, None),
            (last, b"", None),
            (good, b"\x43" * 32, None),
            (bad_key, data, None),
            (good[:40], data, None),
            (b"", data, None),
            (good, data, PublicKey(b"\x02" + b"\xff" * 32)),
            (good, data, me),
        ],
    )
    next_packet = results[0].next_packet if isinstance(results[0], onion.Peeled) else None
    assert results == [
        onion.Peeled(b"\x02\x01\x05", next_packet, secrets[0], None),
        onion.OnionFailure(InvalidOnionVersion(digest[b"\x01" + good[1:]]), None),
        onion.Peeled(b"\x02\x01\x07", None, last_secrets[0], None),
        onion.OnionFailure(InvalidOnionHmac(digest[good]), None),
        onion.OnionFailure(InvalidOnionKey(digest[bad_key]), None),
        onion.OnionFailure(InvalidOnionHmac(digest[good[:40]]), None),
        onion.OnionFailure(InvalidOnionHmac(digest[b""]), None),
        onion.OnionFailure(InvalidOnionKey(digest[good]), None),
        onion.OnionFailure(InvalidOnionHmac(digest[good]), None),
    ]
    assert next_packet is not None
    assert onion.peel(other, next_packet, data) == onion.Peeled(b"\x02\x01\x06", None, secrets[1], None)
    assert onion.peel_batch(node_secret, []) == []
    assert _core.secp_error() is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 199), st.integers(1, 255), st.integers(0, 200))
def test_damaged_packets_are_refused(at: int, flip: int, cut: int) -> None:
    node_secret = PrivateKey(b"\x11" * 32)
    packet, _ = onion.build(PrivateKey(b"\x22" * 32), [(node_ids([node_secret])[0], b"\x02\x01\x07")], b"", 200)
    damaged = packet[:at] + bytes([packet[at] ^ flip]) + packet[at + 1 :]
    results = onion.peel_batch(node_secret, [(damaged, b"", None), (packet[:cut], b"", None)])
    assert as_oracle(results[0]) == oracle.peel(node_secret, damaged, b"", None)
    assert as_oracle(results[0]) in ("version", "key", "hmac")
    assert as_oracle(results[1]) == oracle.peel(node_secret, packet[:cut], b"", None)


def test_what_cannot_be_built() -> None:
    key = PrivateKey(b"\x11" * 32)
    (me,) = node_ids([key])
    with pytest.raises(onion.OnionTooLarge) as caught:
        onion.build(key, [(me, bytes(1268))], b"")
    assert (caught.value.size, caught.value.limit) == (1303, 1300)
    packet, _ = onion.build(key, [(me, bytes(1265))], b"")
    assert isinstance(onion.peel(key, packet, b""), onion.Peeled)
    not_a_node = NodeId(PublicKey(b"\x02" + b"\xff" * 32))
    for session_key, hops in (
        (key, []),
        (key, [(me, b"\x00")]),
        (key, [(me, b"\x00\x00"), (not_a_node, b"\x00\x00")]),
        (PrivateKey(32), [(me, b"\x00\x00")]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            onion.build(session_key, hops, b"")


def test_a_message_of_the_largest_recommended_size() -> None:
    secrets = [PrivateKey(bytes([n]) * 32) for n in (1, 2, 3)]
    hops = [(node, bytes(10000)) for node in node_ids(secrets)]
    packet, _ = onion.build(PrivateKey(b"\x44" * 32), hops, b"", onion.MESSAGE_PACKET_BYTES[1])
    assert packet == oracle.build(b"\x44" * 32, hops, b"", 32834)
    for secret in secrets:
        peeled = onion.peel(secret, packet, b"")
        assert isinstance(peeled, onion.Peeled)
        assert peeled.payload == bytes(10000)
        packet = peeled.next_packet or b""
