"""Onion packets: what a peel costs beside the two curve operations that it cannot do without.

The floor is one ECDH and one point multiplication through the very libsecp256k1 that liblnfast calls, on points parsed
already: parsing the ephemeral key, serialising the next, hashes and ciphers all count on our side.
"""

from __future__ import annotations

from coincurve._libsecp256k1 import ffi, lib

from pyln_fast.onion import failure_packet
from pyln_fast.onion import packet as onion
from pyln_fast.tx import keys
from pyln_fast.types import NodeId, PrivateKey
from tests.oracle import onion as oracle

NODES = [PrivateKey(bytes([n]) * 32) for n in range(1, 6)]
IDS = [NodeId(keys.public_key(node)) for node in NODES]
DATA = b"\x42" * 32
HOPS = [(node_id, bytes([0x02, 40]) + bytes(40)) for node_id in IDS]
BATCH = 32


def floor_operations(context, point, secret: bytes, factor: bytes):
    """One ECDH and one point multiplication; the point that is multiplied changes from call to call."""
    out = ffi.new("unsigned char[32]")
    moving = ffi.new("secp256k1_pubkey *", point[0])
    null, ecdh, multiply = ffi.NULL, lib.secp256k1_ecdh, lib.secp256k1_ec_pubkey_tweak_mul

    def run() -> None:
        assert ecdh(context, out, point, secret, null, null)
        assert multiply(context, moving, factor)

    return run


def test_peel(best_of, report) -> None:
    packets = [onion.build(PrivateKey(bytes([i]) * 32), HOPS, DATA)[0] for i in range(1, BATCH + 1)]
    sealed = [(packet, DATA, None) for packet in packets]
    for packet, peeled in zip(packets, onion.peel_batch(NODES[0], sealed), strict=True):
        assert isinstance(peeled, onion.Peeled)
        assert (peeled.payload, peeled.next_packet, peeled.shared_secret) == oracle.peel(NODES[0], packet, DATA, None)

    context = lib.secp256k1_context_create(lib.SECP256K1_CONTEXT_NONE)
    point = ffi.new("secp256k1_pubkey *")
    assert lib.secp256k1_ec_pubkey_parse(context, point, packets[0][1:34], 33)
    floor = floor_operations(context, point, bytes(NODES[0]), b"\x77" * 32)

    batch, one, two_operations = best_of(
        lambda: onion.peel_batch(NODES[0], sealed), lambda: onion.peel(NODES[0], packets[0], DATA), floor, seconds=2
    )
    reference = "one ECDH + one point multiplication"
    for name, seconds in (("onion peel, in a batch of 32", batch / BATCH), ("onion peel, alone", one)):
        ratio = seconds / two_operations
        report(name, seconds * 1e6, "us", reference, two_operations * 1e6, ratio, 1.25, ratio <= 1.25)


def test_build(best_of, report) -> None:
    key = PrivateKey(b"\x21" * 32)
    packet, _ = onion.build(key, HOPS, DATA)
    assert packet == oracle.build(key, HOPS, DATA, onion.PAYMENT_PACKET_BYTES)
    (seconds,) = best_of(lambda: onion.build(key, HOPS, DATA))
    report("onion build, 5 hops", seconds * 1e6, "us")


def test_failure(best_of, report) -> None:
    _, secrets = onion.build(PrivateKey(b"\x21" * 32), HOPS, DATA)
    packet = failure_packet.create(secrets[4], b"\x20\x02")
    for secret in reversed(secrets[:4]):
        packet = failure_packet.wrap(secret, packet)
    assert failure_packet.unwrap(secrets, packet) == (4, b"\x20\x02")
    wrap, unwrap = best_of(
        lambda: failure_packet.wrap(secrets[0], packet), lambda: failure_packet.unwrap(secrets, packet)
    )
    report("failure packet, one layer", wrap * 1e6, "us")
    report("failure packet, unwrap (27 rounds)", unwrap * 1e6, "us")
