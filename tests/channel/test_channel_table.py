"""Every (state, message) and every (state, command): handled, or refused by name."""

from typing import get_args

import pytest

from pyln_fast.channel import channel
from pyln_fast.channel import commands as c
from pyln_fast.channel.actions import EmitEvent, ForgetChannel, SendMessage
from pyln_fast.channel.channel import HANDLERS, MESSAGES, EarlyMessage, LateReestablish
from pyln_fast.channel.errors import ChannelUnavailable
from pyln_fast.channel.htlc import Failed, OutboundPaymentHtlc
from pyln_fast.channel.state import AnyState, Closing
from pyln_fast.types import BlockHeight, FeeratePerKw, Msat, PaymentHash, PaymentId, Sat, Txid
from pyln_fast.wire import channel_msgs as m
from pyln_fast.wire.layout import Message
from pyln_fast.wire.setup_msgs import Error
from tests.channel.pair import Pair, Side, replace

LIVE = {
    m.UpdateFulfillHtlc, m.UpdateFailHtlc, m.UpdateFailMalformedHtlc, m.UpdateFee, m.CommitmentSigned, m.RevokeAndAck,
    m.ChannelReady, m.Shutdown, Error,
}  # fmt: skip
CHAIN = {c.NewBlock, c.FundingConfirmed, c.FundingUnconfirmed, c.FundingSpentOnChain, c.ForceClose}
HTLC_COMMANDS = {c.RemoveHtlc, c.TakeNoteOfOnion, c.SignCommitment}
UNFUNDED = {c.NewBlock, c.ForceClose, c.PeerDisconnected}
FUNDING = {m.ChannelReady, m.Shutdown, Error} | CHAIN | {c.PeerDisconnected, c.CloseChannel}

HANDLED: dict[str, set[type]] = {
    "WaitForOpenChannel": UNFUNDED | {Error, c.AcceptChannelCommand},
    "WaitForAcceptChannel": UNFUNDED | {Error, m.AcceptChannel},
    "WaitForFundingTransaction": UNFUNDED | {Error, c.FundingTransactionGenerated},
    "WaitForFundingCreated": UNFUNDED | {Error, m.FundingCreated},
    "WaitForFundingSigned": UNFUNDED | {Error, m.FundingSigned},
    "WaitForFundingConfirmed": FUNDING,
    "WaitForChannelReady": FUNDING,
    "Normal": LIVE | CHAIN | HTLC_COMMANDS
    | {m.UpdateAddHtlc, c.PeerDisconnected, c.AddHtlc, c.UpdateFee, c.CloseChannel},
    "ShuttingDown": LIVE | CHAIN | HTLC_COMMANDS | {c.PeerDisconnected},
    "Negotiating": {m.ClosingSigned, m.Shutdown, Error, c.PeerDisconnected, c.AnswerOverdue, c.SignCommitment} | CHAIN,
    "Closing": {m.ChannelReestablish, Error, c.PeerConnected, c.PeerDisconnected, c.ClosingConfirmed}
    | HTLC_COMMANDS | CHAIN,
    "Offline": {c.PeerConnected, c.PeerDisconnected} | HTLC_COMMANDS | CHAIN,
    "Syncing": {m.ChannelReestablish, Error, c.PeerDisconnected, c.AnswerOverdue} | HTLC_COMMANDS | CHAIN,
}  # fmt: skip


def samples() -> dict[str, tuple[Side, AnyState]]:
    """A channel in each state."""
    found: dict[str, tuple[Side, AnyState]] = {}

    def note(side: Side) -> None:
        found[type(side.state).__name__] = (side, side.state)

    pair = Pair()
    note(pair.alice)
    pair.deliver_all(sign=False)
    note(pair.bob)
    pair.bob.execute(c.AcceptChannelCommand(2, pair.bob.keys.generate_channel_keys_id(True, 2)))
    note(pair.bob)
    pair = Pair()
    pair.open_until_created()
    note(pair.alice)
    pair.deliver_all(sign=False)
    note(pair.alice)
    found["WaitForFundingTransaction"] = (pair.alice, waiting_for_funding())
    pair.confirm()
    note(pair.alice)
    pair.deliver_all()
    note(pair.alice)
    pair.add(pair.bob, 1_000_000)
    pair.deliver_all()
    pair.alice.execute(c.CloseChannel())
    pair.deliver_all()
    note(pair.alice)
    pair.fulfil_all(pair.alice)
    pair.deliver_all()
    note(pair.alice)
    # After agreement nothing that the peer says matters any more: before it.
    found["Negotiating"] = (pair.alice, replace(pair.alice.state, agreed=None, agreed_fee_satoshis=None))
    pair = Pair().open()
    pair.disconnect()
    note(pair.alice)
    pair.reconnect()
    note(pair.alice)
    pair.alice.execute(c.ForceClose("enough"))
    note(pair.alice)
    return found


def waiting_for_funding() -> AnyState:
    pair = Pair()
    pair.deliver_all(sign=False)
    pair.bob.execute(c.AcceptChannelCommand(2, pair.bob.keys.generate_channel_keys_id(True, 2)))
    pair.deliver_all(sign=False)
    assert pair.alice.state is not None
    return pair.alice.state


SAMPLES = samples()
ID = bytes(32)
POINT = b"\x02" + bytes(31) + b"\x01"
MESSAGE_SAMPLES: dict[type, Message] = {
    type(message): message
    for message in (
        m.FundingCreated(ID, ID, 0, bytes(64)),
        m.FundingSigned(ID, bytes(64)),
        m.ChannelReady(ID, POINT),
        m.UpdateAddHtlc(ID, 0, Msat(1), ID, 700, bytes(1366)),
        m.UpdateFulfillHtlc(ID, 0, ID),
        m.UpdateFailHtlc(ID, 0, b""),
        m.UpdateFailMalformedHtlc(ID, 0, ID, 0x8000),
        m.UpdateFee(ID, FeeratePerKw(1000)),
        m.CommitmentSigned(ID, bytes(64), ()),
        m.RevokeAndAck(ID, ID, POINT),
        m.Shutdown(ID, b""),
        m.ClosingSigned(ID, Sat(0), bytes(64)),
        m.ChannelReestablish(ID, 1, 0, ID, POINT),
        m.AcceptChannel(ID, 354, 1, 1000, 1, 6, 144, 483, POINT, POINT, POINT, POINT, POINT, POINT),
        Error(ID, b""),
    )
}
PAYMENT_HASH = PaymentHash(bytes(32))
COMMAND_SAMPLES: dict[type, c.Command] = {
    type(command): command
    for command in (
        c.AcceptChannelCommand(2, ID),
        c.FundingTransactionGenerated(b""),
        c.AddHtlc(Msat(1), PAYMENT_HASH, BlockHeight(700), bytes(1366), OutboundPaymentHtlc(PaymentId(ID), 0)),
        c.RemoveHtlc(0, Failed(b"")),
        c.TakeNoteOfOnion({}),
        c.SignCommitment(),
        c.UpdateFee(FeeratePerKw(1000)),
        c.CloseChannel(),
        c.ForceClose("enough"),
        c.PeerConnected(),
        c.PeerDisconnected(),
        c.FundingConfirmed(BlockHeight(1), 1),
        c.FundingUnconfirmed(),
        c.NewBlock(),
        c.FundingSpentOnChain(Txid(ID), True),
        c.ClosingConfirmed(),
        c.AnswerOverdue(),
    )
}


def test_the_samples_are_complete() -> None:
    assert {state.__name__ for state in HANDLERS} == set(SAMPLES) == set(HANDLED)
    assert set(MESSAGE_SAMPLES) == set(MESSAGES)
    assert set(COMMAND_SAMPLES) == set(get_args(c.Command))
    for name, (_, state) in SAMPLES.items():
        assert type(state).__name__ == name


@pytest.mark.parametrize("name", HANDLED)
def test_the_table_is_this(name: str) -> None:
    assert set(HANDLERS[type(SAMPLES[name][1])]) == HANDLED[name]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", HANDLED)
def test_a_message_that_has_no_place(name: str, message: type) -> None:
    if message in HANDLED[name]:
        return
    side, state = SAMPLES[name]
    ignored = name == "Closing" or (name in ("Negotiating", "Syncing") and message is m.ChannelReady)
    if name in ("Offline", "Syncing") and not ignored:
        with pytest.raises(EarlyMessage):
            channel.receive(state, MESSAGE_SAMPLES[message], side.context)
        return
    if message is m.ChannelReestablish and hasattr(state, "data") and not ignored:
        with pytest.raises(LateReestablish):
            channel.receive(state, MESSAGE_SAMPLES[message], side.context)
        return
    transition = channel.receive(state, MESSAGE_SAMPLES[message], side.context)
    if ignored:
        assert transition.state is state
        assert transition.actions == ()
        return
    said = [action.message for action in transition.actions if isinstance(action, SendMessage)]
    assert [type(each) for each in said] == [Error]
    assert said[0].data == f"{message.__name__} has no place in state {name}".encode()
    if hasattr(state, "data"):
        assert isinstance(transition.state, Closing)
    else:
        assert transition.actions[-1] == ForgetChannel()


@pytest.mark.parametrize("command", COMMAND_SAMPLES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", HANDLED)
def test_a_command_that_has_no_place(name: str, command: type) -> None:
    if command in HANDLED[name]:
        return
    side, state = SAMPLES[name]
    with pytest.raises(ChannelUnavailable, match=f"{command.__name__} has no place in state {name}"):
        channel.execute(state, COMMAND_SAMPLES[command], side.context)


@pytest.mark.parametrize("name", [name for name in HANDLED if name.startswith("WaitFor")][:5])
@pytest.mark.parametrize("how", ["disconnect", "error", "force close"])
def test_an_unfunded_channel_is_simply_forgotten(name: str, how: str) -> None:
    side, state = SAMPLES[name]
    if how == "error":
        transition = channel.receive(state, Error(ID, b"no"), side.context)
    else:
        command = c.PeerDisconnected() if how == "disconnect" else c.ForceClose("enough")
        transition = channel.execute(state, command, side.context)
    kinds = [type(action).__name__ for action in transition.actions]
    expected = ["SendMessage"] if how == "force close" else []
    if name == "WaitForFundingSigned":
        expected.append("DiscardFunding")
    if name != "WaitForOpenChannel":
        expected.append("EmitEvent")
    assert kinds == [*expected, "ForgetChannel"]
    assert all(action.event.reason is not None for action in transition.actions if isinstance(action, EmitEvent))
