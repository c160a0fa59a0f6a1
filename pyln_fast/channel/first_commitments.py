"""Commitment number 0 of both sides: what a channel begins with (BOLT 2, funding_created and funding_signed)."""

from __future__ import annotations

from pyln_fast.channel.actions import CreateMonitor
from pyln_fast.channel.changes import FeeUpdates
from pyln_fast.channel.commitments import Commitments
from pyln_fast.channel.errors import WrongSignature
from pyln_fast.channel.spec import commitment_spec
from pyln_fast.channel.state import ChannelData, Funding, Opening
from pyln_fast.channel.transition import Context
from pyln_fast.sign.interfaces import EnforcementState
from pyln_fast.tx import commitment as tx_commitment
from pyln_fast.tx.commitment import CommitmentSignatures
from pyln_fast.tx.keys import CommitmentSecrets
from pyln_fast.tx.monitor_update import CounterpartyCommitment, HolderCommitment, NewMonitor
from pyln_fast.tx.parameters import Commitment
from pyln_fast.tx.scripts import funding_script_pubkey
from pyln_fast.types import CommitmentNumber, Msat, OutPoint, PublicKey, Signature, channel_id_v1

FIRST = CommitmentNumber(0)


def _commitments(opening: Opening) -> Commitments:
    params = opening.params
    opener_msat = 1000 * params.channel_value_sat - params.push_msat
    mine, theirs = (opener_msat, params.push_msat) if params.holder_is_opener else (params.push_msat, opener_msat)
    first_point = PublicKey(opening.counterparty_first_point)
    return Commitments(
        Msat(mine),
        Msat(theirs),
        {},
        FeeUpdates.initial(params.holder_is_opener, opening.feerate_per_kw),
        0,
        0,
        FIRST,
        FIRST,
        False,
        False,
        first_point,
        # Known with channel_ready; until then there is nothing to sign with it.
        PublicKey(b""),
        CommitmentSecrets(),
    )


def counterparty_signatures(opening: Opening, outpoint: OutPoint, ctx: Context) -> CommitmentSignatures:
    """Our signature for the counterparty's first commitment."""
    signer = ctx.signers.derive_channel_signer(opening.params.channel_keys_id)
    return signer.sign_counterparty_commitment(
        opening.params.transaction_parameters(outpoint), _counterparty_commitment(opening)
    )


def _counterparty_commitment(opening: Opening) -> Commitment:
    spec = commitment_spec(_commitments(opening), of_holder=False)
    return Commitment(FIRST, PublicKey(opening.counterparty_first_point), spec)


def begin(
    opening: Opening, funding: Funding, signature: Signature, message: str, ctx: Context
) -> tuple[ChannelData, CreateMonitor, CommitmentSignatures]:
    """Verifies the counterparty's signature for our first commitment. Raises WrongSignature."""
    params = opening.params
    tx_params = params.transaction_parameters(funding.outpoint)
    signer = ctx.signers.derive_channel_signer(params.channel_keys_id)
    commitments = _commitments(opening)
    spec = commitment_spec(commitments, of_holder=True)
    commitment = Commitment(FIRST, signer.get_per_commitment_point(FIRST), spec)
    try:
        built = tx_commitment.verify(tx_params, commitment, signature, ())
    except tx_commitment.InvalidCommitmentSignature:
        raise WrongSignature(message) from None
    signer_state = signer.validate_holder_commitment(EnforcementState(), tx_params, commitment, signature, ())
    ours = counterparty_signatures(opening, funding.outpoint, ctx)
    channel_id = channel_id_v1(funding.outpoint)
    data = ChannelData(channel_id, params, opening.config, commitments, funding, signer_state, 0, ctx.unused_alias)
    monitor = NewMonitor(
        channel_id,
        params.counterparty_node_id,
        params.channel_keys_id,
        tx_params,
        funding_script_pubkey(params.holder.pubkeys.funding_pubkey, params.counterparty.pubkeys.funding_pubkey),
        HolderCommitment(commitment, built.txid, signature, ()),
        CounterpartyCommitment(_counterparty_commitment(opening), ours.built.txid),
        params.holder.upfront_shutdown_script,
    )
    return data, CreateMonitor(monitor), ours
