"""The simulator tested: the node is broken on purpose, and a pinned seed must say so."""

from __future__ import annotations

import pytest

from tests.sim.mutations import MUTATIONS, Mutation, outcome_of


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome_of(MUTATIONS[mutation]).invariant is None
    mutation(monkeypatch)
    assert outcome_of(MUTATIONS[mutation]).invariant is not None
