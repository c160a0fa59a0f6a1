"""A package of the node as the broadcaster takes it: each transaction with what it is for."""

from __future__ import annotations

from pyln_fast.chain.interfaces import AnchorBump, Claim, CooperativeClose, Funding, TransactionType, UnilateralClose
from pyln_fast.node.effects import BroadcastPackage
from pyln_fast.types import ChannelId, NodeId, PublicKey

_OF_CHANNEL: dict[str, type[CooperativeClose] | type[UnilateralClose] | type[AnchorBump] | type[Claim]] = {
    "CooperativeClose": CooperativeClose,
    "UnilateralClose": UnilateralClose,
    "AnchorBump": AnchorBump,
    "Claim": Claim,
}
_UNKNOWN_NODE = NodeId(PublicKey(b""))
_UNKNOWN_CHANNEL = ChannelId(b"")


def transaction_types(package: BroadcastPackage) -> list[tuple[bytes, TransactionType]]:
    node_id = package.counterparty_node_id if package.counterparty_node_id is not None else _UNKNOWN_NODE
    channel_id = package.channel_id if package.channel_id is not None else _UNKNOWN_CHANNEL
    of_channel = _OF_CHANNEL.get(package.kind)
    kind: TransactionType
    if of_channel is not None:
        kind = of_channel(node_id, channel_id)
    else:
        kind = Funding(((node_id, channel_id),) if package.channel_id is not None else ())
    return [(raw, kind) for raw in package.transactions]
