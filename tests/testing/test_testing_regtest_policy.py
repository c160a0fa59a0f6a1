"""Every rule for a transaction by itself: one that passes, and one that does not, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pyln_fast.errors import DecodeError
from pyln_fast.testing.regtest import Policy, RegtestNode, Rejected
from pyln_fast.testing.regtest.policy import dust_threshold_sat
from pyln_fast.tx.scripts import p2wsh
from pyln_fast.tx.transaction import SEQUENCE_FINAL, Transaction, serialize
from pyln_fast.types import OutPoint, Txid
from tests.regtest_bench import COIN_SAT, P2A, P2WPKH, P2WSH_TRUE, TRUE, Bench, Spend, output, p2sh, transaction, vsize

MULTISIG_1_OF_3 = b"\x51" + 3 * (b"\x21" + b"\x02" + bytes(32)) + b"\x53\xae"
MULTISIG_1_OF_4 = b"\x51" + 4 * (b"\x21" + b"\x02" + bytes(32)) + b"\x54\xae"
P2PKH = b"\x76\xa9\x14" + bytes(20) + b"\x88\xac"
BURN = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
FEE = 20_000


@pytest.fixture
def bench() -> Iterator[Bench]:
    with RegtestNode(seed=bytes(32), premine=110) as node:
        yield Bench(node)


def pays(script: bytes, sat: int = 5_000, **changes: object) -> Callable[[OutPoint], Transaction]:
    return lambda coin: transaction([Spend(coin)], [(sat, script), (70_000, P2WSH_TRUE)], **changes)  # type: ignore[arg-type]


def with_witness(*items: bytes) -> Callable[[OutPoint], Transaction]:
    return lambda coin: transaction([Spend(coin, items)], [(COIN_SAT - FEE, P2WSH_TRUE)])


Maker = Callable[[OutPoint], Transaction]
STANDARD: list[tuple[str, Maker, Maker]] = [
    ("version", pays(P2WPKH, version=1), pays(P2WPKH, version=0)),
    ("version", pays(P2WPKH, version=2), pays(P2WPKH, version=4)),
    ("scriptpubkey", pays(P2WPKH), pays(b"\x51\x51\x51")),
    ("scriptpubkey", pays(MULTISIG_1_OF_3), pays(MULTISIG_1_OF_4)),
    ("scriptpubkey", pays(b"\x6a" + b"\x4c\x50" + bytes(80), 0), pays(b"\x6a" + b"\x4c\x51" + bytes(81), 0)),
    ("scriptpubkey", pays(b"\x6a\x01\x00", 0), pays(b"\x6a\x76", 0)),
    ("scriptpubkey", pays(b"\x00\x20" + bytes(32)), pays(b"\x00\x10" + bytes(16))),
    (
        "multi-op-return",
        lambda coin: transaction([Spend(coin)], [(0, b"\x6a"), (70_000, P2WSH_TRUE)]),
        lambda coin: transaction([Spend(coin)], [(0, b"\x6a"), (0, b"\x6a"), (70_000, P2WSH_TRUE)]),
    ),
    ("dust", pays(P2WPKH, 294), pays(P2WPKH, 293)),
    ("dust", pays(P2WSH_TRUE, 330), pays(P2WSH_TRUE, 329)),
    (
        "dust",
        pays(P2PKH, 546),
        pays(P2PKH, 545),
    ),
    ("dust", pays(p2sh(b""), 540), pays(p2sh(b""), 539)),
    ("dust", pays(P2A, 240), pays(P2A, 239)),
    (
        "tx-size-small",
        lambda coin: transaction([Spend(coin)], [(0, b"\x6a\x03abc")]),
        lambda coin: transaction([Spend(coin)], [(0, b"\x6a\x02ab")]),
    ),
]


@pytest.mark.parametrize(("reason", "good", "bad"), STANDARD)
def test_a_transaction_must_look_standard(bench: Bench, reason: str, good: Maker, bad: Maker) -> None:
    first, second = bench.coins([P2WSH_TRUE, P2WSH_TRUE])
    bench.accept(good(first))
    bench.refuse(bad(second), reason)
    bench.mine_mempool()


def test_what_every_output_must_hold_to_be_no_dust() -> None:
    scripts = {P2WPKH: 294, P2WSH_TRUE: 330, p2sh(b""): 540, b"\x51\x20" + bytes(32): 330, P2A: 240, b"\x6a": 0}
    assert {script: dust_threshold_sat(script, Policy()) for script in scripts} == scripts


def test_weight_is_limited(bench: Bench) -> None:
    first, second = bench.coins([P2WSH_TRUE, P2WSH_TRUE], 2_000_000)

    def heavy(coin: OutPoint, outputs: int, more: bytes) -> Transaction:
        many = [(400, P2WPKH) for _ in range(outputs)]
        return transaction([Spend(coin)], [*many, (400, P2WSH_TRUE), (0, b"\x6a" + bytes([len(more)]) + more)])

    full = heavy(first, 3222, b"0123456789")
    assert 4 * len(serialize(full)) > 400_000 - 200
    size = next(n for n in range(75) if 4 * vsize(heavy(first, 3222, bytes(n))) > 400_000)
    bench.refuse(heavy(second, 3222, bytes(size)), "tx-size")
    bench.accept(heavy(first, 3222, bytes(size - 1)))
    bench.mine_mempool()


def test_script_sigs_are_short_and_only_push(bench: Bench) -> None:
    script = drops(4)
    coins = bench.coins([p2sh(script)] * 3)

    def spend(coin: OutPoint, script_sig: bytes) -> Transaction:
        return transaction([Spend(coin, (), script_sig)], [(COIN_SAT - FEE, P2WSH_TRUE)])

    junk = 3 * (b"\x4d\x08\x02" + bytes(520))
    redeem = bytes([len(script)]) + script
    at_the_limit = junk + bytes([74]) + bytes(74) + redeem
    assert len(at_the_limit) == 1_650
    bench.accept(spend(coins[0], at_the_limit))
    bench.refuse(spend(coins[1], junk + bytes([75]) + bytes(75) + redeem), "scriptsig-size")
    bench.refuse(spend(coins[2], b"\x61" + redeem), "scriptsig-not-pushonly")
    bench.mine_mempool()


def test_spent_scripts_must_be_standard(bench: Bench) -> None:
    sixteen_operations = 16 * b"\xac"
    fifteen = b"\x51\x63\x51\x67" + 15 * b"\xac" + b"\x68"
    sixteen = b"\x51\x63\x51\x67" + sixteen_operations + b"\x68"
    coins = bench.coins([TRUE, b"\x52\x20" + bytes(32), p2sh(fifteen), p2sh(sixteen)])

    def spend(index: int, script_sig: bytes = b"") -> Transaction:
        return transaction([Spend(coins[index], (), script_sig)], [(COIN_SAT - FEE, P2WSH_TRUE)])

    bench.refuse(spend(0), "bad-txns-nonstandard-inputs")
    bench.refuse(spend(1), "bad-txns-nonstandard-inputs")
    bench.accept(spend(2, bytes([len(fifteen)]) + fifteen))
    bench.refuse(spend(3, bytes([len(sixteen)]) + sixteen), "bad-txns-nonstandard-inputs")
    bench.mine_mempool()


def drops(count: int) -> bytes:
    return count * b"\x75" + TRUE


def padded(size: int) -> bytes:
    script = b""
    while size - len(script) > 524:
        script += b"\x4d\x00\x02" + bytes(512) + b"\x75"
    rest = size - len(script) - 5
    return script + b"\x4d" + rest.to_bytes(2, "little") + bytes(rest) + b"\x75" + TRUE


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ((bytes(80), drops(1)), (bytes(81), drops(1))),
        ((*(b"a" for _ in range(100)), drops(100)), (*(b"a" for _ in range(101)), drops(101))),
        ((padded(3600),), (padded(3601),)),
    ],
)
def test_witnesses_of_scripts_have_limits(bench: Bench, good: tuple[bytes, ...], bad: tuple[bytes, ...]) -> None:
    first, second = bench.coins([p2wsh(good[-1]), p2wsh(bad[-1])])
    bench.accept(with_witness(*good)(first))
    bench.refuse(with_witness(*bad)(second), "bad-witness-nonstandard")
    bench.mine_mempool()
    bench.node.mine_transactions(BURN, [serialize(with_witness(*bad)(second))])


def test_an_anchor_takes_no_witness(bench: Bench) -> None:
    first, second = bench.coins([P2A, P2A])
    bench.refuse(with_witness(b"\x01")(first), "bad-witness-nonstandard")
    bench.accept(with_witness()(second))
    bench.mine_mempool()


def test_the_outputs_of_no_block(bench: Bench) -> None:
    coin = bench.coin()
    good = bench.pay(coin)
    raw = serialize(good)
    amount = (COIN_SAT - 1_000).to_bytes(8, "little")
    for changed, reason in (
        ((21_000_000 * 10**8 + 1).to_bytes(8, "little"), "bad-txns-vout-toolarge"),
        (b"\xff" * 8, "bad-txns-vout-negative"),
    ):
        with pytest.raises(Rejected) as refused:
            bench.node.broadcast(raw.replace(amount, changed))
        assert refused.value.reason == reason
    none = raw[: 4 + 2 + 1 + 41] + b"\x00" + raw[-7:]
    with pytest.raises(Rejected) as refused:
        bench.node.broadcast(none)
    assert refused.value.reason == "bad-txns-vout-empty"
    for broken in (raw[:-1], raw + b"\x00", b"", raw[:4] + b"\x00\x02" + raw[6:]):
        with pytest.raises(DecodeError):
            bench.node.broadcast(broken)
    half = 21_000_000 * 10**8 // 2 + 1
    bench.refuse(transaction([Spend(coin)], [(half, P2WPKH)] * 2), "bad-txns-txouttotal-toolarge")
    bench.accept(good)


def test_inputs_are_spent_once_and_are_no_coinbase(bench: Bench) -> None:
    coin = bench.coin()
    bench.refuse(transaction([Spend(coin), Spend(coin)], [(50_000, P2WSH_TRUE)]), "bad-txns-inputs-duplicate")
    null = OutPoint(Txid(bytes(32)), 0xFFFFFFFF)
    bench.refuse(transaction([Spend(coin), Spend(null, ())], [(50_000, P2WSH_TRUE)]), "bad-txns-prevout-null")
    bench.refuse(transaction([Spend(null, (), b"\x01")], [(50_000, P2WSH_TRUE)]), "bad-cb-length")
    bench.refuse(transaction([Spend(null, (), b"\x01\x01")], [(50_000, P2WSH_TRUE)]), "coinbase")


def test_inputs_exist(bench: Bench) -> None:
    coin = bench.coin()
    paid = bench.accept(bench.pay(coin))
    bench.refuse(bench.pay(OutPoint(Txid(b"\x11" * 32), 0)), "bad-txns-inputs-missingorspent")
    bench.refuse(bench.pay(OutPoint(coin.txid, 7)), "bad-txns-inputs-missingorspent")
    bench.refuse(paid, "txn-already-in-mempool")
    twin = transaction([Spend(coin, (b"", TRUE))], [(COIN_SAT - 1_000, P2WSH_TRUE)])
    bench.refuse(twin, "txn-same-nonwitness-data-in-mempool")
    bench.mine_mempool()
    bench.refuse(paid, "txn-already-known")
    bench.refuse(bench.pay(coin, 2_000), "bad-txns-inputs-missingorspent")


def test_inputs_cover_outputs(bench: Bench) -> None:
    coin = bench.coin()
    refused = bench.refuse(bench.pay(coin, -1), "bad-txns-in-belowout")
    assert refused.details == "value in (0.00100000) < value out (0.00100001)"


def test_coinbases_mature(bench: Bench) -> None:
    node = bench.node
    address = "bcrt1qft5p2uhsdcdc3l2ua4ap5qqfg4pjaqlp250x7us7a8qqhrxrxfsqseac85"
    assert node.mine(1, address)
    coinbase = OutPoint(node.chain.tip.txids[0], 0)
    spend = transaction([Spend(coinbase)], [(10_000_000, P2WSH_TRUE)])
    node.mine(98)
    refused = bench.refuse(spend, "bad-txns-premature-spend-of-coinbase")
    assert refused.details == "tried to spend coinbase at depth 99"
    node.mine(1)
    bench.accept(spend)
    bench.mine_mempool()


def test_absolute_lock_times(bench: Bench) -> None:
    node = bench.node
    coins = bench.coins([P2WSH_TRUE] * 6)
    median = node.chain.median_time_past(node.best_block_hash)

    def locked(coin: OutPoint, lock_time: int, sequence: int = 0xFFFFFFFE) -> Transaction:
        return transaction([Spend(coin, sequence=sequence)], [(COIN_SAT - FEE, P2WSH_TRUE)], lock_time=lock_time)

    bench.accept(locked(coins[0], node.height))
    bench.refuse(locked(coins[1], node.height + 1), "non-final")
    bench.accept(locked(coins[2], node.height + 1, SEQUENCE_FINAL))
    bench.accept(locked(coins[3], median - 1))
    bench.refuse(locked(coins[4], median), "non-final")
    bench.accept(locked(coins[5], median, SEQUENCE_FINAL))
    bench.mine_mempool()


def test_relative_lock_times(bench: Bench) -> None:
    node = bench.node
    coins = bench.coins([P2WSH_TRUE] * 8)

    def locked(index: int, sequence: int, version: int = 2) -> Transaction:
        spend = Spend(coins[index], sequence=sequence)
        return transaction([spend], [(COIN_SAT - FEE, P2WSH_TRUE)], version=version)

    bench.accept(locked(0, 1))
    bench.refuse(locked(1, 2), "non-BIP68-final")
    bench.accept(locked(2, 2, version=1))
    bench.accept(locked(3, 1 << 31 | 2))
    bench.accept(locked(4, 1 << 22))
    bench.refuse(locked(5, 1 << 22 | 1), "non-BIP68-final")
    bench.mine_mempool()
    bench.accept(locked(1, 2))
    node.set_time(node.now() + 2 * 512)
    node.mine(11)
    bench.accept(locked(5, 1 << 22 | 1))
    bench.mine_mempool()


def test_relative_lock_times_of_unconfirmed_inputs_start_with_the_next_block(bench: Bench) -> None:
    parent = bench.accept(bench.pay(bench.coin()))

    def child(sequence: int) -> Transaction:
        return transaction([Spend(output(parent), sequence=sequence)], [(COIN_SAT - FEE, P2WSH_TRUE)])

    bench.refuse(child(1), "non-BIP68-final")
    bench.accept(child(0))
    bench.mine_mempool()


def test_the_floor_under_fees(bench: Bench) -> None:
    coin = bench.coin()
    size = vsize(bench.pay(coin))
    refused = bench.refuse(bench.pay(coin, size - 1), "min relay fee not met")
    assert refused.details == f"{size - 1} < {size}"
    bench.accept(bench.pay(coin, size))
    bench.mine_mempool()


def test_signature_operations_have_a_price(bench: Bench) -> None:
    script = b"\x51\x63\x51\x67" + 100 * b"\xac" + b"\x68"
    coin = bench.coin(p2wsh(script))
    cheap = with_witness(script)(coin)
    assert bench.node.test_accept(serialize(cheap)).vsize == 100 * 20 // 4 > vsize(cheap)
    low = transaction([Spend(coin, (script,))], [(COIN_SAT - 499, P2WSH_TRUE)])
    bench.refuse(low, "min relay fee not met")


def test_signature_operations_are_limited(bench: Bench) -> None:
    coin = bench.coin(sat=3_000_000)
    multisig = b"\x51\x21\x02" + bytes(32) + b"\x51\xae"

    def many(count: int) -> Transaction:
        return transaction([Spend(coin)], [(800, multisig)] * count)

    bench.accept(many(200))
    other = bench.coin(sat=3_000_000)
    refused = bench.refuse(transaction([Spend(other)], [(800, multisig)] * 201), "bad-txns-too-many-sigops")
    assert refused.details == str(201 * 80)
    bench.mine_mempool()


def test_bare_multisig_can_be_switched_off() -> None:
    with RegtestNode(seed=bytes(32), premine=110, policy=Policy(permit_bare_multisig=False)) as node:
        bench = Bench(node)
        bench.refuse(pays(MULTISIG_1_OF_3)(bench.coin()), "bare-multisig")


def test_a_node_may_ask_for_more(bench: Bench) -> None:
    with RegtestNode(seed=bytes(32), premine=110, policy=Policy(min_relay_sat_per_kvb=5_000)) as node:
        bench = Bench(node)
        coin = bench.coin()
        bench.refuse(bench.pay(coin, 300), "min relay fee not met")
        bench.accept(bench.pay(coin, 5 * vsize(bench.pay(coin))))
