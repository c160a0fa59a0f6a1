"""The node broken on purpose, in ways that crashes, lost links or a hostile peer turn into lost money.

`python -m tests.sim.mutations` finds for each the first seed that catches it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pyln_fast.chain import channel_monitor
from pyln_fast.channel import dance, reestablish
from pyln_fast.channel.actions import HtlcRemoved
from pyln_fast.channel.commands import FundingUnconfirmed, SignCommitment
from pyln_fast.channel.commitments import Commitments
from pyln_fast.channel.errors import ReestablishMismatch
from pyln_fast.channel.htlc import Failed, HtlcStage
from pyln_fast.channel.state import Funding
from pyln_fast.channel.states import negotiating
from pyln_fast.errors import LightningError
from pyln_fast.node import htlcs
from pyln_fast.node import state as node_state
from pyln_fast.node.core import Core
from pyln_fast.node.journal import Journal
from pyln_fast.node.node import Node
from pyln_fast.node.payments import Payments
from pyln_fast.node.state import NodeState
from pyln_fast.payment import claimable
from pyln_fast.payment.outbound import PaymentStatus
from pyln_fast.persist.overlay import Overlay
from pyln_fast.records import Put
from pyln_fast.testing.simulator import Outcome, Simulator
from pyln_fast.tx import closing as tx_closing
from pyln_fast.tx import commitment as tx_commitment
from pyln_fast.tx.keys import is_valid_private_key, public_key
from pyln_fast.tx.monitor_update import LatestHolderCommitment
from pyln_fast.types import Msat
from pyln_fast.wallet.ledger import Ledger

STEPS = 1000
Mutation = Callable[[pytest.MonkeyPatch], None]


def released_before_its_batch(patch: pytest.MonkeyPatch) -> None:
    """Messages leave while the batch that they speak of is still being written."""
    honest = Journal.close_turn

    def close_turn(self, writes, effects):  # type: ignore[no-untyped-def]
        held = tuple(effects)
        batch = honest(self, writes, ())
        self._released.extend(held)
        return batch

    patch.setattr(Journal, "close_turn", close_turn)


def preimage_forgotten_on_restart(patch: pytest.MonkeyPatch) -> None:
    """What we owe upstream is not read back: the answer to a received HTLC is lost."""
    honest = node_state.with_htlcs

    def with_htlcs(state, htlcs):  # type: ignore[no-untyped-def]
        table = {
            key: replace(htlc, stage=HtlcStage.COMMITTED, removal=None)
            if not htlc.offered and htlc.stage is HtlcStage.REMOVE_PROPOSED
            else htlc
            for key, htlc in htlcs.items()
        }
        return honest(state, table)

    patch.setattr(node_state, "with_htlcs", with_htlcs)


def revocation_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """A commitment is signed although the last one is not revoked yet."""
    honest = dance.sign

    def do_sign(self, channel_id):  # type: ignore[no-untyped-def]
        if self.state.channels[channel_id].data.commitments.has_changes_to_sign:
            self.execute(channel_id, SignCommitment())

    def sign(data, ctx):  # type: ignore[no-untyped-def]
        if data.commitments.awaiting_revocation:
            data = replace(data, commitments=replace(data.commitments, awaiting_revocation=False))
        return honest(data, ctx)

    patch.setattr(Core, "do_sign", do_sign)
    patch.setattr(dance, "sign", sign)


def revocation_not_checked(patch: pytest.MonkeyPatch) -> None:
    """Any secret is taken for the one that was owed: what it should punish could not be punished."""
    honest = dance.on_revoke_and_ack

    def on_revoke_and_ack(data, msg):  # type: ignore[no-untyped-def]
        secret = msg.per_commitment_secret
        if is_valid_private_key(secret):
            point = public_key(secret)
            data = replace(data, commitments=replace(data.commitments, counterparty_current_point=point))
        return honest(data, msg)

    patch.setattr(dance, "on_revoke_and_ack", on_revoke_and_ack)


def record_dropped(patch: pytest.MonkeyPatch) -> None:
    """The last HTLC of a batch is not written."""
    honest = NodeState.take_writes

    def take_writes(self):  # type: ignore[no-untyped-def]
        writes = honest(self)
        htlcs = [write for write in writes if write.table == "htlcs"]
        return [write for write in writes if not htlcs or write is not htlcs[-1]]

    patch.setattr(NodeState, "take_writes", take_writes)


def records_swapped(patch: pytest.MonkeyPatch) -> None:
    """Two HTLCs of a batch are written under each other's key."""
    honest = NodeState.take_writes

    def take_writes(self):  # type: ignore[no-untyped-def]
        writes = honest(self)
        places = [at for at, write in enumerate(writes) if isinstance(write, Put) and write.table == "htlcs"]
        if len(places) >= 2:
            one, other = places[:2]
            a, b = writes[one], writes[other]
            writes[one], writes[other] = Put(a.table, a.key, b.value), Put(b.table, b.key, a.value)
        return writes

    patch.setattr(NodeState, "take_writes", take_writes)


def checkpoint_row_dropped(patch: pytest.MonkeyPatch) -> None:
    """A slice of a checkpoint lacks its last row, although the tables are said to reach it."""
    honest = Overlay.next_slice

    def next_slice(self, last):  # type: ignore[no-untyped-def]
        taken, reached = honest(self, last)
        return taken[:-1], reached

    patch.setattr(Overlay, "next_slice", next_slice)


def overspending_accepted(patch: pytest.MonkeyPatch) -> None:
    """A peer's HTLC is not held against its balance, or any other limit."""
    patch.setattr(dance, "check_received", lambda params, proposed, htlc: None)


def failed_before_it_was_gone(patch: pytest.MonkeyPatch) -> None:
    """A failure goes upstream while the HTLC that went on can still be claimed."""
    honest = dance._consequences

    def consequences(moved):  # type: ignore[no-untyped-def]
        early = tuple(
            HtlcRemoved(htlc)
            for htlc in moved
            if htlc.offered and htlc.stage is HtlcStage.REMOVE_ACKED and isinstance(htlc.removal, Failed)
        )
        return honest(moved) + early

    patch.setattr(dance, "_consequences", consequences)


def fulfilled_without_collecting(patch: pytest.MonkeyPatch) -> None:
    """The preimage from downstream waits until the HTLC is gone, and is not told upstream before."""
    honest = dance.on_update_fulfill_htlc
    patch.setattr(dance, "on_update_fulfill_htlc", lambda data, msg: (honest(data, msg)[0], ()))


def events_forgotten_on_restart(patch: pytest.MonkeyPatch) -> None:
    """What the user had not handled before a crash is not offered again."""
    honest = NodeState.__init__

    def init(self, tables):  # type: ignore[no-untyped-def]
        honest(self, {name: rows for name, rows in tables.items() if name != "events"})

    patch.setattr(NodeState, "__init__", init)


def paid_again_on_restart(patch: pytest.MonkeyPatch) -> None:
    """A payment that is under way is begun once more when the node starts."""
    honest = Node.batch_durable

    def batch_durable(self, sequence):  # type: ignore[no-untyped-def]
        honest(self, sequence)
        for payment in list(self.core.state.payments.values()):
            if payment.status is PaymentStatus.PENDING and not getattr(self, "paid_again", False):
                self.paid_again = True
                self._unit(lambda: self.payments._attempt(payment))  # noqa: B023

    patch.setattr(Node, "batch_durable", batch_durable)


def resent_in_the_wrong_order(patch: pytest.MonkeyPatch) -> None:
    """After a reconnection revoke_and_ack and commitment_signed come in the other order than at first."""
    honest = reestablish._resume

    def resume(inner, msg, owe_revocation, owe_commitment, ctx):  # type: ignore[no-untyped-def]
        data = inner.data
        last = not data.commitments.revocation_sent_last
        data = replace(data, commitments=replace(data.commitments, revocation_sent_last=last))
        return honest(replace(inner, data=data), msg, owe_revocation, owe_commitment, ctx)

    patch.setattr(reestablish, "_resume", resume)


def uncommitted_kept(patch: pytest.MonkeyPatch) -> None:
    """Proposals that nobody signed outlive the connection."""
    patch.setattr(Commitments, "without_uncommitted", lambda self: (self, ()))


def stale_monitor(patch: pytest.MonkeyPatch) -> None:
    """The monitor keeps its first holder commitment: a force-close broadcasts one that is revoked."""
    honest = channel_monitor._apply

    def apply(state, step, signer):  # type: ignore[no-untyped-def]
        return (state, ()) if isinstance(step, LatestHolderCommitment) else honest(state, step, signer)

    patch.setattr(channel_monitor, "_apply", apply)


def signatures_unchecked(patch: pytest.MonkeyPatch) -> None:
    """commitment_signed is taken whatever its signatures are."""
    honest = tx_commitment.verify

    def verify(params, commitment, signature, htlc_signatures):  # type: ignore[no-untyped-def]
        try:
            return honest(params, commitment, signature, htlc_signatures)
        except LightningError:
            return tx_commitment.build(params, commitment, True)

    patch.setattr(tx_commitment, "verify", verify)


def preimage_kept_from_monitor(patch: pytest.MonkeyPatch) -> None:
    """Should the channel fail, what was claimed in it cannot be collected on chain."""
    honest = dance.remove_htlc

    def remove_htlc(data, command):  # type: ignore[no-untyped-def]
        after, update = honest(data, command)
        return (after, None) if update is None else (replace(after, monitor_update_id=data.monitor_update_id), None)

    patch.setattr(dance, "remove_htlc", remove_htlc)


def revoked_htlcs_not_stored(patch: pytest.MonkeyPatch) -> None:
    """Of a revoked commitment only the balance could be punished."""
    honest = Core.perform_monitor_actions

    def perform(self, actions):  # type: ignore[no-untyped-def]
        honest(self, [each for each in actions if not isinstance(each, channel_monitor.StoreCommitment)])

    patch.setattr(Core, "perform_monitor_actions", perform)


def forwards_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """A forward is not held against the channel's fee."""
    honest = htlcs.check_forward

    def check_forward(request, config, minimum, height, update):  # type: ignore[no-untyped-def]
        refusal = honest(request, config, minimum, height, update)
        return None if refusal is not None and refusal.reason == "FeeInsufficient" else refusal

    patch.setattr(htlcs, "check_forward", check_forward)


def underpayment_taken(patch: pytest.MonkeyPatch) -> None:
    """What comes is not compared with what the invoice asks for."""
    honest = claimable.verify

    def verify(keys, payment_hash, secret, total, now, metadata):  # type: ignore[no-untyped-def]
        return honest(keys, payment_hash, secret, Msat(1 << 62), now, metadata)

    patch.setattr(claimable, "verify", verify)


def expiry_not_checked(patch: pytest.MonkeyPatch) -> None:
    """A forward may leave us no time to claim what it is for."""
    honest = htlcs.check_forward

    def check_forward(request, config, minimum, height, update):  # type: ignore[no-untyped-def]
        refusal = honest(request, config, minimum, height, update)
        return None if refusal is not None and refusal.reason == "IncorrectCLTVExpiry" else refusal

    patch.setattr(htlcs, "check_forward", check_forward)


def coins_overlooked(patch: pytest.MonkeyPatch) -> None:
    """The wallet does not see some of what it is paid."""
    honest = Ledger._receive

    def receive(self, outpoint, tx, height):  # type: ignore[no-untyped-def]
        if outpoint.txid[0] >= 16:
            honest(self, outpoint, tx, height)

    patch.setattr(Ledger, "_receive", receive)


def closed_for_less(patch: pytest.MonkeyPatch) -> None:
    """Both agree to a close in which the acceptor pays, too."""
    honest = tx_closing.build_closing

    def build_closing(params, holder_script, counterparty_script, holder, counterparty, *rest, **options):  # type: ignore[no-untyped-def]
        if params.holder_is_opener:
            counterparty = max(0, counterparty - 1000)
        else:
            holder = max(0, holder - 1000)
        return honest(params, holder_script, counterparty_script, holder, counterparty, *rest, **options)

    patch.setattr(tx_closing, "build_closing", build_closing)


def closed_at_any_price(patch: pytest.MonkeyPatch) -> None:
    """The opener offers a fee that no estimate asks for."""
    honest = negotiating.fee_limits

    def fee_limits(data, ctx):  # type: ignore[no-untyped-def]
        preferred, least, most = honest(data, ctx)
        if data.params.holder_is_opener and data.commitments.to_holder_msat > 100_000_000:
            return preferred + 50_000, least, most + 50_000
        return preferred, least, most

    patch.setattr(negotiating, "fee_limits", fee_limits)


def ready_too_early(patch: pytest.MonkeyPatch) -> None:
    """The block of the funding is counted twice."""
    honest = Funding.confirmations

    def confirmations(self, tip):  # type: ignore[no-untyped-def]
        return honest(self, tip) + (self.height is not None)

    patch.setattr(Funding, "confirmations", confirmations)


def reorganisation_overlooked(patch: pytest.MonkeyPatch) -> None:
    """A funding that left the chain counts as confirmed where it was."""
    honest = Core._tell

    def tell(self, channel_id, command):  # type: ignore[no-untyped-def]
        if not isinstance(command, FundingUnconfirmed):
            honest(self, channel_id, command)

    patch.setattr(Core, "_tell", tell)


def broadcast_once(patch: pytest.MonkeyPatch) -> None:
    """What a mempool has forgotten is not broadcast again."""
    patch.setattr(Node, "rebroadcast", lambda self: None)


def abandoned_at_once(patch: pytest.MonkeyPatch) -> None:
    """An abandoned payment has failed, although its HTLC can still be claimed."""

    def abandon_payment(self, payment_id):  # type: ignore[no-untyped-def]
        payment = self._core.state.payments.get(payment_id)
        if payment is not None and payment.status is PaymentStatus.PENDING:
            self._fail(payment, "UserAbandoned")

    patch.setattr(Payments, "abandon_payment", abandon_payment)


def proof_ignored(patch: pytest.MonkeyPatch) -> None:
    """A peer that proves that we have lost state is taken for one that is wrong, and our commitment goes out."""

    def they_are_ahead(state, msg, ctx):  # type: ignore[no-untyped-def]
        raise ReestablishMismatch("next_revocation_number", msg.next_revocation_number, "less")

    patch.setattr(reestablish, "_they_are_ahead", they_are_ahead)


MUTATIONS: dict[Mutation, int] = {
    released_before_its_batch: 1,
    preimage_forgotten_on_restart: 3,
    revocation_not_awaited: 1,
    revocation_not_checked: 94,
    record_dropped: 3,
    records_swapped: 1,
    checkpoint_row_dropped: 1,
    overspending_accepted: 2,
    failed_before_it_was_gone: 1,
    fulfilled_without_collecting: 1,
    events_forgotten_on_restart: 4,
    paid_again_on_restart: 2,
    resent_in_the_wrong_order: 3,
    uncommitted_kept: 3,
    stale_monitor: 1,
    signatures_unchecked: 2,
    preimage_kept_from_monitor: 13,
    revoked_htlcs_not_stored: 1,
    forwards_for_nothing: 4,
    underpayment_taken: 4,
    expiry_not_checked: 20,
    coins_overlooked: 1,
    closed_for_less: 18,
    closed_at_any_price: 18,
    ready_too_early: 1,
    reorganisation_overlooked: 126,
    broadcast_once: 4,
    abandoned_at_once: 4,
    proof_ignored: 29,
}
"""Each with a seed that catches it: the first one."""


def outcome_of(seed: int) -> Outcome:
    return Simulator(seed).run(STEPS)


def find(name: str) -> str:
    mutation = next(each for each in MUTATIONS if each.__name__ == name)
    with pytest.MonkeyPatch.context() as patch:
        mutation(patch)
        for seed in range(1, 501):
            found = outcome_of(seed)
            if found.invariant is not None:
                return f"    {name}: {seed},  # {found.line} {found.detail[:120]}"
    return f"    {name}: no seed of 500"


if __name__ == "__main__":
    import multiprocessing
    import sys

    names = sys.argv[1:] or [each.__name__ for each in MUTATIONS]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for line in pool.imap(find, names):
            print(line, flush=True)
