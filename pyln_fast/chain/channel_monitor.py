"""One channel as the chain sees it: what the monitor knows, and what follows from updates and blocks.

Pure functions over `MonitorState`, a durable record whose size does not grow with the channel's history: the data of
every commitment that was signed goes to the store (`StoreCommitment`), and only those that could confirm without
being punished stay here. A monitor learns of the channel by `NewMonitor` and `ChannelMonitorUpdate` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import Enum

import msgspec
from msgspec.structs import replace

from pyln_fast.chain.scanner import Hit
from pyln_fast.config import ANTI_REORG_DELAY
from pyln_fast.errors import LocalError
from pyln_fast.sign.interfaces import EcdsaChannelSigner, EnforcementState, SignerRefused
from pyln_fast.tx.commitment import commitment_number
from pyln_fast.tx.keys import CommitmentSecrets, commitment_index
from pyln_fast.tx.monitor_update import (
    ChannelForceClosed,
    ChannelMonitorUpdate,
    CommitmentSecret,
    CounterpartyCommitment,
    HolderCommitment,
    LatestCounterpartyCommitment,
    LatestHolderCommitment,
    MonitorStep,
    NewMonitor,
    PaymentPreimageKnown,
    ShutdownScript,
)
from pyln_fast.tx.parameters import ChannelTransactionParameters
from pyln_fast.tx.transaction import Transaction, parse, serialize
from pyln_fast.types import (
    BlockHeight,
    ChannelId,
    CommitmentNumber,
    NodeId,
    OutPoint,
    PaymentHash,
    PaymentPreimage,
    Txid,
)


class MonitorRefused(LocalError):
    """The chain decides over this channel from now on: no commitment may follow. The monitor is unchanged."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"the monitor refuses {step}: {why}")
        self.step = step
        self.why = why


class SpendKind(Enum):
    """Which transaction spent the funding."""

    HOLDER = "holder"
    """Our newest commitment."""
    COUNTERPARTY_CURRENT = "counterparty_current"
    COUNTERPARTY_PREVIOUS = "counterparty_previous"
    """Not revoked yet: its successor is signed, its secret not revealed."""
    REVOKED = "revoked"
    """Its number is one whose secret we hold; its HTLCs are in the store, under that number."""
    UNKNOWN_COMMITMENT = "unknown_commitment"
    """A number that we have no data of: newer than all that we know, if we have lost state."""
    COOPERATIVE = "cooperative"
    """Not a commitment, so a closing transaction that we signed."""


class FundingConfirmation(msgspec.Struct, frozen=True, array_like=True):
    height: BlockHeight
    tx_index: int


class FundingSpend(msgspec.Struct, frozen=True, array_like=True):
    """A transaction in the chain that spends the funding."""

    txid: Txid
    height: BlockHeight
    kind: SpendKind
    raw: bytes
    buried: bool = False
    """`SpendIsBuried` was said."""


class MonitorState(msgspec.Struct, frozen=True, array_like=True):
    """All that a monitor knows, and all that punishing and claiming need besides the store and the signer."""

    channel_id: ChannelId
    counterparty_node_id: NodeId
    channel_keys_id: bytes
    parameters: ChannelTransactionParameters
    funding_script: bytes
    """The funding output's script_pubkey."""
    shutdown_script: bytes | None
    holder_commitment: HolderCommitment
    """The newest one. Those before it are revoked, and never signed."""
    counterparty_commitment: CounterpartyCommitment
    previous_counterparty_commitment: CounterpartyCommitment | None = None
    """Until its secret is revealed."""
    counterparty_secrets: CommitmentSecrets = CommitmentSecrets()
    preimages: tuple[tuple[PaymentHash, PaymentPreimage], ...] = ()
    """Of received HTLCs in a commitment above, in the order in which they became known."""
    update_id: int = 0
    force_closed: bool = False
    never_broadcast: bool = False
    """The peer proved that it holds a newer state: our commitment may be revoked. Never taken back."""
    signed_for_broadcast: bool = False
    """The holder commitment may be outside, fully signed. Never taken back."""
    funding_spend_seen: bool = False
    """A reorganisation does not take it back: the transaction exists and can confirm again."""
    funding_confirmation: FundingConfirmation | None = None
    funding_spend: FundingSpend | None = None


# --- what a monitor asks for ------------------------------------------------------------------------------------------


class StoreCommitment(msgspec.Struct, frozen=True):
    """A commitment that we signed is written down for good, before the counterparty can have it."""

    channel_id: ChannelId
    number: CommitmentNumber
    commitment: CounterpartyCommitment


class WatchOutpoint(msgspec.Struct, frozen=True):
    outpoint: OutPoint


class WatchScript(msgspec.Struct, frozen=True):
    script_pubkey: bytes


class FundingIsConfirmed(msgspec.Struct, frozen=True):
    channel_id: ChannelId
    height: BlockHeight
    tx_index: int


class FundingIsUnconfirmed(msgspec.Struct, frozen=True):
    """A reorganisation took the funding out of the chain."""

    channel_id: ChannelId


class FundingIsSpent(msgspec.Struct, frozen=True):
    """Said again if the spend confirms again after a reorganisation."""

    channel_id: ChannelId
    txid: Txid
    is_commitment: bool


class SpendIsBuried(msgspec.Struct, frozen=True):
    """The spend of the funding is ANTI_REORG_DELAY deep. Said again only if a reorganisation made it less deep."""

    channel_id: ChannelId


class PreimageSeen(msgspec.Struct, frozen=True):
    """The counterparty claimed an HTLC that we offered. Said whenever it is seen."""

    channel_id: ChannelId
    payment_hash: PaymentHash
    preimage: PaymentPreimage


class Broadcast(msgspec.Struct, frozen=True):
    raw: bytes
    kind: str
    """The name of a TransactionType."""


MonitorAction = (
    StoreCommitment
    | WatchOutpoint
    | WatchScript
    | FundingIsConfirmed
    | FundingIsUnconfirmed
    | FundingIsSpent
    | SpendIsBuried
    | PreimageSeen
    | Broadcast
)
Result = tuple[MonitorState, tuple[MonitorAction, ...]]


# --- from the channel -------------------------------------------------------------------------------------------------


def new_monitor(new: NewMonitor) -> Result:
    state = MonitorState(
        new.channel_id,
        new.counterparty_node_id,
        new.channel_keys_id,
        new.parameters,
        new.funding_script,
        new.shutdown_script,
        new.holder_commitment,
        new.counterparty_commitment,
    )
    return state, (_store(state, new.counterparty_commitment), *watches(state))


def update_monitor(state: MonitorState, update: ChannelMonitorUpdate, signer: EcdsaChannelSigner) -> Result:
    """All steps, or none: raises MonitorRefused. A gap in the ids is our fault, and an assertion.

    A signer that refuses to sign the holder commitment does not undo the force-close: `transactions_to_broadcast` asks
    it again.
    """
    assert update.channel_id == state.channel_id
    assert update.update_id == state.update_id + 1, (update.update_id, state.update_id)
    actions: list[MonitorAction] = []
    for step in update.steps:
        state, step_actions = _apply(state, step, signer)
        actions += step_actions
    return replace(_without_needless_preimages(state), update_id=update.update_id), tuple(actions)


def _apply(state: MonitorState, step: MonitorStep, signer: EcdsaChannelSigner) -> Result:
    if isinstance(step, LatestHolderCommitment):
        _refuse_if_closed(state, step)
        assert step.holder_commitment.commitment.number == state.holder_commitment.commitment.number + 1
        return replace(state, holder_commitment=step.holder_commitment), ()
    if isinstance(step, LatestCounterpartyCommitment):
        return _latest_counterparty_commitment(state, step)
    if isinstance(step, CommitmentSecret):
        return _commitment_secret(state, step), ()
    if isinstance(step, PaymentPreimageKnown):
        assert hashlib.sha256(step.preimage).digest() == step.payment_hash
        if any(known == step.payment_hash for known, _ in state.preimages):
            return state, ()
        return replace(state, preimages=(*state.preimages, (step.payment_hash, step.preimage))), ()
    if isinstance(step, ChannelForceClosed):
        return _force_close(state, step, signer)
    assert isinstance(step, ShutdownScript)
    return replace(state, shutdown_script=step.script_pubkey), ()


def _refuse_if_closed(state: MonitorState, step: MonitorStep) -> None:
    if state.signed_for_broadcast:
        raise MonitorRefused(type(step).__name__, "the holder commitment was signed for broadcast")
    if state.funding_spend_seen:
        raise MonitorRefused(type(step).__name__, "the funding was spent")
    if state.force_closed:
        raise MonitorRefused(type(step).__name__, "the channel has failed")


def _latest_counterparty_commitment(state: MonitorState, step: LatestCounterpartyCommitment) -> Result:
    _refuse_if_closed(state, step)
    new, current = step.counterparty_commitment, state.counterparty_commitment
    # BOLT 2: no further commitment_signed before the revoke_and_ack for the last one.
    assert state.previous_counterparty_commitment is None
    assert new.commitment.number == current.commitment.number + 1
    state = replace(state, counterparty_commitment=new, previous_counterparty_commitment=current)
    return state, (_store(state, new),)


def _commitment_secret(state: MonitorState, step: CommitmentSecret) -> MonitorState:
    previous = state.previous_counterparty_commitment
    assert previous is not None
    assert previous.commitment.number == step.number
    secrets = state.counterparty_secrets.insert(commitment_index(CommitmentNumber(step.number)), step.secret)
    spend = state.funding_spend
    if spend is not None and spend.txid == previous.txid:
        # Broadcast first, then revoked: it can be punished.
        spend = replace(spend, kind=SpendKind.REVOKED)
    return replace(state, counterparty_secrets=secrets, previous_counterparty_commitment=None, funding_spend=spend)


def _force_close(state: MonitorState, step: ChannelForceClosed, signer: EcdsaChannelSigner) -> Result:
    never = state.never_broadcast or not step.should_broadcast
    state = replace(
        state,
        force_closed=True,
        never_broadcast=never,
        signed_for_broadcast=state.signed_for_broadcast or not never,
    )
    try:
        raws = transactions_to_broadcast(state, signer)
    except SignerRefused:
        raws = ()
    return state, tuple(Broadcast(raw, "UnilateralClose") for raw in raws)


def _without_needless_preimages(state: MonitorState) -> MonitorState:
    if not state.preimages:
        return state
    wanted = set(_hashes(state, offered_by_holder=False))
    kept = tuple(entry for entry in state.preimages if entry[0] in wanted)
    return state if len(kept) == len(state.preimages) else replace(state, preimages=kept)


def _hashes(state: MonitorState, offered_by_holder: bool) -> Iterator[PaymentHash]:
    """Of the HTLCs of one direction in every commitment that can still confirm unpunished."""
    for htlc in state.holder_commitment.commitment.spec.htlcs:
        if htlc.offered == offered_by_holder:
            yield htlc.payment_hash
    for signed in (state.counterparty_commitment, state.previous_counterparty_commitment):
        for htlc in signed.commitment.spec.htlcs if signed is not None else ():
            if htlc.offered != offered_by_holder:
                yield htlc.payment_hash


def _store(state: MonitorState, commitment: CounterpartyCommitment) -> StoreCommitment:
    return StoreCommitment(state.channel_id, CommitmentNumber(commitment.commitment.number), commitment)


# --- from the chain ---------------------------------------------------------------------------------------------------


def transaction_seen(state: MonitorState, hit: Hit, height: BlockHeight) -> Result:
    """A transaction of the block at `height`; what does not concern this channel changes nothing."""
    tx = parse(hit.raw)
    actions: list[MonitorAction] = []
    outpoint = state.parameters.funding_outpoint
    if hit.txid == outpoint.txid and _is_funding(state, tx):
        confirmation = FundingConfirmation(height, hit.tx_index)
        if state.funding_confirmation != confirmation:
            state = replace(state, funding_confirmation=confirmation)
            actions.append(FundingIsConfirmed(state.channel_id, height, hit.tx_index))
    if any(tx_in.outpoint == outpoint for tx_in in tx.inputs):
        state, spend_actions = _funding_spent(state, tx, hit, height)
        actions += spend_actions
    actions += _preimages_seen(state, tx)
    return state, tuple(actions)


def block_disconnected(state: MonitorState, height: BlockHeight) -> Result:
    """The blocks from `height` on are no longer in the chain."""
    actions: tuple[MonitorAction, ...] = ()
    spend, confirmation = state.funding_spend, state.funding_confirmation
    if spend is not None and spend.height >= height:
        state = replace(state, funding_spend=None)
    elif spend is not None and spend.buried and burial_height(spend) >= height:
        state = replace(state, funding_spend=replace(spend, buried=False))
    if confirmation is not None and confirmation.height >= height:
        state = replace(state, funding_confirmation=None)
        actions = (FundingIsUnconfirmed(state.channel_id),)
    return state, actions


def best_block(state: MonitorState, height: BlockHeight) -> Result:
    """The chain ends at `height`, and all its transactions have been seen."""
    spend = state.funding_spend
    if spend is None or spend.buried or height < burial_height(spend):
        return state, ()
    return replace(state, funding_spend=replace(spend, buried=True)), (SpendIsBuried(state.channel_id),)


def burial_height(spend: FundingSpend) -> BlockHeight:
    """The block that makes it ANTI_REORG_DELAY deep: its own is the first confirmation."""
    return BlockHeight(spend.height + ANTI_REORG_DELAY - 1)


def _is_funding(state: MonitorState, tx: Transaction) -> bool:
    """BOLT 2, The channel_ready Message: the output is there, with the agreed script and the agreed amount."""
    vout = state.parameters.funding_outpoint.vout
    if vout >= len(tx.outputs):
        return False
    output = tx.outputs[vout]
    return output.value_sat == state.parameters.channel_value_sat and output.script_pubkey == state.funding_script


def _funding_spent(state: MonitorState, tx: Transaction, hit: Hit, height: BlockHeight) -> Result:
    known = state.funding_spend
    if known is not None and (known.txid, known.height) == (hit.txid, height):
        return state, ()
    spend = FundingSpend(hit.txid, height, _spend_kind(state, tx, hit.txid), hit.raw)
    state = replace(state, funding_spend=spend, funding_spend_seen=True)
    is_commitment = spend.kind is not SpendKind.COOPERATIVE
    return state, (*_spend_watches(spend), FundingIsSpent(state.channel_id, spend.txid, is_commitment))


def _spend_kind(state: MonitorState, tx: Transaction, txid: Txid) -> SpendKind:
    previous = state.previous_counterparty_commitment
    if txid == state.holder_commitment.txid:
        return SpendKind.HOLDER
    if txid == state.counterparty_commitment.txid:
        return SpendKind.COUNTERPARTY_CURRENT
    if previous is not None and txid == previous.txid:
        return SpendKind.COUNTERPARTY_PREVIOUS
    number = commitment_number(state.parameters, tx)
    if number is None:
        return SpendKind.COOPERATIVE
    revealed = commitment_index(number) > state.counterparty_secrets.next_index
    return SpendKind.REVOKED if revealed else SpendKind.UNKNOWN_COMMITMENT


def _preimages_seen(state: MonitorState, tx: Transaction) -> list[MonitorAction]:
    """BOLT 5: whoever claims an HTLC that we offered shows its preimage in the witness of that input."""
    spend = state.funding_spend
    if spend is None:
        return []
    items = [
        item for tx_in in tx.inputs if tx_in.outpoint.txid == spend.txid for item in tx_in.witness if len(item) == 32
    ]
    if not items:
        return []
    offered = set(_hashes(state, offered_by_holder=True))
    seen: dict[PaymentHash, MonitorAction] = {}
    for item in items:
        payment_hash = PaymentHash(hashlib.sha256(item).digest())
        if payment_hash in offered:
            seen[payment_hash] = PreimageSeen(state.channel_id, payment_hash, PaymentPreimage(item))
    return list(seen.values())


# --- derived from the state -------------------------------------------------------------------------------------------


def watches(state: MonitorState) -> tuple[WatchOutpoint | WatchScript, ...]:
    """Everything that has to be watched for this channel. It only ever grows, but for what a reorganisation undid."""
    spend = state.funding_spend
    return (
        WatchScript(state.funding_script),
        WatchOutpoint(state.parameters.funding_outpoint),
        *(_spend_watches(spend) if spend is not None else ()),
    )


def _spend_watches(spend: FundingSpend) -> tuple[WatchOutpoint, ...]:
    """Every output of a commitment: an HTLC's shows a preimage, the others are claimed by us or the counterparty."""
    if spend.kind is SpendKind.COOPERATIVE:
        return ()
    return tuple(WatchOutpoint(OutPoint(spend.txid, vout)) for vout in range(len(parse(spend.raw).outputs)))


def has_transactions_to_broadcast(state: MonitorState) -> bool:
    """A fundee has nothing to spend before the funding is in the chain, and perhaps it never comes."""
    has_funding = state.parameters.holder_is_opener or state.funding_confirmation is not None
    return has_funding and state.force_closed and not state.never_broadcast and state.funding_spend is None


def transactions_to_broadcast(state: MonitorState, signer: EcdsaChannelSigner) -> tuple[bytes, ...]:
    """What we want to confirm and does not yet. Raises SignerRefused."""
    if not has_transactions_to_broadcast(state):
        return ()
    held = state.holder_commitment
    number = held.commitment.number
    # The channel's own record says the same: it revokes a commitment only together with the update to its successor.
    enforcement = EnforcementState(CommitmentNumber(number + 1), CommitmentNumber(number))
    tx = signer.sign_holder_commitment(enforcement, state.parameters, held.commitment, held.signature)
    return (serialize(tx),)
