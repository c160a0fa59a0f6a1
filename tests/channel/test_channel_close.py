import pytest

from pyln_fast.channel.actions import (
    HtlcNotSent,
)
from pyln_fast.channel.commands import CloseChannel, SignCommitment, UpdateFee
from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.channel.state import Negotiating
from pyln_fast.types import FeeratePerKw
from tests.channel.pair import Pair, balances


def agreed(pair: Pair) -> None:
    for side in (pair.alice, pair.bob):
        assert isinstance(side.state, Negotiating)
        assert side.state.agreed is not None


def test_no_feerate_after_our_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(CloseChannel())
    with pytest.raises(ChannelUnavailable):
        pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.deliver_all()
    agreed(pair)


def test_a_queued_feerate_dies_with_our_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.alice.execute(CloseChannel())
    pair.alice.execute(SignCommitment())
    assert [type(message).__name__ for message in pair.alice.sent()] == ["Shutdown"]
    pair.deliver_all()
    agreed(pair)


def test_a_queued_feerate_dies_with_the_counterpartys_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.bob.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)


def test_a_queued_addition_dies_with_our_shutdown() -> None:
    pair = Pair().open()
    pair.add(pair.alice, 1_000_000)
    pair.alice.execute(CloseChannel())
    assert [action.reason for action in pair.alice.of(HtlcNotSent)] == ["ChannelClosed"]
    with pytest.raises(ChannelUnavailable):
        pair.add(pair.alice, 1_000_000)
    pair.deliver_all()
    agreed(pair)
    assert balances(pair.alice) == (6_000_000_000, 4_000_000_000)


def test_the_counterpartys_feerate_survives_our_shutdown() -> None:
    pair = Pair().open()
    pair.alice.execute(UpdateFee(FeeratePerKw(2000)))
    pair.alice.execute(SignCommitment())
    pair.deliver_one(pair.alice)
    pair.bob.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
    assert pair.bob.state.data.commitments.fees.feerate(of_holder=True) == 2000


# --- before channel_ready ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["alice", "bob"])
def test_closed_before_the_funding_confirms(closer: str) -> None:
    pair = Pair()
    pair.open_until_funded()
    side = pair.alice if closer == "alice" else pair.bob
    side.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
    pair.confirm()
    assert pair.alice.sent() == pair.bob.sent() == []


@pytest.mark.parametrize("closer", ["alice", "bob"])
def test_closed_before_one_channel_ready(closer: str) -> None:
    pair = Pair()
    pair.open_until_confirmed()
    side = pair.alice if closer == "alice" else pair.bob
    pair.deliver_one(side)
    side.execute(CloseChannel())
    pair.deliver_all()
    agreed(pair)
