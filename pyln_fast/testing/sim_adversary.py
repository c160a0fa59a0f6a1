"""A node that follows no rules, with keys and signatures that are right.

It is a real node, so it gets as deep into the protocol as one, but it forgets the limits that its peers set, changes,
repeats, withholds and invents messages, signs commitments that it must not sign, lies about what it has, holds HTLCs,
and forgets to write. Whatever it does may cost it and its own channels; nobody else.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from pyln_fast.channel import dance
from pyln_fast.channel.actions import SendMessage
from pyln_fast.channel.htlc import Fulfilled, Htlc, HtlcStage
from pyln_fast.channel.params import PartyTerms
from pyln_fast.channel.state import FundedState, Normal, Offline, Syncing
from pyln_fast.channel.transition import Context
from pyln_fast.node.effects import SendToPeer
from pyln_fast.node.node import Node
from pyln_fast.testing import tampering
from pyln_fast.testing.sim_node import SimNode
from pyln_fast.types import BlockHeight, CommitmentNumber, Msat, PaymentHash, PaymentPreimage, Sat, Secret
from pyln_fast.wire.channel_msgs import (
    ChannelReestablish,
    CommitmentSigned,
    RevokeAndAck,
    UpdateFailHtlc,
    UpdateFulfillHtlc,
)
from pyln_fast.wire.codec import AnyMessage, encode
from pyln_fast.wire.layout import Message

if TYPE_CHECKING:
    from pyln_fast.config import UserConfig
    from pyln_fast.testing.simulator import Simulator
    from pyln_fast.types import FeeratePerKw

S = TypeVar("S", bound=FundedState)

REMEMBERED = 60
"""Messages that may be sent again much later."""


class Habits:
    """How often it does what, per message or per occasion."""

    def __init__(self, simulator: Simulator) -> None:
        pick = simulator.stream("habits").choice
        self.twice = pick((0.0, 0.02, 0.02, 1.0))
        self.altered = pick((0.0, 0.005, 0.03))
        self.dropped = pick((0.0, 0.0, 0.01))
        self.replayed = pick((0.0, 0.01))
        self.lies = pick((0.0, 0.3))
        """In channel_reestablish, and a tenth as often in revoke_and_ack."""
        self.loses = pick((0.0, 0.0, 0.3))
        """State, at a start."""
        self.mischief = pick((0.02, 0.1, 0.5))
        self.impatience = pick((0.0, 0.0, 0.02))
        """With channels that carry no HTLCs yet."""
        self.is_greedy = pick((True, True, False))
        """Forgets its peers' limits."""
        self.holds = pick((0.0, 0.3, 1.0))
        """Of the HTLCs that pay it, those that it neither claims nor fails."""


class LawlessNode(Node):
    """A node whose messages pass through the hands of its owner on their way out."""

    def __init__(self, owner: Adversary, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.owner = owner

    def _send(self, effect: SendToPeer) -> None:
        self.owner.say(effect.conn, self.owner.tampered(effect.message))


class Adversary(SimNode):
    """Its habits are its seed's."""

    is_honest = False

    def __init__(
        self, simulator: Simulator, name: str, config: UserConfig, feerate: FeeratePerKw, drift_ppm: int = 0
    ) -> None:
        super().__init__(simulator, name, config, feerate, drift_ppm)
        self.node_type = partial(LawlessNode, self)
        self._world = simulator
        self.habits = Habits(simulator)
        self._backup: tuple[dict[str, dict[bytes, bytes]], int] = ({}, 0)
        self._said: deque[AnyMessage] = deque(maxlen=REMEMBERED)

    def turn(self) -> None:
        """Its own lies may be too much for itself: then it dies and comes back."""
        try:
            if self.habits.is_greedy and not self._world.calm:
                self._forget_limits()
            super().turn()
        except Exception:
            self._world.faults.kill(self, 0, False)

    def start(self, in_key_order: bool = False) -> None:
        """Perhaps from an old copy of its disk: it has lost state, or pretends to."""
        if self._world.random.random() < self.habits.loses:
            self.disk.put_back(*self._backup)
        elif self._world.random.random() < 0.5:
            self._backup = {name: dict(rows) for name, rows in self.disk.tables.items()}, self.disk.sequence
        super().start(in_key_order)

    # --- what it says

    def say(self, conn: int, messages: list[AnyMessage]) -> None:
        for message in messages:
            try:
                encode(message)
            except Exception:
                continue  # not even a liar can say what has no bytes
            self.node.peer_manager.send_message(conn, message)

    def tampered(self, message: AnyMessage) -> list[AnyMessage]:
        """What it says instead of a message."""
        habits, numbers = self.habits, self._world.random
        self._said.append(message)
        if isinstance(message, ChannelReestablish) and numbers.random() < habits.lies:
            return [tampering.altered(message, numbers)]
        if isinstance(message, Message) and numbers.random() < habits.altered / 4:
            return [self._misnamed(message)]
        if isinstance(message, RevokeAndAck) and numbers.random() < habits.lies / 10:
            return [replace(message, per_commitment_secret=Secret(numbers.randbytes(32)))]
        chance = numbers.random()
        if chance < habits.dropped:
            return []
        chance -= habits.dropped
        if chance < habits.altered:
            if isinstance(message, Message) and numbers.random() < 0.2:
                return [tampering.truncated(message, numbers)]
            return [tampering.altered(message, numbers)]
        chance -= habits.altered
        if chance < habits.replayed:
            return [message, numbers.choice(self._said)]
        return [message, message] if numbers.random() < habits.twice else [message]

    def _misnamed(self, message: Message) -> AnyMessage:
        """The same of a channel that may be somebody else's."""
        channels = [each for view in self._world.checkers.views.values() for each in view.durable]
        for name in ("temporary_channel_id", "channel_id"):
            if channels and name in message.__struct_fields__:
                return replace(message, **{name: self._world.random.choice(channels)})
        return message

    def mischief(self) -> str | None:
        """Something that nobody asked for, on one of its connections."""
        numbers = self._world.random
        channels = [
            state
            for state in self.node.core.state.channels.values()
            if state.data.params.counterparty_node_id in self.node.core.peers
            if isinstance(state, Normal) or numbers.random() < self.habits.impatience
        ]
        if not channels or numbers.random() > self.habits.mischief:
            return None
        state = numbers.choice(channels)
        kind = numbers.choice((self._forge, self._flood, self._sign_too_early, self._overspend, self._settle_wrongly))
        try:
            messages = kind(state)
        except Exception:
            return None  # what its own code refuses to build
        self.say(self.node.core.peers[state.data.params.counterparty_node_id].conn, messages)
        self.has_inputs = True
        names = ", ".join(dict.fromkeys(type(message).__name__ for message in messages))
        return f"{self.name} sends {len(messages)} that nobody asked for: {names}"

    def _forge(self, state: FundedState) -> list[AnyMessage]:
        return [tampering.forged(state.data.channel_id, self._world.random)]

    def _flood(self, state: FundedState) -> list[AnyMessage]:
        return tampering.flood(state.data.channel_id, self._world.random)

    def _sign_too_early(self, state: FundedState) -> list[AnyMessage]:
        """The next commitment, although the last one is not revoked."""
        data = state.data
        early = replace(data, commitments=replace(data.commitments, awaiting_revocation=False))
        _, actions = dance.sign(early, self._context(state))
        messages: list[AnyMessage] = [each.message for each in actions if isinstance(each, SendMessage)]
        if not messages:
            message, _ = dance.commitment_signed(early, self._context(state))
            messages = [message]
        return messages

    def _overspend(self, state: FundedState) -> list[AnyMessage]:
        """An HTLC of more than it has, or of what it must keep, with signatures of the commitment that has it."""
        data, numbers = state.data, self._world.random
        commitments = data.commitments
        amount = numbers.choice((1, 1000)) * numbers.choice((0, 1, 1 << 20)) + numbers.choice(
            (commitments.to_holder_msat, commitments.to_counterparty_msat, 1000 * data.params.channel_value_sat)
        )
        htlc = Htlc(
            commitments.next_holder_htlc_id,
            True,
            Msat(amount),
            PaymentHash(numbers.randbytes(32)),
            BlockHeight(self.node.core.height + numbers.choice((0, 10, 100, 500_000_000))),
            bytes(1366),
            HtlcStage.ADD_PROPOSED,
        )
        proposed = replace(commitments.with_htlc(htlc), next_holder_htlc_id=htlc.id + 1, awaiting_revocation=False)
        signed, _ = proposed.advance(by_holder=True, act="signs")
        number = CommitmentNumber(signed.counterparty_number + 1)
        cheat = replace(data, commitments=replace(signed, counterparty_number=number))
        updates = dance.signed_updates(cheat)
        try:
            message, _ = dance.commitment_signed(cheat, self._context(state))
        except Exception:
            # No commitment has room for it: the signature of the one before must do.
            message, _ = dance.commitment_signed(data, self._context(state))
        return [*updates, message]

    def _settle_wrongly(self, state: FundedState) -> list[AnyMessage]:
        """An HTLC is fulfilled or failed that is not there, or not yet, or was already, or with a wrong preimage."""
        numbers, data = self._world.random, state.data
        received = [htlc for htlc in data.commitments.htlcs.values() if not htlc.offered]
        htlc_id = numbers.choice(received).id if received else numbers.randrange(20)
        known = [h.removal.payment_preimage for h in received if isinstance(h.removal, Fulfilled)]
        preimage = numbers.choice(known) if known else PaymentPreimage(numbers.randbytes(32))
        message: AnyMessage = UpdateFulfillHtlc(data.channel_id, htlc_id, preimage)
        if numbers.random() < 0.5:
            message = UpdateFailHtlc(data.channel_id, htlc_id, numbers.randbytes(numbers.choice((0, 10, 292))))
        last = [each for each in self._said if isinstance(each, CommitmentSigned)]
        return [message, *last[-1:]]

    def _context(self, state: FundedState) -> Context:
        return self.node.core.context(state.data.params.counterparty_node_id)

    # --- what it does not want to know

    def _forget_limits(self) -> None:
        """Reserve, in-flight limits and least amounts of its peers: its own code will not stop it, theirs must."""
        channels = self.node.core.state.channels
        for channel_id, state in channels.items():
            terms = state.data.params.counterparty
            lifted = _without_limits(terms, state.data.params.channel_value_sat)
            if terms != lifted:
                channels.set_in_memory(channel_id, _with_terms(state, lifted))
        channels.commit()


def _without_limits(terms: PartyTerms, value_sat: int) -> PartyTerms:
    return replace(
        terms,
        max_htlc_value_in_flight_msat=Msat(1000 * value_sat),
        channel_reserve_sat=Sat(0),
        htlc_minimum_msat=Msat(0),
        max_accepted_htlcs=483,
    )


def _with_terms(state: S, terms: PartyTerms) -> S:
    if isinstance(state, Offline | Syncing):
        return replace(state, inner=_with_terms(state.inner, terms))
    data = replace(state.data, params=replace(state.data.params, counterparty=terms))
    return replace(state, data=data)
