"""What a handler returns, and what it is given besides its state and its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from pyln_fast.config import UserConfig
from pyln_fast.types import BlockHeight, ChannelId, FeeratePerKw, Network, ShortChannelId

if TYPE_CHECKING:
    from pyln_fast.channel.actions import Action
    from pyln_fast.channel.state import AnyState
    from pyln_fast.sign.interfaces import EcdsaChannelSigner

S = TypeVar("S", covariant=True)

Handler = Callable[..., "Transition[AnyState]"]
"""(state, message or command, context) → transition; each is typed for its own state and input."""
Handlers = dict[type, Handler]


class Feerates(msgspec.Struct, frozen=True):
    """The estimates of LDK's ConfirmationTargets that a channel asks for, in sat per kw."""

    maximum_fee_estimate: FeeratePerKw
    min_allowed_anchor_channel_remote_fee: FeeratePerKw
    min_allowed_non_anchor_channel_remote_fee: FeeratePerKw
    anchor_channel_fee: FeeratePerKw
    non_anchor_channel_fee: FeeratePerKw
    channel_close_minimum: FeeratePerKw

    def commitment(self, anchors: bool) -> FeeratePerKw:
        return self.anchor_channel_fee if anchors else self.non_anchor_channel_fee

    def min_allowed(self, anchors: bool) -> FeeratePerKw:
        if anchors:
            return self.min_allowed_anchor_channel_remote_fee
        return self.min_allowed_non_anchor_channel_remote_fee


class SignerLookup(Protocol):
    """The part of LDK's SignerProvider that a channel needs."""

    def derive_channel_signer(self, channel_keys_id: bytes) -> EcdsaChannelSigner: ...


class Context(msgspec.Struct, frozen=True):
    """The world as it is when an input is handled. Nothing in it changes while a handler runs."""

    network: Network
    block_height: BlockHeight
    feerates: Feerates
    config: UserConfig
    signers: SignerLookup
    counterparty_features: bytes
    """Feature bits of the peer's `init`; empty while it is not connected."""
    shutdown_script: bytes
    """Where a cooperative close that begins now shall pay us."""
    unused_alias: ShortChannelId
    """An `alias` for `channel_ready` that no channel of ours has, unrelated to any funding."""
    temporary_channel_id: ChannelId
    """32 bytes that no channel of ours has, for a channel that begins now."""
    peers_had_time: bool = True
    """Since the start, to connect and to say what they know of a channel."""


class Transition(Generic[S]):
    """The next state, and what the world must see of it, in order. A handler that raises has changed nothing."""

    __slots__ = ("actions", "state")

    def __init__(self, state: S, actions: tuple[Action, ...] = ()) -> None:
        self.state = state
        self.actions = actions

    def __repr__(self) -> str:
        names = ", ".join(type(action).__name__ for action in self.actions)
        return f"Transition({type(self.state).__name__}, [{names}])"
