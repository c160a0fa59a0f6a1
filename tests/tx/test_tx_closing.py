from __future__ import annotations

import hashlib

import pytest

from pyln_fast.tx import closing, scripts
from pyln_fast.tx.closing import (
    DustClosingOutput,
    InvalidClosingSignature,
    NothingToClose,
    UnaffordableClosingFee,
    is_valid_shutdown_script,
)
from pyln_fast.tx.parameters import ChannelTransactionParameters, CommitmentSpec
from pyln_fast.tx.transaction import Transaction, TxInput, parse, serialize, weight
from pyln_fast.types import TxOut
from tests.oracle import commitment as oracle
from tests.oracle import tx as oracle_tx
from tests.tx.bolt3 import mirrored
from tests.tx.channels import make

OURS = b"\x00\x14" + b"\x01" * 20
THEIRS = b"\x00\x20" + b"\x02" * 32


def channel(holder_is_opener: bool = True, dust_limits_sat: tuple[int, int] = (354, 546)):  # type: ignore[no-untyped-def]
    spec = CommitmentSpec(253, 600_000_000, 400_000_000, ())
    return make("closing", spec, holder_is_opener=holder_is_opener, dust_limits_sat=dust_limits_sat)


def expected(params: ChannelTransactionParameters, *outputs: TxOut) -> Transaction:
    return Transaction(2, (TxInput(params.funding_outpoint, b"", 0xFFFFFFFF),), outputs, 0)


@pytest.mark.parametrize("holder_is_opener", [True, False])
def test_the_opener_pays(holder_is_opener: bool) -> None:
    params = channel(holder_is_opener).params
    tx = closing.build_closing(params, OURS, THEIRS, 600_000, 400_000, 1000, 354)
    ours, theirs = (599_000, 400_000) if holder_is_opener else (600_000, 399_000)
    assert tx == expected(params, TxOut(theirs, THEIRS), TxOut(ours, OURS))


def test_equal_amounts_are_sorted_by_script() -> None:
    params = channel().params
    tx = closing.build_closing(params, THEIRS, OURS, 501_000, 500_000, 1000, 354)
    assert tx == expected(params, TxOut(500_000, OURS), TxOut(500_000, THEIRS))


@pytest.mark.parametrize(("excess_sat", "kept"), [(-1, False), (0, True), (1, True)])
def test_the_dust_limit(excess_sat: int, kept: bool) -> None:
    params = channel().params
    tx = closing.build_closing(params, OURS, THEIRS, 354 + 1000 + excess_sat, 900_000, 1000, 354)
    assert (OURS in [output.script_pubkey for output in tx.outputs]) == kept
    tx = closing.build_closing(params, OURS, THEIRS, 900_000, 354 + excess_sat, 1000, 354)
    assert (THEIRS in [output.script_pubkey for output in tx.outputs]) == kept


def test_what_cannot_be_built() -> None:
    params = channel().params
    with pytest.raises(UnaffordableClosingFee) as caught:
        closing.build_closing(params, OURS, THEIRS, 999, 400_000, 1000, 354)
    assert (caught.value.fee_sat, caught.value.balance_sat) == (1000, 999)
    with pytest.raises(NothingToClose):
        closing.build_closing(params, OURS, THEIRS, 1353, 353, 1000, 354)


def test_sign_and_verify() -> None:
    """Both sign the same transaction, the signature is the oracle's, and the witness is BOLT 3's."""
    ch = channel()
    theirs = mirrored(ch.params)
    tx = closing.build_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1000, 354)
    assert closing.build_closing(theirs, THEIRS, OURS, 400_000, 600_000, 1000, 546) == tx
    signature = closing.sign_closing(ch.params, tx, ch.holder.funding)
    their_signature = closing.sign_closing(theirs, tx, ch.counterparty.funding)

    funding = oracle_tx.funding_script(
        ch.params.holder.pubkeys.funding_pubkey, ch.params.counterparty.pubkeys.funding_pubkey
    )
    outpoint = ch.params.funding_outpoint
    slow = oracle_tx.Tx(
        (oracle_tx.In(outpoint.txid, outpoint.vout, 0xFFFFFFFF),),
        tuple(oracle_tx.Out(output.value_sat, output.script_pubkey) for output in tx.outputs),
        0,
    )
    message = oracle_tx.sighash(slow, 0, funding, 1_000_000, oracle_tx.ALL)
    assert signature == oracle.sign(ch.holder.funding, message)
    assert closing.verify_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1000, their_signature) == tx
    assert closing.verify_closing(theirs, THEIRS, OURS, 400_000, 600_000, 1000, signature) == tx

    signed = closing.complete_closing(ch.params, tx, signature, their_signature)
    assert signed == closing.complete_closing(theirs, tx, their_signature, signature)
    assert parse(serialize(signed)) == signed
    first, second = signed.inputs[0].witness[1:3]
    in_order = ch.params.holder.pubkeys.funding_pubkey < ch.params.counterparty.pubkeys.funding_pubkey
    ours = scripts.der_signature(signature)
    assert (first if in_order else second) == ours
    assert signed.inputs[0].witness[3] == funding


def test_the_counterparty_may_leave_its_own_output_out() -> None:
    ch = channel()
    theirs = mirrored(ch.params)
    tx = closing.build_closing(theirs, THEIRS, OURS, 400_000, 600_000, 1000, 546, with_holder=False)
    signature = closing.sign_closing(theirs, tx, ch.counterparty.funding)
    found = closing.verify_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1000, signature)
    assert found == expected(ch.params, TxOut(599_000, OURS))


def test_the_counterparty_may_not_leave_out_ours() -> None:
    ch = channel()
    theirs = mirrored(ch.params)
    tx = closing.build_closing(theirs, THEIRS, OURS, 400_000, 600_000, 1000, 546, with_counterparty=False)
    signature = closing.sign_closing(theirs, tx, ch.counterparty.funding)
    with pytest.raises(InvalidClosingSignature):
        closing.verify_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1000, signature)


def test_the_counterparty_trims_by_its_own_dust_limit() -> None:
    ch = channel(dust_limits_sat=(354, 546))
    theirs = mirrored(ch.params)
    tx = closing.build_closing(theirs, THEIRS, OURS, 400_000, 1500, 1000, 546)
    signature = closing.sign_closing(theirs, tx, ch.counterparty.funding)
    found = closing.verify_closing(ch.params, OURS, THEIRS, 1500, 400_000, 1000, signature)
    assert found == expected(ch.params, TxOut(400_000, THEIRS))


def test_another_fee_or_another_signature() -> None:
    ch = channel()
    tx = closing.build_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1000, 354)
    signature = closing.sign_closing(ch.params, tx, ch.counterparty.funding)
    with pytest.raises(InvalidClosingSignature):
        closing.verify_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1001, signature)
    for at in (0, 31, 32, 63):
        wrong = bytearray(signature)
        wrong[at] ^= 1
        with pytest.raises(InvalidClosingSignature):
            closing.verify_closing(ch.params, OURS, THEIRS, 600_000, 400_000, 1000, bytes(wrong))


def test_an_output_that_no_node_relays() -> None:
    """546 is the least for P2PKH, which an old node may ask for; the dust limits of the channel are lower."""
    ch = channel(dust_limits_sat=(354, 354))
    legacy = b"\x76\xa9\x14" + bytes(20) + b"\x88\xac"
    tx = closing.build_closing(ch.params, OURS, legacy, 600_000, 545, 1000, 354)
    signature = closing.sign_closing(ch.params, tx, ch.counterparty.funding)
    with pytest.raises(DustClosingOutput):
        closing.verify_closing(ch.params, OURS, legacy, 600_000, 545, 1000, signature)


def test_simple_closing() -> None:
    params = channel().params
    burn = b"\x6a\x06" + bytes(6)
    tx = closing.build_simple_closing(params, TxOut(600_000, OURS), TxOut(400_000, THEIRS), 1000, 800_000)
    tx_in = TxInput(params.funding_outpoint, b"", 0xFFFFFFFD)
    assert tx == Transaction(2, (tx_in,), (TxOut(400_000, THEIRS), TxOut(599_000, OURS)), 800_000)
    tx = closing.build_simple_closing(params, TxOut(600_000, burn), TxOut(400_000, THEIRS), 1000, 0)
    assert tx.outputs == (TxOut(0, burn), TxOut(400_000, THEIRS))
    tx = closing.build_simple_closing(params, None, TxOut(400_000, THEIRS), 1000, 0)
    assert tx.outputs == (TxOut(400_000, THEIRS),)
    with pytest.raises(NothingToClose):
        closing.build_simple_closing(params, None, None, 0, 0)
    with pytest.raises(UnaffordableClosingFee):
        closing.build_simple_closing(params, TxOut(999, OURS), None, 1000, 0)


@pytest.mark.parametrize("outputs", [(OURS,), (OURS, THEIRS), (THEIRS, THEIRS), (b"\x51\x20" + bytes(32),)])
def test_closing_weight(outputs: tuple[bytes, ...]) -> None:
    params = channel().params
    keys = params.holder.pubkeys.funding_pubkey, params.counterparty.pubkeys.funding_pubkey
    witness = (b"", bytes(73), bytes(73), scripts.funding_script(*keys))
    tx = Transaction(
        2,
        (TxInput(params.funding_outpoint, b"", 0, witness),),
        tuple(TxOut(1, script) for script in outputs),
    )
    assert closing.closing_weight(*outputs) == weight(tx)


HASH20, HASH32 = hashlib.sha1(b"").digest(), hashlib.sha256(b"").digest()


@pytest.mark.parametrize(
    ("script", "plain", "anysegwit", "simple_close"),
    [
        (b"\x00\x14" + HASH20, True, True, True),
        (b"\x00\x20" + HASH32, True, True, True),
        (b"\x00\x13" + HASH20[:19], False, False, False),
        (b"\x00\x20" + HASH32[:31], False, False, False),
        (b"\x00\x14" + HASH20 + b"\x00", False, False, False),
        (b"\x51\x20" + HASH32, False, True, False),
        (b"\x51\x02\x4e\x73", False, True, False),
        (b"\x60\x28" + bytes(40), False, True, False),
        (b"\x51\x29" + bytes(41), False, False, False),
        (b"\x51\x01\x00", False, False, False),
        (b"\x61\x20" + HASH32, False, False, False),
        (b"\x50\x20" + HASH32, False, False, False),
        (b"\x51\x20" + HASH32[:31], False, False, False),
        (b"\x51\x4c\x20" + HASH32, False, False, False),
        (b"\x76\xa9\x14" + HASH20 + b"\x88\xac", False, False, False),
        (b"\xa9\x14" + HASH20 + b"\x87", False, False, False),
        (b"", False, False, False),
        (b"\x6a", False, False, False),
        (b"\x6a\x05" + bytes(5), False, False, False),
        (b"\x6a\x06" + bytes(6), False, False, True),
        (b"\x6a\x4b" + bytes(75), False, False, True),
        (b"\x6a\x4b" + bytes(74), False, False, False),
        (b"\x6a\x4b" + bytes(76), False, False, False),
        (b"\x6a\x4c\x4b" + bytes(75), False, False, False),
        (b"\x6a\x4c\x4c" + bytes(76), False, False, True),
        (b"\x6a\x4c\x50" + bytes(80), False, False, True),
        (b"\x6a\x4c\x50" + bytes(79), False, False, False),
        (b"\x6a\x4c\x51" + bytes(81), False, False, False),
        (b"\x6a\x4c", False, False, False),
    ],
)
def test_shutdown_scripts(script: bytes, plain: bool, anysegwit: bool, simple_close: bool) -> None:
    """BOLT 2, Closing Initiation."""
    assert is_valid_shutdown_script(script, anysegwit=False) == plain
    assert is_valid_shutdown_script(script, anysegwit=True) == (plain or anysegwit)
    assert is_valid_shutdown_script(script, anysegwit=False, simple_close=True) == (plain or simple_close)
