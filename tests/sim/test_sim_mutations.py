"""The simulator tested: the node is broken on purpose, and a pinned seed must say so.

Each seed was found as the first of 500 that catches its mutation; without the mutation all of them pass.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pyln_fast.channel import dance
from pyln_fast.channel.commands import SignCommitment
from pyln_fast.channel.htlc import HtlcStage
from pyln_fast.node import state as node_state
from pyln_fast.node.core import Core
from pyln_fast.node.journal import Journal
from pyln_fast.testing.simulator import Outcome, Simulator

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


def record_dropped(patch: pytest.MonkeyPatch) -> None:
    """The last HTLC of a batch is not written."""
    honest = node_state.NodeState.take_writes

    def take_writes(self):  # type: ignore[no-untyped-def]
        writes = honest(self)
        htlcs = [write for write in writes if write.table == "htlcs"]
        return [write for write in writes if not htlcs or write is not htlcs[-1]]

    patch.setattr(node_state.NodeState, "take_writes", take_writes)


MUTATIONS: dict[Mutation, int] = {
    released_before_its_batch: 1,
    preimage_forgotten_on_restart: 7,
    revocation_not_awaited: 1,
    record_dropped: 2,
}
"""Each with the seed that catches it."""


def outcome_of(seed: int) -> Outcome:
    return Simulator(seed).run(STEPS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome_of(MUTATIONS[mutation]).invariant is None
    mutation(monkeypatch)
    assert outcome_of(MUTATIONS[mutation]).invariant is not None


if __name__ == "__main__":
    # python -m tests.sim.test_sim_mutations: finds the seeds.
    for each in MUTATIONS:
        with pytest.MonkeyPatch.context() as monkeypatch:
            each(monkeypatch)
            for number in range(1, 501):
                found = outcome_of(number)
                if found.invariant is not None:
                    print(each.__name__, found.line, found.detail[:160], flush=True)
                    break
