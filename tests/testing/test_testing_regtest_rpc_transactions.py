from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from pyln_fast.tx.transaction import serialize, txid, wtxid
from pyln_fast.types import OutPoint, Txid, txid_hex
from tests.regtest_bench import COIN_SAT, P2A, P2WSH_TRUE, Bench, Spend, output, transaction, vsize
from tests.regtest_rpc import BURN, Rpc, refused, serve


def test_sendrawtransaction_refuses_in_the_words_of_core(tmp_path: Path) -> None:
    async def scenario(bench: Bench, rpc: Rpc) -> None:
        coin, other = bench.coins([P2WSH_TRUE] * 2)
        lost = bench.pay(OutPoint(Txid(b"\x11" * 32), 0))
        assert await refused(rpc("sendrawtransaction", serialize(lost).hex())) == (
            -25,
            "bad-txns-inputs-missingorspent",
        )
        free = bench.pay(coin, 0)
        assert await refused(rpc("sendrawtransaction", serialize(free).hex())) == (
            -26,
            f"min relay fee not met, 0 < {vsize(free)}",
        )
        locked = transaction([Spend(coin)], [(50_000, P2WSH_TRUE)], lock_time=1_000)
        assert await refused(rpc("sendrawtransaction", serialize(locked).hex())) == (-26, "non-final")
        unsigned = transaction([Spend(coin, ())], [(99_000, P2WSH_TRUE)])
        code, message = await refused(rpc("sendrawtransaction", serialize(unsigned).hex()))
        assert (code, message) == (
            -26,
            "mandatory-script-verify-flag-failed (Witness program was passed an empty witness), "
            f"input 0 of {txid_hex(txid(unsigned))} (wtxid {txid_hex(wtxid(unsigned))}), spending {coin}",
        )
        generous = bench.pay(bench.coin(sat=2_000_000), 1_900_000, 2_000_000)
        too_much = (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)")
        assert await refused(rpc("sendrawtransaction", serialize(generous).hex())) == too_much
        assert await rpc("sendrawtransaction", serialize(generous).hex(), 0) == txid_hex(txid(generous))
        assert await rpc("getrawmempool") == [txid_hex(txid(generous))]
        burning = transaction([Spend(other)], [(1_000, b"\x6a"), (98_000, P2WSH_TRUE)])
        too_hot = (-25, "Unspendable output exceeds maximum configured by user (maxburnamount)")
        assert await refused(rpc("sendrawtransaction", serialize(burning).hex())) == too_hot
        assert await rpc("sendrawtransaction", serialize(burning).hex(), 0.1, "0.00001") == txid_hex(txid(burning))
        rate = (-8, "Fee rates larger than or equal to 1BTC/kvB are not accepted")
        assert await refused(rpc("sendrawtransaction", serialize(burning).hex(), 1, 1)) == rate

    serve(tmp_path, lambda server, rpc: scenario(Bench(server.node), rpc))


def test_testmempoolaccept(tmp_path: Path) -> None:
    async def scenario(bench: Bench, rpc: Rpc) -> None:
        coin, other = bench.coins([P2WSH_TRUE] * 2)
        good = bench.pay(coin)
        names = {"txid": txid_hex(txid(good)), "wtxid": txid_hex(wtxid(good))}
        feerate = Decimal(1_000 * 1_000 // vsize(good)) / 10**8
        assert await rpc("testmempoolaccept", [serialize(good).hex()]) == [
            {
                **names,
                "allowed": True,
                "vsize": vsize(good),
                "fees": {
                    "base": Decimal("0.00001000"),
                    "effective-feerate": feerate,
                    "effective-includes": [names["wtxid"]],
                },
            }
        ]
        assert await rpc("testmempoolaccept", [serialize(good).hex()], 0.00001) == [
            {**names, "allowed": False, "reject-reason": "max-fee-exceeded"}
        ]
        child = bench.pay(output(good), 1_000, COIN_SAT - 1_000)
        (alone,) = await rpc("testmempoolaccept", [serialize(child).hex()])
        assert (alone["allowed"], alone["reject-reason"], "reject-details" in alone) == (False, "missing-inputs", False)
        both = await rpc("testmempoolaccept", [serialize(good).hex(), serialize(child).hex()])
        assert [result["allowed"] for result in both] == [True, True]
        backwards = await rpc("testmempoolaccept", [serialize(child).hex(), serialize(good).hex()])
        assert backwards == [
            {"txid": txid_hex(txid(tx)), "wtxid": txid_hex(wtxid(tx)), "package-error": "package-not-sorted"}
            for tx in (child, good)
        ]
        free = bench.pay(other, 0)
        (result,) = await rpc("testmempoolaccept", [serialize(free).hex()])
        assert result["reject-reason"] == "min relay fee not met"
        assert result["reject-details"] == f"min relay fee not met, 0 < {vsize(free)}"
        assert await rpc("getrawmempool") == []

    serve(tmp_path, lambda server, rpc: scenario(Bench(server.node), rpc))


def test_submitpackage(tmp_path: Path) -> None:
    async def scenario(bench: Bench, rpc: Rpc) -> None:
        coin, other = bench.coins([P2WSH_TRUE] * 2)
        parent = transaction([Spend(coin)], [(COIN_SAT, P2WSH_TRUE), (0, P2A)], version=3)
        spends = [Spend(output(parent)), Spend(output(parent, 1), ())]
        child = transaction(spends, [(COIN_SAT - 1_000, P2WSH_TRUE)], version=3)
        total = vsize(parent) + vsize(child)
        fees = {
            "effective-feerate": Decimal(1_000 * 1_000 // total) / 10**8,
            "effective-includes": [txid_hex(wtxid(parent)), txid_hex(wtxid(child))],
        }
        package = [serialize(parent).hex(), serialize(child).hex()]
        assert await rpc("submitpackage", package) == {
            "package_msg": "success",
            "tx-results": {
                txid_hex(wtxid(parent)): {
                    "txid": txid_hex(txid(parent)),
                    "vsize": vsize(parent),
                    "fees": {"base": 0, **fees},
                },
                txid_hex(wtxid(child)): {
                    "txid": txid_hex(txid(child)),
                    "vsize": vsize(child),
                    "fees": {"base": Decimal("0.00001000"), **fees},
                },
            },
            "replaced-transactions": [],
        }
        again = await rpc("submitpackage", package)
        assert again["package_msg"] == "success"
        assert again["tx-results"][txid_hex(wtxid(child))]["fees"] == {"base": Decimal("0.00001000")}
        twin = transaction([Spend(coin, (b"", b"\x51"))], [(COIN_SAT, P2WSH_TRUE), (0, P2A)], version=3)
        switched = await rpc("submitpackage", [serialize(twin).hex(), serialize(child).hex()])
        assert switched["tx-results"][txid_hex(wtxid(twin))] == {
            "txid": txid_hex(txid(parent)),
            "other-wtxid": txid_hex(wtxid(parent)),
        }
        better = transaction(spends, [(COIN_SAT - 9_000, P2WSH_TRUE)], version=3)
        replaced = await rpc("submitpackage", [serialize(parent).hex(), serialize(better).hex()])
        assert replaced["replaced-transactions"] == [txid_hex(txid(child))]
        poor = bench.pay(other, 0)
        failed = await rpc("submitpackage", [serialize(poor).hex()])
        assert failed["package_msg"] == "transaction failed"
        assert failed["tx-results"][txid_hex(wtxid(poor))]["error"] == f"min relay fee not met, 0 < {vsize(poor)}"
        words = "package topology disallowed. not child-with-parents or parents depend on each other."
        assert await refused(rpc("submitpackage", [serialize(poor).hex(), serialize(child).hex()])) == (-25, words)
        broken = "TX decode failed: 00 Make sure the tx has at least one input."
        assert await refused(rpc("submitpackage", ["00"])) == (-22, broken)

    serve(tmp_path, lambda server, rpc: scenario(Bench(server.node), rpc))


def test_relatives_in_the_mempool(tmp_path: Path) -> None:
    async def scenario(bench: Bench, rpc: Rpc) -> None:
        coin = bench.coin()
        parent = bench.accept(bench.pay(coin))
        child = bench.accept(bench.pay(output(parent), 2_000, COIN_SAT - 1_000))
        first, second = txid_hex(txid(parent)), txid_hex(txid(child))
        assert await rpc("getmempoolancestors", second) == [first]
        assert await rpc("getmempooldescendants", first) == [second]
        entry = await rpc("getmempoolentry", second)
        assert (entry["ancestorcount"], entry["depends"], entry["fees"]["ancestor"]) == (2, [first], Decimal("0.00003"))
        assert (await rpc("getmempoolentry", first))["spentby"] == [second]
        spending = await rpc("gettxspendingprevout", [{"txid": first, "vout": 0}, {"txid": second, "vout": 0}])
        assert spending == [{"txid": first, "vout": 0, "spendingtxid": second}, {"txid": second, "vout": 0}]
        assert await rpc("gettxout", first, 0) is None
        assert (await rpc("gettxout", txid_hex(coin.txid), coin.vout, False))["confirmations"] == 1
        sequence = await rpc("getrawmempool", False, True)
        assert sequence["txids"] == [first, second]
        await rpc("generatetoaddress", 1, BURN)
        assert await refused(rpc("getmempoolentry", first)) == (-5, "Transaction not in mempool")

    serve(tmp_path, lambda server, rpc: scenario(Bench(server.node), rpc))


def test_addresses(tmp_path: Path) -> None:
    async def scenario(bench: Bench, rpc: Rpc) -> None:
        taproot = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"
        valid = await rpc("validateaddress", taproot)
        assert valid == {
            "isvalid": True,
            "address": taproot,
            "scriptPubKey": "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "isscript": True,
            "iswitness": True,
            "witness_version": 1,
            "witness_program": "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        }
        address_with_an_error = "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY9"
        legacy = await rpc("validateaddress", "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8")
        assert legacy["scriptPubKey"] == "76a914" + 40 * "0" + "88ac"
        for bad in (
            taproot[:-1] + "q",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "",
            address_with_an_error,
        ):
            assert (await rpc("validateaddress", bad))["isvalid"] is False
        address = await rpc("getnewaddress")
        assert address.startswith("bcrt1q")
        before = await rpc("getbalance")
        await rpc("sendtoaddress", "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8", 1)
        assert await rpc("getbalance") < before - 1
        assert set((await rpc("getbalances"))["mine"]) == {"trusted", "untrusted_pending", "immature"}

    serve(tmp_path, lambda server, rpc: scenario(Bench(server.node), rpc))
