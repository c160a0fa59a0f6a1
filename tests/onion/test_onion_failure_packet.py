from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.onion import failure_packet
from pyln_fast.types import Secret
from tests.oracle import onion as oracle

VECTORS = Path(__file__).parents[1] / "vectors" / "bolt04"

shared = st.lists(st.binary(min_size=32, max_size=32).map(Secret), min_size=1, max_size=30, unique=True)


def test_bolt4_failure() -> None:
    vector = json.loads((VECTORS / "onion-error-test.json").read_text())
    secrets = [Secret.fromhex(hop["hop_shared_secret"]) for hop in vector["generate"]["hops"]]
    message = bytes.fromhex(vector["generate"]["failure_message"])
    packet = failure_packet.create(secrets[-1], message)
    for secret in reversed(secrets[:-1]):
        packet = failure_packet.wrap(secret, packet)
    assert packet.hex() == vector["errorpacket"]
    assert failure_packet.unwrap(secrets, packet) == (len(secrets) - 1, message)
    assert failure_packet.unwrap(secrets[:-1], packet) is None


@settings(max_examples=60, deadline=None)
@given(shared, st.data(), st.one_of(st.binary(max_size=20), st.binary(min_size=250, max_size=400)))
def test_every_hop_can_fail(secrets: list[Secret], data: st.DataObject, message: bytes) -> None:
    hop = data.draw(st.integers(0, len(secrets) - 1))
    packet = failure_packet.create(secrets[hop], message)
    assert packet == oracle.failure_create(secrets[hop], message)
    assert len(packet) == 36 + max(256, len(message))
    for secret in reversed(secrets[:hop]):
        packet = failure_packet.wrap(secret, packet)
    assert failure_packet.unwrap(secrets, packet) == (hop, message) == oracle.failure_unwrap(secrets, packet)
    at, flip = data.draw(st.integers(0, len(packet) - 1)), data.draw(st.integers(1, 255))
    damaged = packet[:at] + bytes([packet[at] ^ flip]) + packet[at + 1 :]
    assert failure_packet.unwrap(secrets, damaged) is None
    assert failure_packet.unwrap(secrets, packet[:at]) is None


@given(st.binary(max_size=80), st.binary(min_size=32, max_size=32).map(Secret))
def test_packets_of_any_size_are_wrapped(packet: bytes, secret: Secret) -> None:
    before = bytes(bytearray(packet))
    assert failure_packet.wrap(secret, packet) == oracle.failure_wrap(secret, packet)
    assert packet == before
    assert failure_packet.unwrap([secret], packet) == oracle.failure_unwrap([secret], packet)


def test_a_message_with_a_malformed_length_still_names_its_hop() -> None:
    secret = Secret(b"\x07" * 32)
    for length in (2, 3, 0xFFFF):
        body = length.to_bytes(2, "big") + b"\x20\x02\x00\x00"
        packet = oracle.failure_wrap(secret, oracle.mac(oracle.mac(b"um", secret), body) + body)
        assert failure_packet.unwrap([secret], packet) == (0, b"\x20\x02" if length == 2 else b"")


def test_a_secret_of_zeros_is_not_mistaken_for_the_rounds_after_the_route() -> None:
    packet = failure_packet.create(Secret(32), b"\x20\x02")
    assert failure_packet.unwrap([], packet) is None
    assert failure_packet.unwrap([Secret(32)], packet) == (0, b"\x20\x02")
