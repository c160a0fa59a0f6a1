from __future__ import annotations

import random
from collections import Counter

from pyln_fast.testing import tampering
from pyln_fast.types import ChannelId, PublicKey, Secret
from pyln_fast.wire.channel_msgs import ChannelReestablish, CommitmentSigned
from pyln_fast.wire.codec import decode, encode
from pyln_fast.wire.layout import Message

CHANNEL = ChannelId(bytes(range(32)))
REESTABLISH = ChannelReestablish(CHANNEL, 5, 4, Secret(bytes(32)), PublicKey(b"\x02" + bytes(31) + b"\x01"))


def test_one_field_changes_and_its_type_does_not() -> None:
    changed: Counter[str] = Counter()
    for seed in range(300):
        lie = tampering.altered(REESTABLISH, random.Random(seed))
        assert isinstance(lie, ChannelReestablish)
        names = [name for name in lie.__struct_fields__ if getattr(lie, name) != getattr(REESTABLISH, name)]
        assert len(names) <= 1
        changed.update(names)
        for name in names:
            assert type(getattr(lie, name)) is type(getattr(REESTABLISH, name))
    assert set(changed) == {
        "channel_id",
        "next_commitment_number",
        "next_revocation_number",
        "your_last_per_commitment_secret",
        "my_current_per_commitment_point",
    }


def test_lists_lose_gain_and_change() -> None:
    message = CommitmentSigned(CHANNEL, bytes(64), (bytes(64), bytes([1]) * 64))  # type: ignore[arg-type]
    lengths = {len(tampering.altered(message, random.Random(seed)).htlc_signature) for seed in range(200)}  # type: ignore[union-attr]
    assert lengths == {1, 2, 3}


def test_a_truncated_message_keeps_its_type() -> None:
    whole = encode(REESTABLISH)
    for seed in range(50):
        message = tampering.truncated(REESTABLISH, random.Random(seed))
        raw = encode(message)
        assert raw != whole
        assert raw[:2] == whole[:2]


def test_what_is_forged_can_be_sent() -> None:
    kinds = set()
    for seed in range(100):
        for message in (tampering.forged(CHANNEL, random.Random(seed)), *tampering.flood(CHANNEL, random.Random(seed))):
            kinds.add(type(message).__name__)
            raw = encode(message)
            assert isinstance(message, Message) is False or decode(raw) == message
    assert kinds == {"UpdateFee", "Shutdown", "Warning", "UnknownMessage", "Ping", "Error"}
