"""Onion packets (BOLT 4, Packet Structure): built by the origin, peeled by every hop."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pyln_fast._ext import _onion
from pyln_fast.errors import LocalError
from pyln_fast.types import NodeId, PrivateKey, PublicKey, Secret
from pyln_fast.wire.failure_msgs import InvalidOnionHmac, InvalidOnionKey, InvalidOnionPayload, InvalidOnionVersion

PAYMENT_PACKET_BYTES = 1366
"""In update_add_htlc: 1300 bytes of hops."""
MESSAGE_PACKET_BYTES = (1366, 32834)
"""BOLT 4, Onion Messages: the sizes that do not stand out."""
PACKET_OVERHEAD_BYTES = 66
"""version, ephemeral key, HMAC."""

Sealed = tuple[bytes, bytes, PublicKey | None]
"""A packet as it came: its bytes, the associated data (the payment hash; empty for a message) and the path key."""


class OnionTooLarge(LocalError):
    """The payloads of the hops do not fit into the packet."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the hops take {size} bytes of {limit}")
        self.size = size
        self.limit = limit


class Peeled(msgspec.Struct, frozen=True, array_like=True):
    """What one hop finds."""

    payload: bytes
    """The hop's TLV stream, without its length."""
    next_packet: bytes | None
    """For the next hop; None at the last."""
    shared_secret: Secret
    """Kept to create or wrap a failure."""
    path_secret: Secret | None
    """With a path key: the shared secret that opens encrypted_recipient_data (BOLT 4, Route Blinding)."""


class OnionFailure(msgspec.Struct, frozen=True, array_like=True):
    """Why a packet was refused."""

    failure: InvalidOnionVersion | InvalidOnionHmac | InvalidOnionKey | InvalidOnionPayload
    shared_secret: Secret | None
    """With InvalidOnionPayload: to create the failure packet. None for the others, which are BADONION: they go into
    update_fail_malformed_htlc."""


def hop_size(payload: bytes) -> int:
    """What a hop takes in the packet: a bigsize length, the payload, an HMAC."""
    return (1 if len(payload) < 0xFD else 3) + len(payload) + 32


def build(
    session_key: PrivateKey,
    hops: Sequence[tuple[NodeId, bytes]],
    associated_data: bytes,
    packet_bytes: int = PAYMENT_PACKET_BYTES,
) -> tuple[bytes, tuple[Secret, ...]]:
    """The packet for the first hop, and the shared secret of every hop, which `failure_packet.unwrap` needs.

    A hop is its node id (or blinded node id) and its payload of at least two bytes. session_key must be fresh and
    random. Raises OnionTooLarge, or ValueError if a key is not valid.
    """
    limit = packet_bytes - PACKET_OVERHEAD_BYTES
    size = sum(hop_size(payload) for _, payload in hops)
    if size > limit:
        raise OnionTooLarge(size, limit)
    packet, secrets = _onion.build(session_key, list(hops), associated_data, packet_bytes)
    return packet, tuple(Secret(secrets[i : i + 32]) for i in range(0, len(secrets), 32))


def peel(
    node_secret: PrivateKey, packet: bytes, associated_data: bytes, path_key: PublicKey | None = None
) -> Peeled | OnionFailure:
    """One packet; `peel_batch` peels those of a turn in one call."""
    return peel_batch(node_secret, ((packet, associated_data, path_key),))[0]


def peel_batch(node_secret: PrivateKey, packets: Sequence[Sealed]) -> list[Peeled | OnionFailure]:
    """BOLT 4, Onion Decryption, for each packet on its own, in their order."""
    results: list[Peeled | OnionFailure] = []
    for sealed, outcome in zip(packets, _onion.peel_batch(node_secret, list(packets)), strict=True):
        if len(outcome) == 5:
            _, payload, next_packet, shared_secret, path_secret = outcome
            blinded = None if sealed[2] is None else Secret(path_secret)
            results.append(Peeled(payload, next_packet, Secret(shared_secret), blinded))
        else:
            results.append(_refusal(*outcome))
    return results


def _refusal(reason: int, sha256_of_onion: bytes, shared_secret: bytes) -> OnionFailure:
    if reason == _onion.BAD_VERSION:
        return OnionFailure(InvalidOnionVersion(sha256_of_onion), None)
    if reason == _onion.BAD_HMAC:
        return OnionFailure(InvalidOnionHmac(sha256_of_onion), None)
    if reason == _onion.BAD_KEY:
        return OnionFailure(InvalidOnionKey(sha256_of_onion), None)
    assert reason == _onion.BAD_PAYLOAD
    # Type 0 at offset 0: it is the length of the whole stream that is wrong, not a record.
    return OnionFailure(InvalidOnionPayload(type=0, offset=0), Secret(shared_secret))
