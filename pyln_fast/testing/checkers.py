"""What must hold in every simulated run, checked while it runs (the numbers are those of `invariants`).

After each turn and each durable batch the cheap part; at quiescence, when every HTLC has ended, the sums
(`settled_checkers`) and the coins (`chain_checkers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyln_fast.chain.channel_monitor import MonitorState
from pyln_fast.channel.commitments import Commitments
from pyln_fast.channel.htlc import ForwardedHtlc, Fulfilled, Htlc, HtlcKey, HtlcStage
from pyln_fast.channel.state import ChannelData, Closing
from pyln_fast.config import ANTI_REORG_DELAY
from pyln_fast.errors import LightningError
from pyln_fast.events import ChannelClosed, PaymentClaimed, PaymentFailed, PaymentSent
from pyln_fast.node.effects import BroadcastPackage, OfferEvent
from pyln_fast.node.state import (
    CHANNELS,
    COMMITMENTS,
    EVENTS,
    HTLCS,
    MONITORS,
    ForwardedPayment,
    event_key,
    htlc_record_key,
)
from pyln_fast.payment.outbound import OutboundPayment
from pyln_fast.payment.route import forwarding_fee_msat
from pyln_fast.records import Put, Write, encode
from pyln_fast.testing import sim_limits
from pyln_fast.testing.chain_checkers import ChainCheckers
from pyln_fast.testing.invariants import InvariantBroken
from pyln_fast.testing.node_view import NodeView
from pyln_fast.testing.settled_checkers import SettledCheckers
from pyln_fast.tx.commitment import verify as _verify
from pyln_fast.tx.keys import commitment_index, public_key
from pyln_fast.tx.transaction import parse, txid
from pyln_fast.types import ChannelId, CommitmentNumber, Msat, NodeId, PaymentHash, channel_id_v1

if TYPE_CHECKING:
    from pyln_fast.testing.sim_node import SimNode
    from pyln_fast.testing.sim_world import SimWorld


class Checkers:
    """Of one simulation. An adversary is asked for nothing; what its peers are left with must be right."""

    def __init__(self, simulator: SimWorld) -> None:
        self._simulator = simulator
        self.views: dict[str, NodeView] = {}
        self.coins = ChainCheckers(simulator)
        self._settled = SettledCheckers(simulator, self)
        self.force_closed: dict[ChannelId, str] = {}
        """By whose user, who wanted it. What happens to them on chain is not looked at."""
        self.invoices_of: dict[PaymentHash, str] = {}
        """Who made each invoice."""
        self._restored: dict[str, NodeView] = {}
        """What was known of nodes before an old copy of their disks was put back."""
        self.payable_to_honest: dict[PaymentHash, Msat] = {}
        """Of every invoice of an honest node: what it asks for."""
        self._txids: dict[tuple[ChannelId, str, int], tuple[bytes, str]] = {}
        """(channel, whose commitment, number) → its txid, and who said so first."""

    def add(self, node: SimNode) -> None:
        """An adversary is not asked for anything: what its peers are left with is what counts."""
        if not node.is_honest:
            return
        self.views[node.name] = NodeView()
        node.disk.on_record = lambda write, record: self._record(node, write, record)

    def _is_honest(self, node_id: NodeId) -> bool:
        return self._simulator.nodes[self._simulator.name_of(node_id)].is_honest

    def restored(self, node: SimNode) -> None:
        """An old copy of its disk was put back. From now on it is asked for one thing: to broadcast nothing whose
        secret the counterparty has. To the others it is a peer that lies."""
        node.is_honest = False
        node.disk.on_record = lambda write, record: None
        self._restored[node.name] = self.views.pop(node.name)
        for payment_hash in [each for each, name in self.invoices_of.items() if name == node.name]:
            self.payable_to_honest.pop(payment_hash, None)

    def is_between_honest(self, data: ChannelData) -> bool:
        return self._is_honest(data.params.counterparty_node_id)

    def started(self, node: SimNode) -> None:
        """Whatever was durable and unhandled is offered again."""
        if not node.is_honest:
            return
        view = self.views[node.name]
        view.last_offered = 0
        view.states.clear()
        stored = [int.from_bytes(key, "big") for key in node.disk.tables.get(EVENTS.name, {})]
        view.unhandled = dict.fromkeys(sorted(stored))
        for channel_id in [each for each, name in self.force_closed.items() if name == node.name]:
            raw = node.disk.read(CHANNELS.name, channel_id)
            if raw is not None and not isinstance(CHANNELS.decode(raw), Closing):
                del self.force_closed[channel_id]  # it died before that was durable

    # --- what becomes durable

    def _record(self, node: SimNode, write: Write, record: object | None) -> None:
        view = self.views[node.name]
        if write.table == "channels":
            self._channel_record(node, view, ChannelId(write.key), record)
        elif isinstance(record, Htlc):
            self._htlc_record(node, view, ChannelId(write.key[:32]), record)
        elif isinstance(record, MonitorState):
            self._monitor_record(node, record)
        elif isinstance(record, OutboundPayment):
            view.payments[record.payment_id, record.payment_hash] = None
        elif isinstance(record, ForwardedPayment):
            if write.key in view.forward_fees:
                raise InvariantBroken("forward-once", f"{node.name} was paid twice for one forward")
            view.forward_fees[write.key] = record.fee_msat
        elif write.table == EVENTS.name:
            sequence = int.from_bytes(write.key, "big")
            if isinstance(write, Put):
                view.unhandled[sequence] = None
            else:
                view.unhandled.pop(sequence, None)

    def _channel_record(self, node: SimNode, view: NodeView, channel_id: ChannelId, record: object | None) -> None:
        """A channel is forgotten when its funding is spent for good, or never came."""
        if record is None:
            funding = view.durable[channel_id].funding.outpoint
            chain = self._simulator.chain
            spender = chain.spender(funding)
            is_over = spender is not None and chain.confirmations(spender) > 0
            if not is_over and chain.confirmations(funding.txid) > 0:
                raise InvariantBroken("channels stay", f"{node.name} forgot a channel whose funding is in the chain")
            return
        data: ChannelData = record.data  # type: ignore[attr-defined]
        view.durable[channel_id] = data
        if channel_id not in view.initial_msat:
            view.initial_msat[channel_id] = data.commitments.to_holder_msat

    def _htlc_record(self, node: SimNode, view: NodeView, channel_id: ChannelId, htlc: Htlc) -> None:
        """5: a preimage that we took downstream is owed to us upstream in the same batch; an HTLC goes on only when it
        is committed for good, and is failed only when what went on is gone for good."""
        if not htlc.offered:
            if htlc.removal is not None:
                self._answered(node, view, channel_id, htlc)
            return
        if isinstance(htlc.source, ForwardedHtlc):
            upstream = (htlc.source.prev_channel_id, htlc.source.prev_htlc_id)
            if upstream not in view.forwards:
                view.forwards[upstream] = (channel_id, htlc)
                self._forwarded(node, view, channel_id, htlc, upstream)
            if isinstance(htlc.removal, Fulfilled) and not self._is_fulfilled(node, view, upstream):
                raise InvariantBroken("5 forwarder", f"{node.name} paid HTLC {htlc.id}, did not collect {upstream[1]}")

    def _forwarded(
        self, node: SimNode, view: NodeView, channel_id: ChannelId, htlc: Htlc, upstream: tuple[ChannelId, int]
    ) -> None:
        """When it is committed for good, and for what the node asks for."""
        before = self._stored_htlc(node, upstream[0], (False, upstream[1]))
        if before is None or before.stage < HtlcStage.COMMITTED:
            raise InvariantBroken("5 forwarder", f"{node.name} forwarded HTLC {upstream[1]} too early")
        config = view.durable[channel_id].config
        fee = forwarding_fee_msat(
            htlc.amount_msat, config.forwarding_fee_base_msat, config.forwarding_fee_proportional_millionths
        )
        if before.amount_msat - htlc.amount_msat < fee:
            earned = before.amount_msat - htlc.amount_msat
            raise InvariantBroken("5 forwarder", f"{node.name} forwarded for {earned} msat, asks for {fee}")
        if before.cltv_expiry - htlc.cltv_expiry < config.cltv_expiry_delta:
            raise InvariantBroken("5 forwarder", f"{node.name} forwarded without its cltv_expiry_delta")

    def _answered(self, node: SimNode, view: NodeView, channel_id: ChannelId, htlc: Htlc) -> None:
        fulfilled = isinstance(htlc.removal, Fulfilled)
        if view.removals.setdefault((channel_id, htlc.id), fulfilled) != fulfilled:
            raise InvariantBroken("5 forwarder", f"{node.name} answered HTLC {htlc.id} in two ways")
        forward = view.forwards.get((channel_id, htlc.id))
        if fulfilled or forward is None:
            return
        # All of the batch is there: what went on and is gone in it is not found, or another has its id by now.
        downstream = self._stored_htlc(node, forward[0], forward[1].key)
        if downstream is not None and downstream.source == forward[1].source:
            raise InvariantBroken(
                "5 forwarder", f"{node.name} failed HTLC {htlc.id} while {forward[1].id} can be claimed"
            )

    @staticmethod
    def _stored_htlc(node: SimNode, channel_id: ChannelId, key: HtlcKey) -> Htlc | None:
        raw = node.disk.read(HTLCS.name, htlc_record_key(channel_id, key))
        return None if raw is None else HTLCS.decode(raw)

    def _is_fulfilled(self, node: SimNode, view: NodeView, upstream: tuple[ChannelId, int]) -> bool:
        if upstream in view.removals:
            return view.removals[upstream]
        # The record of a later write of the same batch has not been told yet.
        stored = self._stored_htlc(node, upstream[0], (False, upstream[1]))
        return stored is not None and isinstance(stored.removal, Fulfilled)

    def _monitor_record(self, node: SimNode, record: MonitorState) -> None:
        """3: both sides build the same commitment for each side and number. 6, as far as it is off chain: whatever the
        counterparty has revoked, we hold the secret that punishes it."""
        self._valid(node, record)
        self._punishable(node, record)
        channel = node.disk.read(CHANNELS.name, record.channel_id)
        if channel is not None:
            commitments = CHANNELS.decode(channel).data.commitments
            numbers = record.holder_commitment.commitment.number, record.counterparty_commitment.commitment.number
            if numbers != (commitments.holder_number, commitments.counterparty_number):
                raise InvariantBroken("monitor of the moment", f"{node.name}: a monitor has commitments {numbers}")
        if not self._is_honest(record.counterparty_node_id):
            return
        other = self._simulator.name_of(record.counterparty_node_id)
        held, signed = record.holder_commitment, record.counterparty_commitment
        for owner, number, tx_id in (
            (node.name, held.commitment.number, held.txid),
            (other, signed.commitment.number, signed.txid),
        ):
            known = self._txids.setdefault((record.channel_id, owner, number), (tx_id, node.name))
            if known[0] != tx_id:
                raise InvariantBroken(
                    "3 same commitment", f"{node.name} and {known[1]} differ in commitment {number} of {owner}"
                )

    def _valid(self, node: SimNode, record: MonitorState) -> None:
        """What we would broadcast is signed by the counterparty, HTLCs and all."""
        view, held = self.views[node.name], record.holder_commitment
        if view.verified.get(record.channel_id) == held.commitment.number:
            return
        view.verified[record.channel_id] = held.commitment.number
        try:
            _verify(record.parameters, held.commitment, held.signature, held.htlc_signatures)
        except LightningError as error:
            raise InvariantBroken("signed commitment", f"{node.name} holds {held.commitment.number}: {error}") from None

    def _punishable(self, node: SimNode, record: MonitorState) -> None:
        view, channel_id = self.views[node.name], record.channel_id
        signed = record.counterparty_commitment.commitment
        view.points[channel_id, signed.number] = signed.per_commitment_point
        revoked = signed.number if record.previous_counterparty_commitment is None else signed.number - 1
        for number in range(view.revoked.get(channel_id, 0), revoked):
            secret = record.counterparty_secrets.lookup(commitment_index(CommitmentNumber(number)))
            if secret is None or public_key(secret) != view.points[channel_id, number]:
                raise InvariantBroken("6 punishable", f"{node.name} has no secret for revoked commitment {number}")
            if number and node.disk.read(COMMITMENTS.name, channel_id + number.to_bytes(8, "big")) is None:
                raise InvariantBroken("6 punishable", f"{node.name} has no HTLCs of revoked commitment {number}")
        view.revoked[channel_id] = revoked

    # --- what is seen

    def broadcast(self, node: SimNode, package: BroadcastPackage) -> None:
        """Nothing leaves that would lose its channel: a funding before we could claim it, a commitment but the last."""
        if node.name in self._restored and package.kind == "UnilateralClose":
            self._not_revoked(node, package)
        if not node.is_honest:
            return
        if package.kind == "Funding" and package.channel_id is not None:
            tables = CHANNELS.name, MONITORS.name
            if any(node.disk.read(table, package.channel_id) is None for table in tables):
                raise InvariantBroken(
                    "2 durable first", f"{node.name} broadcasts a funding, its channel is not on disk"
                )
        if package.kind == "UnilateralClose":
            tx = parse(package.transactions[0])
            channel_id = channel_id_v1(tx.inputs[0].outpoint)
            number = self.views[node.name].durable[channel_id].commitments.holder_number
            raw = node.disk.read(MONITORS.name, channel_id)
            held = MONITORS.decode(raw).holder_commitment if raw is not None else None
            if held is None or held.commitment.number != number or held.txid != txid(tx):
                raise InvariantBroken("newest commitment", f"{node.name} broadcasts another than its last, {number}")

    def _not_revoked(self, node: SimNode, package: BroadcastPackage) -> None:
        tx = parse(package.transactions[0])
        channel_id = channel_id_v1(tx.inputs[0].outpoint)
        before = self._restored[node.name].durable.get(channel_id)
        held = MONITORS.decode(node.disk.tables[MONITORS.name][channel_id]).holder_commitment
        if before is None or not self.is_between_honest(before):
            return  # a peer that lies, or that has lost state itself, proves nothing
        own = node.node.core.state.channels[channel_id]
        if isinstance(own, Closing) and own.error is not None and own.error.endswith("is past its deadline"):
            return  # nor does one that was silent until an HTLC could wait no longer
        other = self._simulator.nodes[self._simulator.name_of(before.params.counterparty_node_id)]
        state = other.node.core.state.channels.get(channel_id)
        if state is None:
            return  # the close is buried
        theirs = state.data.commitments
        if held.commitment.number < theirs.counterparty_number - theirs.awaiting_revocation:
            raise InvariantBroken("newest commitment", f"{node.name} has lost data and broadcasts what it revoked")

    def event_offered(self, node: SimNode, offered: OfferEvent) -> None:
        """2 for the user; events in their order, and none that was not durable."""
        if not node.is_honest:
            return
        view = self.views[node.name]
        event, sequence = offered.event, offered.sequence
        if sequence <= view.last_offered:
            raise InvariantBroken("events in order", f"{node.name}: {sequence} after {view.last_offered}")
        view.last_offered = sequence
        if event.persists and node.disk.read(EVENTS.name, event_key(sequence)) != encode(event):
            raise InvariantBroken("2 durable first", f"{node.name} offers {type(event).__name__} that is not durable")
        if isinstance(event, ChannelClosed):
            self._closed(node, event)

    def event_handled(self, node: SimNode, offered: OfferEvent) -> None:
        """Each payment ends once, over all restarts."""
        if not node.is_honest:
            return
        view, event = self.views[node.name], offered.event
        if isinstance(event, PaymentSent | PaymentFailed):
            end = (offered.sequence, type(event).__name__)
            known = view.ended.setdefault((event.payment_id, event.payment_hash), end)
            if known != end:
                raise InvariantBroken("payment ends once", f"{node.name}: {known}, then {end}")
            if isinstance(event, PaymentSent):
                view.sent[event.payment_id, event.payment_hash] = (event.amount_msat, event.fee_paid_msat)
        elif isinstance(event, PaymentClaimed):
            claim = (event.payment_hash, int(event.amount_msat))
            asked = self.payable_to_honest.get(event.payment_hash)
            if asked is not None and event.amount_msat < asked:
                raise InvariantBroken("paid in full", f"{node.name} took {event.amount_msat} msat for {asked}")
            before = view.claimed.setdefault(offered.sequence, claim)
            if before != claim:
                raise InvariantBroken("payment claimed once", f"{node.name}: {before}, then {claim}")

    def _closed(self, node: SimNode, event: ChannelClosed) -> None:
        reason = type(event.reason).__name__
        data = self.views[node.name].durable.get(event.channel_id)
        if data is not None and data.params.counterparty_node_id != event.counterparty_node_id:
            return  # an opening of somebody else, under the id of a channel that is over
        if data is None or not self.is_between_honest(data) or event.channel_id in self.force_closed:
            return
        if "Cooperative" not in reason and not self.is_orphan(node, event.channel_id):
            raise InvariantBroken("1 no force close", f"{node.name}: {event.reason}")

    def is_orphan(self, node: SimNode, channel_id: ChannelId) -> bool:
        """The opener lost the channel before it could broadcast the funding: the fundee's half of it is nothing."""
        data = self.views[node.name].durable.get(channel_id)
        if data is None or self._simulator.chain.transaction(data.funding.outpoint.txid) is not None:
            return False
        other = self._simulator.name_of(data.params.counterparty_node_id)
        if other not in self.views:
            return False
        return not data.params.holder_is_opener and channel_id not in self.views[other].durable

    # --- after each turn

    def turn_ended(self, node: SimNode) -> None:
        """What the node reported, its limits, and each channel that has changed. Raises InvariantBroken."""
        if not node.is_honest:
            node.node.reports.clear()
            return
        for report in node.node.reports:
            if report.level == "error":
                raise InvariantBroken("no internal error", f"{node.name}: {report.text}: {report.error!r}")
            if report.level == "warning":
                self._warned(node, report.text)
        node.node.reports.clear()
        sim_limits.check(node)
        self.coins.turn_ended(node)
        view = self.views[node.name]
        for channel_id, state in node.node.core.state.channels.items():
            before = view.states.get(channel_id)
            if before is not state:
                view.states[channel_id] = state
                self.coins.entered(node, before, state)
                self._channel(node, channel_id, state)

    def _warned(self, node: SimNode, text: str) -> None:
        if any(each.node_id.hex() in text for each in self._simulator.nodes.values() if not each.is_honest):
            return
        shared = self._shared_with_peer(node, text)
        closed = any(each.channel_id in self.force_closed for each in shared)
        if closed and ("failed by the peer's error" in text or "sent error: enough" in text):
            return
        if "channels without a confirmed funding" in text:
            return  # blocks made fundings unconfirmed, or it lags behind those that confirm them: an opening is refused
        if "unknown channel in ClosingSigned" in text or "unknown channel in Shutdown" in text:
            return  # it lags behind the chain, which has the close
        if "unknown channel in ChannelReestablish" in text and any(map(self._is_buried, shared)):
            return  # it lags, too, and the close is forgotten by its peer already
        if "unknown channel" in text or "failed by the peer's error" in text:
            orphans = (
                each
                for other in map(self._simulator.nodes.__getitem__, self.views)
                for each in self.views[other.name].durable
                if self.is_orphan(other, each)
            )
            if next(orphans, None) is not None:
                return
        raise InvariantBroken("honest peers", f"{node.name} complains: {text}")

    def _shared_with_peer(self, node: SimNode, text: str) -> list[ChannelData]:
        """Every channel that the node ever had with whom the text names."""
        mine = self.views[node.name].durable.values()
        return [each for each in mine if each.params.counterparty_node_id.hex() in text]

    def _is_buried(self, data: ChannelData) -> bool:
        chain = self._simulator.chain
        spender = chain.spender(data.funding.outpoint)
        return spender is not None and chain.confirmations(spender) >= ANTI_REORG_DELAY

    def _channel(self, node: SimNode, channel_id: ChannelId, state: object) -> None:
        data: ChannelData = state.data  # type: ignore[attr-defined]
        honest = self._is_honest(data.params.counterparty_node_id)
        failed = isinstance(state, Closing) and state.error is not None
        if honest and failed and channel_id not in self.force_closed and not self.is_orphan(node, channel_id):
            raise InvariantBroken("1 no force close", f"{node.name}: {state.error}")  # type: ignore[attr-defined]
        mine = data.commitments
        if mine.to_holder_msat + mine.to_counterparty_msat != 1000 * data.params.channel_value_sat:
            raise InvariantBroken("4 conserved", f"{node.name}: the balances of a channel do not add up to its value")
        if mine.to_holder_msat < 0 or mine.to_counterparty_msat < 0:
            raise InvariantBroken("4 conserved", f"{node.name}: a negative balance")
        if not honest:
            return
        other = self._simulator.name_of(data.params.counterparty_node_id)
        theirs = self.views[other].durable.get(channel_id)
        if theirs is None:
            if mine.holder_number or mine.counterparty_number:
                raise InvariantBroken("2 durable first", f"{other}'s disk lacks a channel that {node.name} uses")
            return
        self._not_ahead(node.name, other, mine, theirs.commitments)

    @staticmethod
    def _not_ahead(name: str, other: str, mine: Commitments, theirs: Commitments) -> None:
        """2: what a node has seen of its peer is on the peer's disk."""
        if mine.holder_number > theirs.counterparty_number:
            raise InvariantBroken("2 durable first", f"{name} holds a signature that {other}'s disk does not know")
        if mine.counterparty_number - mine.awaiting_revocation > theirs.holder_number:
            raise InvariantBroken("2 durable first", f"{name} holds a secret of {other}'s durable state")
        if mine.next_counterparty_htlc_id > theirs.next_holder_htlc_id:
            raise InvariantBroken("2 durable first", f"{name} has HTLCs that {other}'s disk does not know")

    def quiescent(self, blocks_came: bool = False) -> None:
        """Every link is up, every disk has written: the sums must be right. Raises InvariantBroken.

        Without blocks channels need not open or close.
        """
        self._settled.check(blocks_came)
