"""What must hold when nothing is under way any more: every payment has ended, channels are open or gone, the sums are
right to the msat (the numbers are those of `invariants`)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pyln_fast.channel.htlc import ForwardedHtlc, Htlc, HtlcStage, OutboundPaymentHtlc
from pyln_fast.channel.state import (
    ChannelData,
    Closing,
    Negotiating,
    Normal,
    Offline,
    ShuttingDown,
    Syncing,
    WaitForChannelReady,
    WaitForFundingConfirmed,
)
from pyln_fast.node.state import forward_key
from pyln_fast.testing.invariants import InvariantBroken
from pyln_fast.testing.node_view import NodeView
from pyln_fast.types import ChannelId, PaymentHash

if TYPE_CHECKING:
    from pyln_fast.testing.checkers import Checkers
    from pyln_fast.testing.sim_node import SimNode
    from pyln_fast.testing.sim_world import SimWorld


class SettledCheckers:
    """Of one simulation."""

    def __init__(self, world: SimWorld, checkers: Checkers) -> None:
        self._world = world
        self._checkers = checkers

    def check(self, blocks_came: bool) -> None:
        """Every link is up, every disk has written, every payment has ended: the sums must be right.

        Without blocks (HTLCs held by an adversary keep the chain from going on) channels need not open or close.

        What an adversary holds stays under way: HTLCs with it, and those which wait for them.
        """
        held = self._held()
        for name, view in self._checkers.views.items():
            node = self._world.nodes[name]
            for channel_id, state in node.node.core.state.channels.items():
                self._settled(node, channel_id, state, held, blocks_came)
            if view.unhandled:
                raise InvariantBroken("events at least once", f"{name}: {len(view.unhandled)} were never handled")
            lost = [each for each in view.payments if each not in view.ended and each[1] not in held]
            if lost:
                raise InvariantBroken("payment ends once", f"{name}: {len(lost)} never ended, {lost[0][0].hex()}")
            self._sum(name, view)
            self._checkers.coins.quiescent(node, view.durable.values())
        self._paid_is_claimed(held)

    def _held(self) -> dict[PaymentHash, None]:
        """The payment hashes of the HTLCs of honest nodes with adversaries, and of those that the chain will end."""
        return {
            htlc.payment_hash: None
            for name in self._checkers.views
            for state in self._world.nodes[name].node.core.state.channels.values()
            if not self._checkers.is_between_honest(state.data) or state.data.channel_id in self._checkers.force_closed
            for htlc in state.data.commitments.htlcs.values()
        }

    def _paid_is_claimed(self, held: dict[PaymentHash, None]) -> None:
        """Between honest nodes nobody pays what the payee does not get. (An adversary on the way may keep from a payer
        that he has paid: it is the adversary who then has paid for him.)"""
        sent = Counter(hash_ for view in self._checkers.views.values() for _, hash_ in view.sent)
        claimed = Counter(hash_ for view in self._checkers.views.values() for hash_, _ in view.claimed.values())
        differ = [hash_ for hash_ in {**sent, **claimed} if sent[hash_] != claimed[hash_] and hash_ not in held]
        if differ and all(node.is_honest for node in self._world.nodes.values()):
            of = f"of {differ[0].hex()} {sent[differ[0]]} payments were sent, {claimed[differ[0]]} claimed"
            raise InvariantBroken("paid is claimed", of)
        # Who knows the preimage from the first payment of an invoice may keep the second.
        lost = [hash_ for hash_ in sorted(sent) if not claimed[hash_] and hash_ in self._checkers.payable_to_honest]
        if lost:
            raise InvariantBroken("paid is claimed", f"{lost[0].hex()} was paid, and its payee has nothing")

    def _settled(
        self,
        node: SimNode,
        channel_id: ChannelId,
        state: object,
        held: dict[PaymentHash, None],
        blocks_came: bool,
    ) -> None:
        data: ChannelData = state.data  # type: ignore[attr-defined]
        if not self._checkers.is_between_honest(data) or channel_id in self._checkers.force_closed:
            return
        if self._checkers.is_orphan(node, channel_id):
            if not isinstance(state, Closing):
                raise InvariantBroken("quiescence", f"{node.name} waits for an opening that its opener has given up")
            return
        name = f"{node.name} {channel_id.hex()[:8]} {type(state).__name__}"
        connected = data.params.counterparty_node_id in node.node.core.peers
        if isinstance(state, Offline | Syncing) and connected:
            raise InvariantBroken("quiescence", f"{name} although its peer is connected")
        opens_or_closes = WaitForFundingConfirmed | WaitForChannelReady | ShuttingDown | Negotiating
        if blocks_came and isinstance(state, opens_or_closes) and not data.commitments.htlcs:
            raise InvariantBroken("quiescence", f"{name} goes on neither opening nor closing")
        waiting = [htlc for htlc in data.commitments.htlcs.values() if htlc.payment_hash not in held]
        if waiting:
            stages = [HtlcStage(htlc.stage).name for htlc in waiting]
            raise InvariantBroken("quiescence", f"{name} holds HTLCs: {stages}")
        pending = data.commitments.awaiting_revocation or len(data.commitments.fees.updates) > 1
        if isinstance(state, Normal) and pending:
            raise InvariantBroken("quiescence", f"{name} waits for a revocation or a feerate")
        other = self._world.nodes[self._world.name_of(data.params.counterparty_node_id)]
        theirs = other.node.core.state.channels.get(channel_id)
        if theirs is not None:
            mine, mirror = data.commitments, theirs.data.commitments
            if mine.to_holder_msat != mirror.to_counterparty_msat:
                raise InvariantBroken("4 conserved", f"{name}: {mine.to_holder_msat} msat, its peer says otherwise")

    @staticmethod
    def _is_decided(view: NodeView, channel_id: ChannelId, htlc: Htlc) -> bool:
        """It is paid, however its channel ends: its preimage has made us pay or be paid on the other side."""
        if isinstance(htlc.source, OutboundPaymentHtlc):
            return (htlc.source.payment_id, htlc.payment_hash) in view.sent
        if isinstance(htlc.source, ForwardedHtlc):
            channel_id, htlc_id = htlc.source.prev_channel_id, htlc.source.prev_htlc_id
        else:
            htlc_id = htlc.id
        return view.removals.get((channel_id, htlc_id), False) or forward_key(channel_id, htlc_id) in view.forward_fees

    def _sum(self, name: str, view: NodeView) -> None:
        """4 and 5: to the msat, with an adversary too: it gains nothing, for its peers lose nothing."""
        now = sum(data.commitments.to_holder_msat for data in view.durable.values()) + self._under_way(name, view)
        before = sum(view.initial_msat.values())
        paid = sum(amount + fee for amount, fee in view.sent.values())
        earned = sum(amount for _, amount in view.claimed.values()) + sum(view.forward_fees.values())
        if now - before != earned - paid:
            raise InvariantBroken(
                "4 conserved", f"{name}: balances moved by {now - before} msat, payments by {earned - paid}"
            )

    def _under_way(self, name: str, view: NodeView) -> int:
        """What HTLCs will bring that were fulfilled, in msat: if an adversary does not end them, the chain will.

        For that the monitor must know the preimage too.
        """
        core = self._world.nodes[name].node.core
        total = 0
        for channel_id, state in core.state.channels.items():
            of_monitor = dict(core.state.monitors[channel_id].preimages)
            for htlc in state.data.commitments.htlcs.values():
                if not self._is_decided(view, channel_id, htlc):
                    continue
                if not htlc.offered and htlc.payment_hash not in of_monitor:
                    raise InvariantBroken("5 forwarder", f"{name}: a monitor lacks the preimage of HTLC {htlc.id}")
                total += -htlc.amount_msat if htlc.offered else htlc.amount_msat
        return total
