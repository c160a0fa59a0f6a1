"""Both sides of a channel against two lists of updates.

The model sees nothing but the messages. An update that one side sends is in the other's commitment from its next
`commitment_signed` on, and in its own once the other has signed after it acknowledged it by `revoke_and_ack` (BOLT 2,
Normal Operation). So the commitment that a signature is for holds all that the signer has sent, and of what it has
received as much as the newest commitment that it accepted. What the two sides tell their monitors must be that.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyln_fast.channel.actions import HtlcCommitted, HtlcNotSent, HtlcRemoved, UpdateMonitor
from pyln_fast.channel.commands import PeerConnected, PeerDisconnected, RemoveHtlc, SignCommitment, UpdateFee
from pyln_fast.channel.errors import ChannelUnavailable, HtlcRefused
from pyln_fast.channel.htlc import Failed, FailedMalformed, Fulfilled, Htlc, Removal
from pyln_fast.channel.state import Closing, Normal
from pyln_fast.tx.monitor_update import LatestCounterpartyCommitment, LatestHolderCommitment
from pyln_fast.tx.parameters import Commitment
from pyln_fast.types import FeeratePerKw
from pyln_fast.wire import channel_msgs as msgs
from pyln_fast.wire.layout import Message
from tests.channel.pair import FEERATES, Pair, balances

VALUE_SAT, PUSH_MSAT = 1_000_000, 400_000_000
FIRST = {"alice": 1000 * VALUE_SAT - PUSH_MSAT, "bob": PUSH_MSAT}
OTHER = {"alice": "bob", "bob": "alice"}
REMOVALS = (msgs.UpdateFulfillHtlc, msgs.UpdateFailHtlc, msgs.UpdateFailMalformedHtlc)
UPDATES = (msgs.UpdateAddHtlc, msgs.UpdateFee, *REMOVALS)
NAMES = st.sampled_from(["alice", "bob"])
AMOUNTS_MSAT = st.sampled_from([1, 353_999, 354_000, 1_100_000, 20_000_000, 150_000_000])

Contents = tuple[int, dict[str, int], frozenset[tuple[str, int, int, bytes, int]]]
"""Feerate, balances, and the HTLCs: offerer, id, amount, hash, expiry."""


class Model:
    """What both have said. A commitment is its owner's; the other one signs it."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Message]] = {"alice": [], "bob": []}
        """Every update that one has signed for, in order."""
        self.unsigned: dict[str, list[Message]] = {"alice": [], "bob": []}
        """On the wire behind the last `commitment_signed`."""
        self.covered: dict[str, list[tuple[int, int]]] = {"alice": [(0, 0)], "bob": [(0, 0)]}
        """Of each commitment of the owner: how many updates of the signer and of the owner are in it."""
        self.accepted = {"alice": 0, "bob": 0}
        """The number of the newest commitment that its owner has accepted."""

    def says(self, name: str, message: Message) -> None:
        if isinstance(message, UPDATES):
            self.unsigned[name].append(message)
        elif isinstance(message, msgs.CommitmentSigned):
            self._signs(name)

    def _signs(self, name: str) -> None:
        owner = OTHER[name]
        commitments = self.covered[owner]
        updates, self.unsigned[name] = self.unsigned[name], []
        if self.accepted[owner] < len(commitments) - 1:
            # BOLT 2, Message Retransmission: the same updates and the same signature again.
            before, (now, _) = commitments[-2][0], commitments[-1]
            assert updates == self.sent[name][before:now]
            return
        self.sent[name] += updates
        acknowledged = self.covered[name][self.accepted[name]][0]
        commitments.append((len(self.sent[name]), acknowledged))

    def hears(self, name: str, message: Message) -> None:
        """The owner of a commitment has accepted it, or the channel would have failed."""
        if isinstance(message, msgs.CommitmentSigned):
            self.accepted[name] = min(self.accepted[name] + 1, len(self.covered[name]) - 1)

    def loses_the_link(self) -> None:
        for unsigned in self.unsigned.values():
            unsigned.clear()

    def contents(self, owner: str, number: int) -> Contents:
        of_signer, of_owner = self.covered[owner][number]
        included = {OTHER[owner]: self.sent[OTHER[owner]][:of_signer], owner: self.sent[owner][:of_owner]}
        feerate, paid = int(FEERATES.non_anchor_channel_fee), dict(FIRST)
        htlcs: dict[tuple[str, int], msgs.UpdateAddHtlc] = {}
        for name, updates in included.items():
            for update in updates:
                if isinstance(update, msgs.UpdateAddHtlc):
                    htlcs[name, update.id] = update
                    paid[name] -= update.amount_msat
                elif isinstance(update, msgs.UpdateFee):
                    feerate = update.feerate_per_kw
        for name, updates in included.items():
            for update in updates:
                if isinstance(update, REMOVALS):
                    gone = htlcs.pop((OTHER[name], update.id))
                    winner = name if isinstance(update, msgs.UpdateFulfillHtlc) else OTHER[name]
                    paid[winner] += gone.amount_msat
        held = ((name, id, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry) for (name, id), htlc in htlcs.items())
        return feerate, paid, frozenset(held)


def contents_of(owner: str, commitment: Commitment) -> Contents:
    spec = commitment.spec
    paid = {owner: int(spec.to_broadcaster_msat), OTHER[owner]: int(spec.to_countersignatory_msat)}
    htlcs = (
        (owner if htlc.offered else OTHER[owner], htlc.htlc_id, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry)
        for htlc in spec.htlcs
    )
    return int(spec.feerate_per_kw), paid, frozenset(htlcs)


class ChannelMachine(RuleBasedStateMachine):
    @initialize(anchors=st.booleans(), htlcs=st.sampled_from([2, 483]))
    def open(self, anchors: bool, htlcs: int) -> None:
        self.pair = Pair(anchors, VALUE_SAT, PUSH_MSAT, our_max_accepted_htlcs=htlcs).open()
        self.sides = {"alice": self.pair.alice, "bob": self.pair.bob}
        self.model = Model()
        self.offered: dict[bytes, tuple[str, int]] = {}
        self.waiting: dict[str, dict[int, Htlc]] = {"alice": {}, "bob": {}}
        self.answers: dict[bytes, Removal] = {}
        self.ended: dict[bytes, Removal | None] = {}
        self.txids: dict[tuple[str, int], bytes] = {}
        self.seen = {"alice": 0, "bob": 0}
        for side in self.sides.values():
            side.actions.clear()

    # --- what the two do

    @precondition(lambda self: self.pair.alice.connected)
    @rule(name=NAMES, amount_msat=AMOUNTS_MSAT, data=st.data())
    def cross(self, name: str, amount_msat: int, data: st.DataObject) -> None:
        """One adds an HTLC and the other answers one, and both sign before they hear of each other."""
        self.add(name, amount_msat)
        self.sign(name)
        if self.waiting[OTHER[name]]:
            self.answer(data, "fulfil", OTHER[name])
            self.sign(OTHER[name])

    @rule(name=NAMES, amount_msat=AMOUNTS_MSAT)
    def add(self, name: str, amount_msat: int) -> None:
        with suppress(HtlcRefused, ChannelUnavailable):
            self.offered[self.pair.add(self.sides[name], amount_msat)] = (name, amount_msat)
        self.observe()

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data(), outcome=st.sampled_from(["fulfil", "fail", "malformed"]))
    def answer(self, data: st.DataObject, outcome: str, only: str = "") -> None:
        names = [(name, id) for name, htlcs in self.waiting.items() for id in htlcs if only in ("", name)]
        name, htlc_id = data.draw(st.sampled_from(names))
        htlc = self.waiting[name].pop(htlc_id)
        removal: Removal = Failed(bytes(292))
        if outcome == "fulfil":
            removal = Fulfilled(self.pair.preimages[htlc.payment_hash])
        elif outcome == "malformed":
            removal = FailedMalformed(bytes(32), 0x8005)
        self.answers[htlc.payment_hash] = removal
        self.sides[name].execute(RemoveHtlc(htlc_id, removal))
        self.observe()

    @rule(feerate=st.sampled_from([253, 1000, 2500]))
    def fee(self, feerate: int) -> None:
        with suppress(ChannelUnavailable):
            self.sides["alice"].execute(UpdateFee(FeeratePerKw(feerate)))
        self.observe()

    @precondition(lambda self: self.pair.alice.connected)
    @rule(name=NAMES)
    def sign(self, name: str) -> None:
        self.sides[name].execute(SignCommitment())
        self.observe()

    @precondition(lambda self: any(side.outbox for side in self.sides.values()))
    @rule(name=NAMES, count=st.integers(1, 6))
    def deliver(self, name: str, count: int) -> None:
        for _ in range(count):
            self.deliver_one(name)

    def deliver_one(self, name: str) -> None:
        message = self.pair.deliver_one(self.sides[name])
        if message is None:
            return
        self.seen[name] -= 1
        self.model.hears(OTHER[name], message)
        self.observe()

    @precondition(lambda self: self.pair.alice.connected)
    @rule(crashes=st.sampled_from(["", "alice", "bob", "both"]), comes_back=st.booleans())
    def lose_the_link(self, crashes: str, comes_back: bool) -> None:
        for name, side in self.sides.items():
            side.outbox.clear()
            self.seen[name] = 0
            side.connected = False
            if crashes in (name, "both"):
                side.crash()
            else:
                side.execute(PeerDisconnected())
        self.model.loses_the_link()
        self.observe()
        if comes_back:
            self.connect()

    @precondition(lambda self: not self.pair.alice.connected)
    @rule()
    def connect(self) -> None:
        for side in self.sides.values():
            side.connected = True
            side.execute(PeerConnected())
        self.observe()

    @precondition(lambda self: self.pair.alice.connected)
    @rule()
    def come_to_rest(self) -> None:
        """Everything is delivered and signed: the two agree on all that there is."""
        moved = True
        while moved:
            moved = False
            for name, side in self.sides.items():
                while side.outbox:
                    self.deliver_one(name)
                    moved = True
                if isinstance(side.state, Normal):
                    before = len(side.outbox)
                    side.execute(SignCommitment())
                    self.observe()
                    moved |= len(side.outbox) > before
        alice, bob = (self.sides[name].state for name in ("alice", "bob"))
        assert isinstance(alice, Normal)
        assert isinstance(bob, Normal)
        last = {name: self.model.contents(name, len(self.model.covered[name]) - 1) for name in self.sides}
        assert last["alice"] == last["bob"]
        settled = {(offered, htlc_id) for offered, htlc_id in alice.data.commitments.htlcs}
        assert settled == {(not offered, htlc_id) for offered, htlc_id in bob.data.commitments.htlcs}
        assert {(name == "alice", htlc_id) for name, htlc_id, *_ in last["alice"][2]} == settled

    # --- what follows

    def observe(self) -> None:
        """Messages and monitor updates since the last time: the model speaks first, then it is compared."""
        for name, side in self.sides.items():
            for message in side.sent()[self.seen[name] :]:
                self.model.says(name, message)
            self.seen[name] = len(side.outbox)
        for name, side in self.sides.items():
            actions, side.actions = side.actions, []
            for action in actions:
                if isinstance(action, UpdateMonitor):
                    for step in action.update.steps:
                        self.compare(name, step)
                elif isinstance(action, HtlcCommitted):
                    assert action.htlc.payment_hash not in self.answers
                    self.waiting[name][action.htlc.id] = action.htlc
                elif isinstance(action, HtlcNotSent):
                    self.ends(action.htlc, None)
                elif isinstance(action, HtlcRemoved) and action.htlc.offered:
                    assert action.htlc.removal == self.answers[action.htlc.payment_hash]
                    self.ends(action.htlc, action.htlc.removal)

    def compare(self, name: str, step: msgspec.Struct) -> None:
        if isinstance(step, LatestCounterpartyCommitment):
            owner, commitment, txid = (
                OTHER[name],
                step.counterparty_commitment.commitment,
                step.counterparty_commitment.txid,
            )
        elif isinstance(step, LatestHolderCommitment):
            owner, commitment, txid = name, step.holder_commitment.commitment, step.holder_commitment.txid
        else:
            return
        assert contents_of(owner, commitment) == self.model.contents(owner, commitment.number)
        assert self.txids.setdefault((owner, commitment.number), txid) == txid

    def ends(self, htlc: Htlc, removal: Removal | None) -> None:
        """Each HTLC ends once, and one that was never sent has never been answered."""
        assert htlc.payment_hash not in self.ended
        assert removal is not None or htlc.payment_hash not in self.answers
        self.ended[htlc.payment_hash] = removal

    @invariant()
    def nobody_fails_the_channel(self) -> None:
        if not hasattr(self, "sides"):
            return
        for side in self.sides.values():
            assert not isinstance(side.state, Closing)
            assert sum(balances(side)) == 1000 * VALUE_SAT

    def teardown(self) -> None:
        """Every HTLC is answered, and the money is where the answers say."""
        if not hasattr(self, "sides"):
            return
        if not self.pair.alice.connected:
            self.connect()
        for _ in range(4):
            self.come_to_rest()
            for name, htlcs in self.waiting.items():
                for htlc_id, htlc in htlcs.items():
                    self.answers[htlc.payment_hash] = Failed(hashlib.sha256(htlc.payment_hash).digest())
                    self.sides[name].execute(RemoveHtlc(htlc_id, self.answers[htlc.payment_hash]))
                htlcs.clear()
            self.observe()
        assert self.ended.keys() == self.offered.keys()
        paid = dict(FIRST)
        for payment_hash, (offerer, amount_msat) in self.offered.items():
            if isinstance(self.ended[payment_hash], Fulfilled):
                paid[offerer] -= amount_msat
                paid[OTHER[offerer]] += amount_msat
        assert balances(self.sides["alice"]) == (paid["alice"], paid["bob"])
        assert balances(self.sides["bob"]) == (paid["bob"], paid["alice"])


TestChannel = ChannelMachine.TestCase
TestChannel.settings = settings(max_examples=60, stateful_step_count=50, derandomize=True, deadline=None, database=None)
