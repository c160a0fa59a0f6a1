"""Closing transactions (BOLT 2 and 3): legacy `closing_signed` and `option_simple_close`."""

from __future__ import annotations

from pyln_fast.errors import LocalError, RemoteError
from pyln_fast.tx import scripts
from pyln_fast.tx.fees import dust_threshold_sat
from pyln_fast.tx.keys import sign_ecdsa, verify_ecdsa
from pyln_fast.tx.parameters import ChannelTransactionParameters
from pyln_fast.tx.scripts import OP_RETURN
from pyln_fast.tx.transaction import (
    SEQUENCE_FINAL,
    SEQUENCE_RBF,
    Transaction,
    TxInput,
    bip69_output_key,
    sighash_bip143,
    with_witness,
)
from pyln_fast.types import PrivateKey, Sat, Signature, TxOut

_OP_PUSHDATA1 = 0x4C
# Appendix A: 2 for marker and flag, 222 for the witness of a 2-of-2 with signatures of 73 bytes.
_FUNDING_WITNESS_WEIGHT = 224
_WEIGHT_WITHOUT_OUTPUTS = 4 * (4 + 1 + 41 + 1 + 4) + _FUNDING_WITNESS_WEIGHT


class UnaffordableClosingFee(LocalError):
    """The fee is larger than the balance of the party that pays it."""

    def __init__(self, fee_sat: Sat, balance_sat: Sat) -> None:
        super().__init__(f"a closing fee of {fee_sat} sat from a balance of {balance_sat} sat")
        self.fee_sat = fee_sat
        self.balance_sat = balance_sat


class NothingToClose(LocalError):
    """Every output would be below the dust limit."""


class InvalidClosingSignature(RemoteError):
    """The signature fits neither variant of the closing transaction."""


class DustClosingOutput(RemoteError):
    """An output that Bitcoin Core would not relay (BOLT 2, closing_signed): the channel must be closed on chain."""


def is_valid_shutdown_script(script: bytes, anysegwit: bool, simple_close: bool = False) -> bool:
    """The forms that `shutdown` allows; both flags are negotiated features."""
    if script[:1] == bytes((OP_RETURN,)):
        return simple_close and _is_short_op_return(script)
    program = scripts.witness_program(script)
    if program is None:
        return False
    version, data = program
    return len(data) in (20, 32) if version == 0 else anysegwit


def _is_short_op_return(script: bytes) -> bool:
    if len(script) < 3:
        return False
    if 6 <= script[1] <= 75:
        return len(script) == 2 + script[1]
    return script[1] == _OP_PUSHDATA1 and 76 <= script[2] <= 80 and len(script) == 3 + script[2]


def closing_weight(*output_scripts: bytes) -> int:
    """The expected weight, signatures included, of a closing transaction with these outputs."""
    return _WEIGHT_WITHOUT_OUTPUTS + 4 * sum(9 + len(script) for script in output_scripts)


def build_closing(
    params: ChannelTransactionParameters,
    holder_script: bytes,
    counterparty_script: bytes,
    to_holder_sat: Sat,
    to_counterparty_sat: Sat,
    fee_sat: Sat,
    dust_limit_sat: Sat,
    *,
    with_holder: bool = True,
    with_counterparty: bool = True,
) -> Transaction:
    """The legacy closing transaction, unsigned.

    Balances are before the fee, which the opener pays; `dust_limit_sat` is that of the party that signs first. Raises
    UnaffordableClosingFee, NothingToClose.
    """
    payer_sat = to_holder_sat if params.holder_is_opener else to_counterparty_sat
    if fee_sat > payer_sat:
        raise UnaffordableClosingFee(fee_sat, payer_sat)
    if params.holder_is_opener:
        to_holder_sat = Sat(to_holder_sat - fee_sat)
    else:
        to_counterparty_sat = Sat(to_counterparty_sat - fee_sat)
    outputs = []
    if with_holder and to_holder_sat >= dust_limit_sat:
        outputs.append(TxOut(to_holder_sat, holder_script))
    if with_counterparty and to_counterparty_sat >= dust_limit_sat:
        outputs.append(TxOut(to_counterparty_sat, counterparty_script))
    return _closing(params, outputs, SEQUENCE_FINAL, 0)


def build_simple_closing(
    params: ChannelTransactionParameters,
    closer: TxOut | None,
    closee: TxOut | None,
    fee_sat: Sat,
    lock_time: int,
) -> Transaction:
    """The transaction of `closing_complete`, unsigned; an output that is left out is None.

    Values are whole balances before the fee, which the closer pays. Raises UnaffordableClosingFee, NothingToClose.
    """
    outputs = []
    if closer is not None:
        if fee_sat > closer.value_sat:
            raise UnaffordableClosingFee(fee_sat, closer.value_sat)
        outputs.append(_burned_if_op_return(TxOut(Sat(closer.value_sat - fee_sat), closer.script_pubkey)))
    if closee is not None:
        outputs.append(_burned_if_op_return(closee))
    return _closing(params, outputs, SEQUENCE_RBF, lock_time)


def sign_closing(params: ChannelTransactionParameters, tx: Transaction, funding_key: PrivateKey) -> Signature:
    return sign_ecdsa(funding_key, closing_sighash(params, tx))


def closing_sighash(params: ChannelTransactionParameters, tx: Transaction) -> bytes:
    holder, counterparty = params.holder.pubkeys, params.counterparty.pubkeys
    script = scripts.funding_script(holder.funding_pubkey, counterparty.funding_pubkey)
    return sighash_bip143(tx, 0, script, params.channel_value_sat)


def verify_closing(
    params: ChannelTransactionParameters,
    holder_script: bytes,
    counterparty_script: bytes,
    to_holder_sat: Sat,
    to_counterparty_sat: Sat,
    fee_sat: Sat,
    signature: Signature,
) -> Transaction:
    """The variant (BOLT 3) that the counterparty signed, unsigned.

    The counterparty trims by its own dust limit and may leave its own output out. Raises InvalidClosingSignature,
    DustClosingOutput, UnaffordableClosingFee.
    """
    for with_counterparty in (True, False):
        try:
            tx = build_closing(
                params,
                holder_script,
                counterparty_script,
                to_holder_sat,
                to_counterparty_sat,
                fee_sat,
                params.counterparty.dust_limit_sat,
                with_counterparty=with_counterparty,
            )
        except NothingToClose:
            continue
        if is_valid_closing_signature(params, tx, signature):
            if any(output.value_sat < dust_threshold_sat(output.script_pubkey) for output in tx.outputs):
                raise DustClosingOutput
            return tx
    raise InvalidClosingSignature


def is_valid_closing_signature(
    params: ChannelTransactionParameters, tx: Transaction, counterparty_signature: Signature
) -> bool:
    funding_pubkey = params.counterparty.pubkeys.funding_pubkey
    return verify_ecdsa(counterparty_signature, closing_sighash(params, tx), funding_pubkey)


def complete_closing(
    params: ChannelTransactionParameters,
    tx: Transaction,
    holder_signature: Signature,
    counterparty_signature: Signature,
) -> Transaction:
    """The transaction with its witness: what may be broadcast."""
    witness = scripts.multisig_witness(
        params.holder.pubkeys.funding_pubkey,
        holder_signature,
        params.counterparty.pubkeys.funding_pubkey,
        counterparty_signature,
    )
    return with_witness(tx, 0, witness)


def _closing(params: ChannelTransactionParameters, outputs: list[TxOut], sequence: int, lock_time: int) -> Transaction:
    if not outputs:
        raise NothingToClose
    return Transaction(
        2,
        (TxInput(params.funding_outpoint, b"", sequence),),
        tuple(sorted(outputs, key=bip69_output_key)),
        lock_time,
    )


def _burned_if_op_return(output: TxOut) -> TxOut:
    return TxOut(Sat(0), output.script_pubkey) if output.script_pubkey[:1] == bytes((OP_RETURN,)) else output
