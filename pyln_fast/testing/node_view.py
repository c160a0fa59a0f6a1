"""What the checkers of a simulation remember of one node."""

from __future__ import annotations

from pyln_fast.channel.htlc import Htlc
from pyln_fast.channel.state import ChannelData
from pyln_fast.types import ChannelId, PaymentHash, PaymentId


class NodeView:
    """Over its restarts."""

    def __init__(self) -> None:
        self.durable: dict[ChannelId, ChannelData] = {}
        """Of every channel that ever was: the last record."""
        self.initial_msat: dict[ChannelId, int] = {}
        self.removals: dict[tuple[ChannelId, int], bool] = {}
        """Received HTLCs that were answered: whether fulfilled."""
        self.payments: dict[tuple[PaymentId, PaymentHash], None] = {}
        self.ended: dict[tuple[PaymentId, PaymentHash], tuple[int, str]] = {}
        """A PaymentId may be used again after a failure, for another invoice."""
        self.sent: dict[tuple[PaymentId, PaymentHash], tuple[int, int]] = {}
        """Amount and fee of what we paid."""
        self.claimed: dict[int, tuple[PaymentHash, int]] = {}
        """By the event's sequence: what came, in msat. An invoice may be paid twice, by two or under two PaymentIds."""
        self.forward_fees: dict[bytes, int] = {}
        self.forwards: dict[tuple[ChannelId, int], tuple[ChannelId, Htlc]] = {}
        """Received HTLCs that were forwarded: the channel and the HTLC that went on."""
        self.points: dict[tuple[ChannelId, int], bytes] = {}
        """The per-commitment points of the counterparty's commitments that we signed."""
        self.verified: dict[ChannelId, int] = {}
        """The holder commitment whose signatures were looked at last."""
        self.revoked: dict[ChannelId, int] = {}
        """How many of them are revoked."""
        self.unhandled: dict[int, None] = {}
        self.last_offered = 0
        self.states: dict[ChannelId, object] = {}
