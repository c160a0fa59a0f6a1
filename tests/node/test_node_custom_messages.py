import pytest

from pyln_fast.channel.errors import APIMisuse, ChannelUnavailable
from pyln_fast.node.effects import OfferCustomMessage
from pyln_fast.peer.peer_manager import PeerRules
from pyln_fast.types import NodeId, PublicKey
from tests.node.world import World


def test_custom_messages_reach_who_declared_them_and_no_one_else() -> None:
    world = World()
    alice, bob = world.host("alice"), world.host("bob")
    rules = bob.node.peer_manager._rules
    bob.node.peer_manager._rules = PeerRules(rules.features, rules.networks, frozenset({40_000}))
    world.connect(alice, bob)
    offered: list[OfferCustomMessage] = []
    real = bob.node.process_events

    def process_events() -> list:
        effects = real()
        offered.extend(effect for effect in effects if isinstance(effect, OfferCustomMessage))
        return [effect for effect in effects if not isinstance(effect, OfferCustomMessage)]

    bob.node.process_events = process_events  # type: ignore[method-assign]
    to_bob = bob.node.core.node_id
    alice.call(lambda node: node.send_custom_message(to_bob, 40_000, b"hello"))
    alice.call(lambda node: node.send_custom_message(to_bob, 40_001, b"odd, so ignored"))
    assert offered == [OfferCustomMessage(alice.node.core.node_id, 40_000, b"hello")]
    assert list(bob.node.core.peers) == [alice.node.core.node_id]
    with pytest.raises(APIMisuse, match="message type 32767"):
        alice.call(lambda node: node.send_custom_message(to_bob, 32_767, b""))
    with pytest.raises(APIMisuse, match="at most 65535"):
        alice.call(lambda node: node.send_custom_message(to_bob, 40_000, bytes(65_534)))
    with pytest.raises(ChannelUnavailable):
        alice.call(lambda node: node.send_custom_message(NodeId(PublicKey(b"\x02" * 33)), 40_000, b""))
    # An even one that bob did not declare costs the connection (BOLT 1).
    alice.call(lambda node: node.send_custom_message(to_bob, 40_002, b""))
    assert list(bob.node.core.peers) == []
    world.close_all()
