"""Opener: the user owes us the funding transaction."""

from __future__ import annotations

from pyln_fast.channel.actions import SendMessage
from pyln_fast.channel.commands import ForceClose, FundingTransactionGenerated, NewBlock, PeerDisconnected
from pyln_fast.channel.errors import APIMisuse
from pyln_fast.channel.first_commitments import counterparty_signatures
from pyln_fast.channel.state import AnyState, Funding, WaitForFundingSigned, WaitForFundingTransaction
from pyln_fast.channel.states.common import do_force_close, on_error, stay
from pyln_fast.channel.states.wait_for_open_channel import do_nothing, do_peer_disconnected
from pyln_fast.channel.transition import Context, Handlers, Transition
from pyln_fast.errors import DecodeError
from pyln_fast.tx.transaction import parse, txid
from pyln_fast.types import OutPoint
from pyln_fast.wire.channel_msgs import FundingCreated
from pyln_fast.wire.setup_msgs import Error

MAX_FUNDING_OUTPUT_INDEX = 0xFFFF
"""`funding_output_index` has two bytes (BOLT 2)."""


def do_funding_transaction_generated(
    state: WaitForFundingTransaction, command: FundingTransactionGenerated, ctx: Context
) -> Transition[AnyState]:
    """Nothing is broadcast before the counterparty has signed our commitment. Raises APIMisuse."""
    opening = state.opening
    try:
        funding_tx = parse(command.raw)
    except DecodeError as error:
        raise APIMisuse(f"the funding transaction cannot be read: {error.why}") from None
    if not command.manual_broadcast and any(not tx_in.witness for tx_in in funding_tx.inputs):
        raise APIMisuse("an input of the funding transaction has no witness: its txid could still change")
    value = opening.params.channel_value_sat
    found = [
        index
        for index, output in enumerate(funding_tx.outputs)
        if output.script_pubkey == state.funding_script and output.value_sat == value
    ]
    if len(found) != 1:
        raise APIMisuse(f"{len(found)} outputs of the funding transaction pay {value} sat to the funding script, not 1")
    if found[0] > MAX_FUNDING_OUTPUT_INDEX:
        raise APIMisuse(f"the funding output has index {found[0]}: must be at most {MAX_FUNDING_OUTPUT_INDEX}")
    outpoint = OutPoint(txid(funding_tx), found[0])
    raw = None if command.manual_broadcast else command.raw
    funding = Funding(outpoint, ctx.block_height, raw)
    signed = counterparty_signatures(opening, outpoint, ctx)
    message = FundingCreated(opening.temporary_channel_id, outpoint.txid, outpoint.vout, signed.signature)
    return stay(WaitForFundingSigned(opening, funding, command.manual_broadcast), SendMessage(message))


HANDLERS: Handlers = {
    FundingTransactionGenerated: do_funding_transaction_generated,
    ForceClose: do_force_close,
    PeerDisconnected: do_peer_disconnected,
    NewBlock: do_nothing,
    Error: on_error,
}
