from __future__ import annotations

import asyncio
import json
import stat
from decimal import Decimal
from pathlib import Path

import aiohttp

from pyln_fast.testing.regtest import RegtestNode, RegtestServer
from pyln_fast.tx.transaction import serialize
from pyln_fast.types import OutPoint
from tests.regtest_bench import P2WSH_TRUE, Spend, transaction
from tests.regtest_rpc import BURN, Rpc, post, refused, serve


def test_the_fields_of_the_chain(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        best = await rpc("getbestblockhash")
        info = await rpc("getblockchaininfo")
        header = await rpc("getblockheader", best)
        assert info == {
            "chain": "regtest",
            "blocks": 120,
            "headers": 120,
            "bestblockhash": best,
            "bits": "207fffff",
            "target": "7fffff" + 58 * "0",
            "difficulty": Decimal("4.656542373906925e-10"),
            "time": header["time"],
            "mediantime": header["mediantime"],
            "verificationprogress": 1,
            "initialblockdownload": False,
            "chainwork": f"{242:064x}",
            "size_on_disk": info["size_on_disk"],
            "pruned": False,
            "warnings": [],
        }
        raw = bytes.fromhex(await rpc("getblockheader", best, False))
        assert len(raw) == 80
        assert header == {
            "hash": best,
            "confirmations": 1,
            "height": 120,
            "version": 0x20000000,
            "versionHex": "20000000",
            "merkleroot": raw[36:68][::-1].hex(),
            "time": int.from_bytes(raw[68:72], "little"),
            "mediantime": header["mediantime"],
            "nonce": int.from_bytes(raw[76:80], "little"),
            "bits": "207fffff",
            "target": "7fffff" + 58 * "0",
            "difficulty": Decimal("4.656542373906925e-10"),
            "chainwork": f"{242:064x}",
            "nTx": 1,
            "previousblockhash": await rpc("getblockhash", 119),
        }
        assert (await rpc("getblockheader", header["previousblockhash"]))["nextblockhash"] == best
        assert await rpc("getblockcount") == 120
        assert (await rpc("getnetworkinfo"))["version"] == 290000
        assert await rpc("getindexinfo") == {"txindex": {"synced": True, "best_block_height": 120}}
        assert await rpc("getblock", best, 0) == server.node.chain.tip.raw.hex()

    serve(tmp_path, scenario)


def test_a_transaction_from_the_faucet_to_the_chain(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        txid = await rpc("sendtoaddress", BURN, 0.5)
        raw = await rpc("getrawtransaction", txid)
        assert await rpc("getrawmempool") == [txid]
        entry = await rpc("getmempoolentry", txid)
        fee = entry["fees"]["base"]
        assert entry == {
            "vsize": entry["vsize"],
            "weight": entry["weight"],
            "time": entry["time"],
            "height": 120,
            "descendantcount": 1,
            "descendantsize": entry["vsize"],
            "ancestorcount": 1,
            "ancestorsize": entry["vsize"],
            "wtxid": entry["wtxid"],
            "fees": {"base": fee, "modified": fee, "ancestor": fee, "descendant": fee},
            "depends": [],
            "spentby": [],
            "bip125-replaceable": True,
            "unbroadcast": False,
        }
        assert await rpc("getrawmempool", True) == {txid: entry}
        waiting = await rpc("gettxout", txid, 0)
        assert waiting == {
            "bestblock": await rpc("getbestblockhash"),
            "confirmations": 0,
            "value": Decimal("0.50000000"),
            "scriptPubKey": {
                "asm": "0 " + 40 * "0",
                "desc": f"addr({BURN})#v0fp9yyh",
                "hex": "0014" + 40 * "0",
                "address": BURN,
                "type": "witness_v0_keyhash",
            },
            "coinbase": False,
        }
        assert await rpc("gettxout", txid, 0, False) is None
        assert await rpc("sendrawtransaction", raw) == txid, "it is there already"
        (block_hash,) = await rpc("generatetoaddress", 1, BURN)
        block = await rpc("getblock", block_hash, 2)
        assert [tx["txid"] for tx in block["tx"]][1] == txid
        assert block["tx"][1]["fee"] == fee
        assert (block["nTx"], block["size"], block["weight"]) == (
            2,
            len(server.node.chain.tip.raw),
            3 * block["strippedsize"] + block["size"],
        )
        assert (await rpc("getblock", block_hash))["tx"] == [tx["txid"] for tx in block["tx"]]
        assert (await rpc("gettxout", txid, 0))["confirmations"] == 1
        details = await rpc("getrawtransaction", txid, 2)
        assert (details["blockhash"], details["confirmations"], details["fee"]) == (block_hash, 1, fee)
        assert details["hex"] == raw
        assert details["vin"][0]["prevout"]["generated"] is True
        assert await refused(rpc("sendrawtransaction", raw)) == (-27, "Transaction outputs already in utxo set")
        assert await rpc("getmempoolinfo") == {
            "loaded": True,
            "size": 0,
            "bytes": 0,
            "usage": 0,
            "total_fee": 0,
            "maxmempool": 300_000_000,
            "mempoolminfee": Decimal("0.00001"),
            "minrelaytxfee": Decimal("0.00001"),
            "incrementalrelayfee": Decimal("0.00001"),
            "unbroadcastcount": 0,
            "fullrbf": True,
        }

    serve(tmp_path, scenario)


def test_errors_have_the_codes_and_words_of_core(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        zero = 64 * "0"
        lost = "No such mempool or blockchain transaction. Use gettransaction for wallet transactions."
        cases = [
            (rpc("nothing"), -32601, "Method not found"),
            (rpc("getblockhash", 121), -8, "Block height out of range"),
            (rpc("getblockheader", zero), -5, "Block not found"),
            (rpc("getblock", "12"), -8, "blockhash must be of length 64 (not 2, for '12')"),
            (rpc("getblock", 64 * "x"), -8, f"blockhash must be hexadecimal string (not '{64 * 'x'}')"),
            (rpc("getrawtransaction", 64 * "1"), -5, lost),
            (rpc("getmempoolentry", zero), -5, "Transaction not in mempool"),
            (rpc("sendrawtransaction", "00"), -22, "TX decode failed. Make sure the tx has at least one input."),
            (rpc("sendrawtransaction", "xy"), -22, "TX decode failed. Make sure the tx has at least one input."),
            (rpc("generatetoaddress", 1, "nowhere"), -5, "Error: Invalid address"),
            (rpc("sendtoaddress", "nowhere", 1), -5, "Invalid address: nowhere"),
            (rpc("sendtoaddress", BURN, 20_000_000), -6, "Insufficient funds"),
            (rpc("sendtoaddress", BURN, 0.000000001), -3, "Invalid amount"),
            (rpc("invalidateblock", zero), -5, "Block not found"),
            (rpc("setmocktime", -1), -8, "Mocktime must be in the range [0, 9223372036], not -1."),
            (rpc("submitpackage", []), -8, "Array must contain between 1 and 25 transactions."),
            (rpc("estimatesmartfee", 0), -8, "Invalid conf_target, must be between 1 and 1008"),
        ]
        for call, code, message in cases:
            assert await refused(call) == (code, message)
        code, message = await refused(rpc("getblockhash", "1"))
        assert (code, json.loads(message.partition("\n")[2])) == (
            -3,
            {"Position 1 (height)": "JSON value of type string is not of expected type number"},
        )
        assert (await refused(rpc("getblockhash")))[0] == -1

    serve(tmp_path, scenario)


def test_fee_estimation_says_nothing_until_it_is_set(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        assert await rpc("estimatesmartfee", 6) == {"errors": ["Insufficient data or no feerate found"], "blocks": 6}
        server.node.feerate_sat_per_kvb = 12_345
        assert await rpc("estimatesmartfee", 6, "CONSERVATIVE") == {"feerate": Decimal("0.00012345"), "blocks": 6}
        await rpc("setfeerate", 0)
        assert "errors" in await rpc("estimatesmartfee", 2)

    serve(tmp_path, scenario)


def test_invalidate_and_reconsider(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        txid = await rpc("sendtoaddress", BURN, 1)
        first, second = await rpc("generatetoaddress", 2, BURN)
        assert await rpc("invalidateblock", first) is None
        assert (await rpc("getblockcount"), await rpc("getrawmempool")) == (120, [txid])
        assert (await rpc("getblockheader", second))["confirmations"] == -1
        assert [tip["status"] for tip in await rpc("getchaintips")] == ["invalid", "active"]
        raw = await rpc("getblock", first, 0)
        await rpc("reconsiderblock", second)
        assert (await rpc("getbestblockhash"), await rpc("getrawmempool")) == (second, [])
        assert await rpc("submitblock", raw) == "duplicate"

    serve(tmp_path, scenario)


def test_generateblock_takes_exactly_its_transactions(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        waiting = await rpc("sendtoaddress", BURN, 1)
        raw = server.node.faucet.create(b"\x51", 10_000).hex()
        made = await rpc("generateblock", BURN, [raw], False)
        assert await rpc("getblockcount") == 120
        assert await rpc("submitblock", made["hex"]) is None
        assert await rpc("getbestblockhash") == made["hash"]
        assert await rpc("getrawmempool") == [waiting]
        empty = await rpc("generateblock", BURN, [])
        assert (await rpc("getblock", empty["hash"]))["nTx"] == 1
        await rpc("generateblock", BURN, [waiting])
        assert await rpc("getrawmempool") == []
        missing = "TestBlockValidity failed: bad-txns-inputs-missingorspent"
        assert await refused(rpc("generateblock", BURN, [raw])) == (-25, missing)
        unsigned = transaction([Spend(OutPoint(server.node.chain.tip.txids[1], 0), ())], [(1_000, P2WSH_TRUE)])
        for submit in (True, False):
            code, message = await refused(rpc("generateblock", BURN, [serialize(unsigned).hex()], submit))
            words = "Script evaluated without error but finished with a false/empty top stack element"
            expected = f"TestBlockValidity failed: block-script-verify-flag-failed ({words})"
            assert (code, message.partition(", input 0 of ")[0]) == (-25, expected)
        assert await refused(rpc("generateblock", BURN, [waiting])) == (-5, f"Transaction {waiting} not in mempool.")

    serve(tmp_path, scenario)


def test_authorization(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        request = {"method": "getblockcount", "params": [], "id": 1}
        assert stat.S_IMODE(server.cookie_path.stat().st_mode) == 0o600
        assert server.cookie_path.read_text().startswith("__cookie__:")
        assert await post(server, request, "alice:secret") == (200, {"result": 120, "error": None, "id": 1})
        for token in ("alice:wrong", "", "__cookie__:", "alice"):
            assert await post(server, request, token) == (401, None)
        async with aiohttp.ClientSession() as session:
            async with session.post(server.url, json=request) as response:
                assert response.headers["WWW-Authenticate"] == 'Basic realm="jsonrpc"'
            async with session.get(server.url) as response:
                assert (response.status, await response.text()) == (405, "JSONRPC server handles only POST requests")

    serve(tmp_path, scenario)
    assert not (tmp_path / ".cookie").exists()


def test_batches_versions_and_broken_requests(tmp_path: Path) -> None:
    async def scenario(server: RegtestServer, rpc: Rpc) -> None:
        one = {"method": "getblockcount", "id": "a"}
        two = {"jsonrpc": "2.0", "method": "nothing", "id": "b"}
        silent = {"jsonrpc": "2.0", "method": "getblockcount"}
        absent = {"code": -32601, "message": "Method not found"}
        assert await post(server, [one, two, silent]) == (
            200,
            [{"result": 120, "error": None, "id": "a"}, {"jsonrpc": "2.0", "error": absent, "id": "b"}],
        )
        assert await post(server, []) == (200, [])
        assert await post(server, [silent]) == (204, None)
        assert await post(server, two) == (200, {"jsonrpc": "2.0", "error": absent, "id": "b"})
        assert (await post(server, {"method": "nothing", "id": 1}))[0] == 404
        assert (await post(server, {"id": 1}))[1]["error"] == {"code": -32600, "message": "Missing method"}
        assert (await post(server, 5))[1]["error"]["code"] == -32600
        assert await post(server, b"{") == (
            500,
            {"result": None, "error": {"code": -32700, "message": "Parse error"}, "id": None},
        )
        named = {"method": "getblockhash", "params": {"height": 0}, "id": 1}
        genesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
        assert (await post(server, named))[1]["result"] == genesis

    serve(tmp_path, scenario)


def test_it_answers_that_it_warms_up_and_stops_on_command(tmp_path: Path) -> None:
    async def run() -> None:
        loaded = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> RegtestNode:
            asyncio.run_coroutine_threadsafe(loaded.wait(), loop).result()
            return RegtestNode(premine=0)

        server = RegtestServer(tmp_path, make_node=slow)
        starting = asyncio.create_task(server.start())
        while not server.cookie_path.exists():
            await asyncio.sleep(0.01)
        status, reply = await post(server, {"method": "getblockcount", "id": 1})
        assert (status, reply["error"]["code"]) == (500, -28)
        loaded.set()
        await starting
        assert (await post(server, {"method": "getblockcount", "id": 1}))[1]["result"] == 0
        assert (await post(server, {"method": "getblockchaininfo"}))[1]["result"]["initialblockdownload"] is True
        assert (await post(server, {"method": "stop"}))[1]["result"] == "Bitcoin Core stopping"
        await asyncio.wait_for(server.wait_until_stopped(), 5)
        await server.stop()

    asyncio.run(run())
