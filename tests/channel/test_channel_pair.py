import pytest

from pyln_fast.channel.htlc import HtlcStage
from pyln_fast.channel.state import Normal
from tests.channel.pair import Pair, balances


@pytest.mark.parametrize("anchors", [True, False])
def test_open_pay_and_fulfil(anchors: bool) -> None:
    pair = Pair(anchors).open()
    assert isinstance(pair.alice.state, Normal)
    assert isinstance(pair.bob.state, Normal)
    pair.add(pair.alice, 1_000_000)
    pair.add(pair.bob, 2_000_000)
    pair.deliver_all()
    assert {h.stage for h in pair.alice.state.data.commitments.htlcs.values()} == {HtlcStage.COMMITTED}
    pair.fulfil_all(pair.alice)
    pair.fulfil_all(pair.bob)
    pair.deliver_all()
    assert balances(pair.alice) == (6_001_000_000, 3_999_000_000)
    assert balances(pair.bob) == (3_999_000_000, 6_001_000_000)
    assert pair.alice.state.data.commitments.htlcs == {}
