"""What a message costs between the socket and the channel: the codec alone, and with BOLT 8 on both sides."""

from __future__ import annotations

import hashlib

import pytest
from coincurve import PrivateKey as CoincurveKey

from pyln_fast.features import Features
from pyln_fast.peer.peer_manager import Output, PeerManager, PeerRules
from pyln_fast.types import Network, NodeId, PaymentPreimage, PrivateKey, PublicKey, Secret
from pyln_fast.wire.channel_msgs import CommitmentSigned, RevokeAndAck, UpdateAddHtlc, UpdateFulfillHtlc
from pyln_fast.wire.codec import decode, encode
from pyln_fast.wire.layout import Message, bolt_name

POINT = PublicKey(CoincurveKey(b"\x01" * 32).public_key.format())
CHANNEL = b"c" * 32
ADD = UpdateAddHtlc(CHANNEL, 5, 1_000_000, b"h" * 32, 800_000, b"o" * 1366)
MESSAGES = (
    ADD,
    CommitmentSigned(CHANNEL, b"s" * 64, (b"t" * 64,)),
    RevokeAndAck(CHANNEL, Secret(b"s" * 32), POINT),
    UpdateFulfillHtlc(CHANNEL, 5, PaymentPreimage(b"p" * 32)),
)
BATCH = 100


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: bolt_name(type(message)))
def test_codec(message: Message, best_of, report) -> None:
    raw = encode(message)
    assert decode(raw) == message
    writing, reading = best_of(lambda: encode(message), lambda: decode(raw))
    name = bolt_name(type(message))
    report(f"encode {name}", writing * 1e6, "us", target="<= 5 us", reached=writing <= 5e-6)
    report(f"decode {name}", reading * 1e6, "us", target="<= 5 us", reached=reading <= 5e-6)


class Entropy:
    def __init__(self, seed: bytes) -> None:
        self.state = seed

    def get_secure_random_bytes(self) -> Secret:
        self.state = hashlib.sha256(self.state).digest()
        return Secret(self.state)


def connected_pair() -> tuple[PeerManager, PeerManager]:
    rules = PeerRules(Features(), (Network.REGTEST.chain_hash,))
    secrets = PrivateKey(b"\x0a" * 32), PrivateKey(b"\x0b" * 32)
    alice, bob = (PeerManager(secret, Entropy(secret), rules) for secret in secrets)
    alice.new_outbound_connection(1, NodeId(PublicKey(CoincurveKey(secrets[1]).public_key.format())))
    bob.new_inbound_connection(1)
    for _ in range(3):
        for source, target in ((alice, bob), (bob, alice)):
            for output in source.take_output():
                assert isinstance(output, Output)
                target.read_event(1, output.data)
    return alice, bob


def test_peer_to_peer(best_of, report) -> None:
    """encode, encrypt, decrypt, decode: everything but the socket."""
    alice, bob = connected_pair()

    def carry(messages: int) -> list[object]:
        for _ in range(messages):
            alice.send_message(1, ADD)
        (output,) = alice.take_output()
        assert isinstance(output, Output)
        return bob.read_event(1, output.data)

    assert [event.message for event in carry(BATCH)] == [ADD] * BATCH
    batch, one = best_of(lambda: carry(BATCH), lambda: carry(1))
    each = batch / BATCH
    report(f"update_add_htlc to the peer, {BATCH} a read", each * 1e6, "us", "one a read", one * 1e6, each / one)
