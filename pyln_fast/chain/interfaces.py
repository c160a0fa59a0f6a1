"""What the node asks of the world around the chain, and what it is told: LDK's interfaces.

An embedder implements the Protocols; `runtime/bitcoind.py` does it with Bitcoin Core's RPC.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from pyln_fast.chain.block_locator import BlockLocator
from pyln_fast.types import BlockHash, BlockHeight, ChannelId, FeeratePerKw, NodeId, OutPoint, TxOut

FEERATE_FLOOR_SATS_PER_KW = FeeratePerKw(253)
"""One satoshi per virtual byte: 250 rounded up so far that rounding a weight to bytes cannot fall below it."""


class ConfirmationTarget(Enum):
    """What a feerate is for."""

    MAXIMUM_FEE_ESTIMATE = "maximum_fee_estimate"
    """The most that can be reasonable: a counterparty above it wastes our balance or hides HTLCs as dust."""
    URGENT_ON_CHAIN_SWEEP = "urgent_on_chain_sweep"
    """Somebody can take the money at a height that is near."""
    MIN_ALLOWED_ANCHOR_CHANNEL_REMOTE_FEE = "min_allowed_anchor_channel_remote_fee"
    """The least that we accept of a counterparty: enough to enter a mempool, where it can be bumped."""
    MIN_ALLOWED_NON_ANCHOR_CHANNEL_REMOTE_FEE = "min_allowed_non_anchor_channel_remote_fee"
    """The least that we accept of a counterparty for a commitment that nobody can bump."""
    ANCHOR_CHANNEL_FEE = "anchor_channel_fee"
    NON_ANCHOR_CHANNEL_FEE = "non_anchor_channel_fee"
    CHANNEL_CLOSE_MINIMUM = "channel_close_minimum"
    """The least for a cooperative close, which may take a day."""
    OUTPUT_SPENDING_FEE = "output_spending_fee"
    """For what nobody else can take."""


class TransactionType(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Why a transaction is broadcast. A hint for logs and priorities: go by the txid to know a transaction."""


class Funding(TransactionType, frozen=True, array_like=True, tag=True):
    channels: tuple[tuple[NodeId, ChannelId], ...]


class CooperativeClose(TransactionType, frozen=True, array_like=True, tag=True):
    counterparty_node_id: NodeId
    channel_id: ChannelId


class UnilateralClose(TransactionType, frozen=True, array_like=True, tag=True):
    counterparty_node_id: NodeId
    channel_id: ChannelId


class AnchorBump(TransactionType, frozen=True, array_like=True, tag=True):
    counterparty_node_id: NodeId
    channel_id: ChannelId


class Claim(TransactionType, frozen=True, array_like=True, tag=True):
    counterparty_node_id: NodeId
    channel_id: ChannelId


class Sweep(TransactionType, frozen=True, array_like=True, tag=True):
    channels: tuple[tuple[NodeId, ChannelId], ...]


class BroadcasterInterface(Protocol):
    def broadcast_transactions(self, txs: Sequence[tuple[bytes, TransactionType]]) -> None:
        """Raw transactions, each with what it is. Several are one package: a child and its parents, in any order.

        Returns at once and never raises: what does not get through is broadcast again by the node, and a transaction
        that another one has beaten to its inputs is no error.
        """


class FeeEstimator(Protocol):
    def get_est_sat_per_1000_weight(self, confirmation_target: ConfirmationTarget) -> FeeratePerKw:
        """At once, from a cache, and at least FEERATE_FLOOR_SATS_PER_KW."""


class Listen(Protocol):
    """Hears of every block once, in the order of the chain."""

    def block_connected(self, block: bytes, height: BlockHeight) -> None:
        """The raw block on top of the last one."""

    def blocks_disconnected(self, fork_point: BlockLocator) -> None:
        """The blocks above the fork point are no longer in the chain. Those of the new branch follow."""


class BlockSource(Protocol):
    """Where headers and blocks come from. Whatever it says is checked.

    Each call raises ChainSourceError where there is no answer.
    """

    def check_ready(self) -> Awaitable[None]:
        """Raises SourceStarting while its best block says nothing yet, because it is still loading or downloading."""

    def get_genesis_hash(self) -> Awaitable[BlockHash]: ...

    def get_best_block(self) -> Awaitable[tuple[BlockHash, BlockHeight]]: ...

    def get_header(self, block_hash: BlockHash) -> Awaitable[bytes]:
        """80 bytes."""

    def get_block(self, block_hash: BlockHash) -> Awaitable[bytes]: ...


class UtxoLookup(Protocol):
    def get_utxo(self, outpoint: OutPoint) -> Awaitable[TxOut | None]:
        """The output, if it is confirmed and unspent."""
