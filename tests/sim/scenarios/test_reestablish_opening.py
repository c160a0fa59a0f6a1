"""BOLT 2, Message Retransmission: an opening, interrupted at each of its messages.

Before the funder has `funding_signed` durably nothing can be lost, and the channel is forgotten; afterwards both
remember it, and `channel_ready` is sent again until the channel is used. In between lies the one case in which only the
fundee remembers: the funder answers its `channel_reestablish` with an `error`.
"""

from __future__ import annotations

import pytest

from pyln_fast.events import ChannelClosed, ChannelPending, ChannelReady, CounterpartyForceClosed, DisconnectedPeer
from pyln_fast.testing.scenario import Scenario
from pyln_fast.testing.scenario_checkers import CLOSES
from pyln_fast.wire.channel_msgs import FundingSigned
from tests.sim.scenarios.faults import AT_A_MESSAGE, fault_at, resume

OPENING = [
    "alice: open_channel",
    "bob: accept_channel",
    "alice: funding_created",
    "bob: funding_signed",
    "alice: channel_ready",
    "bob: channel_ready",
]
WITH_IT, AFTER_IT, BEFORE, DURING, WRITTEN, SENDER = AT_A_MESSAGE[1], AT_A_MESSAGE[0], *AT_A_MESSAGE[2:]
REESTABLISH = ["alice: channel_reestablish 1 0", "bob: channel_reestablish 1 0"]
READY = ["alice: channel_ready", "bob: channel_ready"]
FUNDS_SAT = 400_000_000
FORGOTTEN: tuple[list[str], tuple[str | None, str | None]] = ([], (None, None))
REFUSED = (["alice: error", "bob: channel_reestablish 1 0"], (None, "Closing"))
REMEMBERED = (sorted(REESTABLISH + READY), ("Normal", "Normal"))

OUTCOMES = {
    (OPENING[0], AFTER_IT): FORGOTTEN,
    (OPENING[1], AFTER_IT): FORGOTTEN,
    (OPENING[1], SENDER): FORGOTTEN,
    (OPENING[2], WITH_IT): FORGOTTEN,
    (OPENING[2], BEFORE): FORGOTTEN,
    (OPENING[2], DURING): FORGOTTEN,
    (OPENING[2], WRITTEN): REFUSED,
    (OPENING[2], AFTER_IT): REFUSED,
    (OPENING[2], SENDER): REFUSED,
    (OPENING[3], WITH_IT): REFUSED,
    (OPENING[3], BEFORE): REFUSED,
    (OPENING[3], DURING): REFUSED,
    (OPENING[3], WRITTEN): REMEMBERED,
    (OPENING[3], AFTER_IT): REMEMBERED,
    (OPENING[3], SENDER): REMEMBERED,
    **{(message, fault): REMEMBERED for message in OPENING[4:] for fault in AT_A_MESSAGE},
}


def test_without_a_fault() -> None:
    sim = Scenario("alice - bob", opened=False)
    talk = sim.listen("alice", "bob")
    sim.node("alice").opens("bob")
    sim.run()
    sim.mine(3)
    assert talk.lines == OPENING
    sim.settle()


@pytest.mark.parametrize(("message", "fault"), OUTCOMES, ids=lambda part: part.replace(": ", " "))
def test_interrupted(message: str, fault: str) -> None:
    sim = Scenario("alice - bob", opened=False, tolerates=CLOSES)
    fault_at(sim, fault, OPENING, OPENING.index(message))
    sim.node("alice").opens("bob")
    sim.run()
    sim.mine(3)
    talk = sim.listen("alice", "bob")
    resume(sim)
    sim.run()
    if (message, fault) == (OPENING[3], WRITTEN):
        # The funding was not broadcast before the crash, so it is now.
        assert sorted(talk.lines) == REESTABLISH
        sim.mine(3)
    lines, states = OUTCOMES[message, fault]
    assert sorted(talk.lines) == lines
    channels = [
        [type(state).__name__ for state in node.node.core.state.channels.values()] for node in sim.nodes.values()
    ]
    assert channels == [[] if state is None else [state] for state in states]
    for node, peer in (("alice", "bob"), ("bob", "alice")):
        check_told(sim, node, sim.node(peer).node_id, states)
    balance = sim.node("alice").node.wallet.balance()
    funded = states == ("Normal", "Normal")
    assert balance.reserved_sat == 0
    assert (balance.available_sat == FUNDS_SAT) is not funded


def check_told(sim: Scenario, name: str, peer: bytes, states: tuple[str | None, str | None]) -> None:
    """Every channel that a user has heard of ends as ChannelReady or ChannelClosed, each once."""
    node = sim.node(name)
    reasons = [event.reason for event in node.told_of(ChannelClosed)]
    ready = [event.counterparty_node_id for event in node.told_of(ChannelReady)]
    if states == ("Normal", "Normal"):
        assert (reasons, ready) == ([], [peer])
        assert len(node.told_of(ChannelPending)) == 1
    elif states[1] == "Closing" and name == "bob":
        assert reasons == [CounterpartyForceClosed("unknown channel in ChannelReestablish")]
        assert ready == []
    else:
        assert ready == []
        # None from the life in which it crashed: what it forgot it had not told of as pending.
        assert reasons in ([], [DisconnectedPeer()])
        assert node.told_of(ChannelPending) == []


def test_the_funder_that_lost_funding_signed_opens_another_channel() -> None:
    sim = Scenario("alice - bob", opened=False, tolerates=CLOSES)
    sim.cut("alice", "bob", sent=FundingSigned)
    sim.node("alice").opens("bob")
    sim.run()
    sim.connect("alice", "bob")
    sim.run()
    sim.node("alice").opens("bob")
    sim.run()
    sim.mine(3)
    (channel,) = sim.find_channels()
    assert channel.state_names == ("Normal", "Normal")
    # Of the first channel nothing is in the chain, and its coins pay for the second.
    assert [type(state).__name__ for state in sim.node("bob").node.core.state.channels.values()] == [
        "Closing",
        "Normal",
    ]
