"""A channel of Alice's and Bob's as Alice's monitor sees it: real keys, real signatures, commitments of any number."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from pyln_fast.chain.channel_monitor import MonitorAction, MonitorState, new_monitor, update_monitor
from pyln_fast.chain.scanner import Hit
from pyln_fast.sign.in_memory_signer import InMemorySigner
from pyln_fast.sign.interfaces import EnforcementState
from pyln_fast.sign.keys_manager import KeysManager
from pyln_fast.tx.closing import build_closing, complete_closing
from pyln_fast.tx.htlc import describe, htlc_witness, unsigned_input, unsigned_output
from pyln_fast.tx.monitor_update import (
    ChannelMonitorUpdate,
    CommitmentSecret,
    CounterpartyCommitment,
    HolderCommitment,
    LatestCounterpartyCommitment,
    LatestHolderCommitment,
    MonitorStep,
    NewMonitor,
)
from pyln_fast.tx.parameters import (
    ChannelParty,
    ChannelTransactionParameters,
    Commitment,
    CommitmentHtlc,
    CommitmentSpec,
)
from pyln_fast.tx.scripts import funding_script_pubkey, p2wpkh
from pyln_fast.tx.transaction import Transaction, TxInput, serialize, txid, with_witness
from pyln_fast.types import OutPoint, PaymentHash, PaymentPreimage, Secret, TxOut, channel_id_v1

VALUE_SAT = 1_000_000
HALF_MSAT = VALUE_SAT * 1000 // 2


def preimage(name: str) -> PaymentPreimage:
    return PaymentPreimage(hashlib.sha256(name.encode()).digest())


def payment_hash(name: str) -> PaymentHash:
    return PaymentHash(hashlib.sha256(preimage(name)).digest())


def signer(name: str) -> InMemorySigner:
    return KeysManager(Secret(hashlib.sha256(name.encode()).digest()), 0, 0).derive_channel_signer(bytes(32))


def hit(tx: Transaction, tx_index: int = 1) -> Hit:
    return Hit(tx_index, txid(tx), serialize(tx), tuple(range(len(tx.inputs))), ())


class Monitored:
    """`offered` are the HTLCs that Alice offered, `received` those that Bob offered: names of preimages."""

    def __init__(self, name: str = "", offered: tuple[str, ...] = ("a",), received: tuple[str, ...] = ("b",)) -> None:
        self.alice, self.bob = signer(name + "alice"), signer(name + "bob")
        self.offered, self.received = offered, received
        keys = self.alice.pubkeys.funding_pubkey, self.bob.pubkeys.funding_pubkey
        self.funding_script = funding_script_pubkey(*keys)
        self.fund(Transaction(2, (TxInput(OutPoint(bytes([9]) * 32, 0)),), (TxOut(5, b"\x51"), self.output)), 1)

    @property
    def output(self) -> TxOut:
        return TxOut(VALUE_SAT, self.funding_script)

    def fund(self, tx: Transaction, vout: int) -> None:
        self.funding_tx = tx
        self.outpoint = OutPoint(txid(tx), vout)
        self.channel_id = channel_id_v1(self.outpoint)

    def params(self, of_alice: bool) -> ChannelTransactionParameters:
        parties = [ChannelParty(who.pubkeys, 354, 144) for who in (self.alice, self.bob)]
        holder, counterparty = parties if of_alice else reversed(parties)
        return ChannelTransactionParameters(
            self.outpoint, VALUE_SAT, holder, counterparty, holder_is_opener=of_alice, anchors=True
        )

    def commitment(self, number: int, of_alice: bool) -> Commitment:
        """Each number has other balances."""
        broadcaster = self.alice if of_alice else self.bob
        names = [(name, True) for name in self.offered] + [(name, False) for name in self.received]
        htlcs = tuple(
            CommitmentHtlc(i, by_alice == of_alice, 1_000_000 * (10 + i), payment_hash(name), 700 + i)
            for i, (name, by_alice) in enumerate(names)
        )
        in_htlcs = {
            by_alice: sum(h.amount_msat for h, n in zip(htlcs, names) if n[1] == by_alice) for by_alice in (True, False)
        }
        to_alice = HALF_MSAT - in_htlcs[True] - number % 1000 * 1000
        to_bob = HALF_MSAT - in_htlcs[False] + number % 1000 * 1000
        balances = (to_alice, to_bob) if of_alice else (to_bob, to_alice)
        return Commitment(number, broadcaster.get_per_commitment_point(number), CommitmentSpec(1000, *balances, htlcs))

    def holder_commitment(self, number: int) -> HolderCommitment:
        commitment = self.commitment(number, True)
        made = self.bob.sign_counterparty_commitment(self.params(False), commitment)
        return HolderCommitment(commitment, made.built.txid, made.signature, made.htlc_signatures)

    def counterparty_commitment(self, number: int) -> CounterpartyCommitment:
        commitment = self.commitment(number, False)
        made = self.alice.sign_counterparty_commitment(self.params(True), commitment)
        return CounterpartyCommitment(commitment, made.built.txid)

    def secret(self, number: int) -> Secret:
        """Bob's."""
        return self.bob.release_commitment_secret(EnforcementState(number + 2, number), number)[1]

    # --- transactions

    def holder_tx(self, number: int) -> Transaction:
        held = self.holder_commitment(number)
        enforcement = EnforcementState(number + 1, number)
        return self.alice.sign_holder_commitment(enforcement, self.params(True), held.commitment, held.signature)

    def counterparty_tx(self, number: int) -> Transaction:
        commitment = self.commitment(number, False)
        made = self.alice.sign_counterparty_commitment(self.params(True), commitment)
        enforcement = EnforcementState(number + 1, number)
        return self.bob.sign_holder_commitment(enforcement, self.params(False), commitment, made.signature)

    def closing_tx(self) -> Transaction:
        scripts = p2wpkh(self.alice.pubkeys.payment_point), p2wpkh(self.bob.pubkeys.payment_point)
        tx = build_closing(self.params(True), *scripts, 600_000, 400_000, 500, 354)
        signatures = [
            who.sign_closing_transaction(self.params(of_alice), tx)
            for who, of_alice in ((self.alice, True), (self.bob, False))
        ]
        return complete_closing(self.params(True), tx, *signatures)

    def htlc_success_tx(self, number: int, *names: str) -> Transaction:
        """Bob claims HTLCs that Alice offered from his commitment, in one transaction. Signatures of no use."""
        commitment = self.commitment(number, False)
        built = self.alice.sign_counterparty_commitment(self.params(True), commitment).built
        descriptors = {d.htlc.payment_hash: d for d in describe(self.params(True), commitment, built, False)}
        wanted = [descriptors[payment_hash(name)] for name in names]
        tx = Transaction(2, tuple(map(unsigned_input, wanted)), tuple(map(unsigned_output, wanted)))
        for index, name in enumerate(names):
            signature = b"\x01" * 64
            tx = with_witness(tx, index, htlc_witness(wanted[index], signature, signature, preimage(name)))
        return tx

    # --- the monitor

    def new(self) -> NewMonitor:
        return NewMonitor(
            self.channel_id,
            b"\x02" * 33,
            bytes(32),
            self.params(True),
            self.funding_script,
            self.holder_commitment(0),
            self.counterparty_commitment(0),
            None,
        )

    def state(self, number: int = 0) -> MonitorState:
        """After `number` rounds of the dance, in which both sides signed and revoked."""
        state, _ = new_monitor(self.new())
        for _ in range(number):
            state = self.advance(state)
        return state

    def update(self, state: MonitorState, *steps: MonitorStep) -> tuple[MonitorState, tuple[MonitorAction, ...]]:
        return update_monitor(state, ChannelMonitorUpdate(self.channel_id, state.update_id + 1, steps), self.alice)

    def advance(self, state: MonitorState) -> MonitorState:
        number = state.counterparty_commitment.commitment.number
        for step in (
            LatestCounterpartyCommitment(self.counterparty_commitment(number + 1)),
            CommitmentSecret(number, self.secret(number)),
            LatestHolderCommitment(self.holder_commitment(number + 1)),
        ):
            state, _ = self.update(state, step)
        return state


@lru_cache
def monitored() -> Monitored:
    return Monitored()
