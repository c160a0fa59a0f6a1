from __future__ import annotations

import pytest

from pyln_fast.chain.scanner import BlockHits, Hit, InvalidBlock, WatchSet, check_merkle_root, scan
from pyln_fast.types import OutPoint, Txid
from tests.oracle.block import Reader, read_tx, sha256d

FUNDING = OutPoint(Txid(b"\x07" * 32), 1)


def tx(outpoints: list[OutPoint], scripts: list[bytes]) -> bytes:
    inputs = b"".join(o.txid + o.vout.to_bytes(4, "little") + bytes(5) for o in outpoints)
    outputs = b"".join(bytes(8) + bytes([len(s)]) + s for s in scripts)
    return bytes(4) + bytes([len(outpoints)]) + inputs + bytes([len(scripts)]) + outputs + bytes(4)


def block(*txs: bytes) -> bytes:
    return bytes(80) + bytes([len(txs)]) + b"".join(txs)


def txid(raw: bytes) -> Txid:
    return Txid(read_tx(Reader(raw)).txid)


COINBASE = tx([OutPoint(Txid(bytes(32)), 0xFFFFFFFF)], [b"\x51"])
COMMITMENT = tx([FUNDING], [b"\x52", b"\x53"])
CLAIM = tx([OutPoint(txid(COMMITMENT), 1)], [b"\x54"])
PAYMENT = tx([OutPoint(Txid(b"\x08" * 32), 0)], [b"\x60", b"\x61", b"\x61"])
SPENDS = tx([OutPoint(txid(PAYMENT), 0), OutPoint(txid(PAYMENT), 2)], [b"\x55"])


def test_claims_of_a_commitment_in_its_own_block() -> None:
    watch_set = WatchSet()
    watch_set.add_outpoint(FUNDING)
    raw = block(COINBASE, COMMITMENT, PAYMENT, CLAIM)
    assert scan(watch_set, raw) == BlockHits(
        sha256d(raw[:80]),
        raw[:80],
        (Hit(1, txid(COMMITMENT), COMMITMENT, (0,), ()), Hit(3, txid(CLAIM), CLAIM, (0,), ())),
    )
    assert len(watch_set) == 1, "what a watched spend creates is the monitor's to watch"
    assert scan(watch_set, block(CLAIM)).hits == ()


def test_what_paid_a_watched_script_stays_watched() -> None:
    watch_set = WatchSet()
    watch_set.add_script(b"\x61")
    both = (Hit(0, txid(PAYMENT), PAYMENT, (), (1, 2)), Hit(1, txid(SPENDS), SPENDS, (1,), ()))
    assert scan(watch_set, block(PAYMENT, SPENDS)).hits == both
    assert scan(watch_set, block(PAYMENT, SPENDS)).hits == both
    assert scan(watch_set, block(SPENDS)).hits == (Hit(0, txid(SPENDS), SPENDS, (1,), ()),)
    assert len(watch_set) == 3
    watch_set.remove_script(b"\x61")
    assert not watch_set.watches_script(b"\x61")
    for vout in (1, 2):
        assert watch_set.watches_outpoint(OutPoint(txid(PAYMENT), vout))
        watch_set.remove_outpoint(OutPoint(txid(PAYMENT), vout))
    assert scan(watch_set, block(PAYMENT, SPENDS)).hits == ()


def test_two_watchers() -> None:
    watch_set = WatchSet()
    watch_set.add_outpoint(FUNDING)
    watch_set.add_outpoint(FUNDING)
    watch_set.remove_outpoint(FUNDING)
    assert watch_set.watches_outpoint(FUNDING)
    watch_set.remove_outpoint(FUNDING)
    watch_set.remove_outpoint(FUNDING)
    assert not watch_set.watches_outpoint(FUNDING)


def test_more_hits_than_fit_at_first() -> None:
    watch_set = WatchSet()
    watch_set.add_script(b"\x70")
    payments = [tx([OutPoint(Txid(bytes([n]) * 32), 0)], [b"\x71", b"\x70"]) for n in range(200)]
    assert scan(watch_set, block(*payments)).hits == tuple(
        Hit(n, txid(raw), raw, (), (1,)) for n, raw in enumerate(payments)
    )


def test_not_a_block() -> None:
    watch_set = WatchSet()
    watch_set.add_script(b"\x61")
    with pytest.raises(InvalidBlock) as caught:
        scan(watch_set, block(PAYMENT, SPENDS)[:-1])
    assert str(caught.value) == f"block: {len(block(PAYMENT, SPENDS)) - 1} bytes that do not parse as one block"
    assert len(watch_set) == 1


def test_merkle_root() -> None:
    raw = bytes(36) + txid(PAYMENT) + bytes(12) + b"\x01" + PAYMENT
    check_merkle_root(raw)
    with pytest.raises(InvalidBlock):
        check_merkle_root(block(PAYMENT))
