from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from pyln_fast.chain.interfaces import ConfirmationTarget, Sweep
from pyln_fast.runtime.bitcoind import BitcoindClient, BroadcastFailed, parents_first
from pyln_fast.runtime.bitcoind_rpc import BitcoindError, BitcoindRpc
from pyln_fast.types import OutPoint, Txid, TxOut
from tests.oracle.block import sha256d
from tests.runtime.fake_bitcoind import FakeBitcoind, Fault


def tx(*outpoints: bytes) -> bytes:
    inputs = b"".join(outpoint + bytes(5) for outpoint in outpoints)
    return (2).to_bytes(4, "little") + bytes([len(outpoints)]) + inputs + b"\x01" + bytes(8) + b"\x01\x51" + bytes(4)


SCRIPT = {"scriptPubKey": {"hex": "51"}}
PARENT = tx(b"\x01" * 36)
OTHER_PARENT = tx(b"\x02" * 36)
CHILD = tx(sha256d(OTHER_PARENT) + bytes(4), sha256d(PARENT) + bytes(4))


def scenario(play: Callable[[FakeBitcoind, BitcoindClient], Awaitable[None]]) -> None:
    async def stage() -> None:
        fake = FakeBitcoind()
        async with fake.rpc() as rpc:
            client = BitcoindClient(rpc)
            try:
                await play(fake, client)
            finally:
                await client.close()

    asyncio.run(asyncio.wait_for(stage(), 20))


def raising(code: int, message: str) -> Any:
    def answer(*_: object) -> None:
        raise Fault(code, message)

    return answer


def test_block_source() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        first, second = fake.mine(2)
        assert await client.get_genesis_hash() == fake.genesis
        assert await client.get_best_block() == (second, 2)
        assert await client.get_header(first) == fake.blocks[first][:80]
        assert await client.get_block(first) == fake.blocks[first]
        fake.calls.clear()
        assert await client.get_best_block() == (second, 2)
        assert fake.calls == [("getbestblockhash", [])]
        with pytest.raises(BitcoindError, match="Block not found"):
            await client.get_block(bytes(32))
        fake.answers["getblockheader"] = lambda *_: "00"
        with pytest.raises(BitcoindError, match="1 bytes, not 80"):
            await client.get_header(first)

    scenario(play)


@pytest.mark.parametrize("nonsense", [None, 7, "xyz", [], {}, {"height": "x"}])
def test_nonsense_is_one_clear_line(nonsense: object) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        for method in (
            "getblockchaininfo",
            "getblockhash",
            "getbestblockhash",
            "getblockheader",
            "getblock",
            "getmempoolinfo",
            "gettxout",
        ):
            fake.answers[method] = lambda *_: nonsense
        for call in (
            client.check_ready(),
            client.get_genesis_hash(),
            client.get_best_block(),
            client.get_header(bytes(32)),
            client.get_block(bytes(32)),
            client.refresh_fees(),
        ):
            with pytest.raises(BitcoindError, match="bitcoind: get"):
                await call
        if nonsense is not None:
            with pytest.raises(BitcoindError, match="bitcoind: gettxout"):
                await client.get_utxo(OutPoint(Txid(bytes(32)), 0))

    scenario(play)


@pytest.mark.parametrize("number", [Decimal("1e999999"), Decimal("-1"), Decimal("NaN"), "Infinity", 21_000_001])
def test_numbers_that_cannot_be(number: object) -> None:
    """They come as they are: our fake cannot write them."""

    class Rpc(BitcoindRpc):
        async def call(self, method: str, *params: object) -> Any:
            names = ("height", "value", "mempoolminfee", "feerate")
            return "00" * 32 if method == "getbestblockhash" else {**dict.fromkeys(names, number), **SCRIPT}

    async def play() -> None:
        client = BitcoindClient(Rpc("http://127.0.0.1:8332"))
        with pytest.raises(BitcoindError, match="bitcoind: gettxout: an answer that cannot be understood"):
            await client.get_utxo(OutPoint(Txid(bytes(32)), 0))
        with pytest.raises(BitcoindError, match="bitcoind: getmempoolinfo: an answer that cannot be understood"):
            await client.refresh_fees()
        if number != 21_000_001:
            with pytest.raises(BitcoindError, match="bitcoind: getblockheader: an answer that cannot be understood"):
                await client.get_best_block()

    asyncio.run(play())


def test_utxo_lookup() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        outpoint = OutPoint(Txid(bytes(range(32))), 3)
        fake.answers["gettxout"] = lambda *_: {"value": 20999999.9769, "scriptPubKey": {"hex": "0014" + "ab" * 20}}
        assert await client.get_utxo(outpoint) == TxOut(2099999997690000, bytes.fromhex("0014" + "ab" * 20))
        assert fake.calls == [("gettxout", [bytes(range(31, -1, -1)).hex(), 3, False])]
        fake.answers["gettxout"] = lambda *_: None
        assert await client.get_utxo(outpoint) is None

    scenario(play)


def test_parents_first() -> None:
    grandchild = tx(sha256d(CHILD) + bytes(4))
    assert parents_first([grandchild, CHILD, PARENT, OTHER_PARENT]) == [OTHER_PARENT, PARENT, CHILD, grandchild]
    assert parents_first([PARENT, PARENT]) == [PARENT]


def test_one_transaction() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.answers["sendrawtransaction"] = lambda raw: "00" * 32
        await client.broadcast([PARENT])
        assert fake.calls == [("sendrawtransaction", [PARENT.hex()])]
        for known in ((-27, "Transaction outputs already in utxo set"), (-26, "txn-already-known")):
            fake.answers["sendrawtransaction"] = raising(*known)
            await client.broadcast([PARENT])
        fake.answers["sendrawtransaction"] = raising(-25, "bad-txns-inputs-missingorspent")
        with pytest.raises(BroadcastFailed) as caught:
            await client.broadcast([PARENT])
        assert caught.value.reasons == (f"{sha256d(PARENT)[::-1].hex()}: bad-txns-inputs-missingorspent",)

    scenario(play)


def test_package() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.answers["submitpackage"] = lambda txs: {"package_msg": "success", "tx-results": {}}
        await client.broadcast([CHILD, PARENT, OTHER_PARENT])
        assert fake.calls == [("submitpackage", [[OTHER_PARENT.hex(), PARENT.hex(), CHILD.hex()]])]

    scenario(play)


@pytest.mark.parametrize("old_core", [True, False])
def test_package_whose_parent_is_confirmed(old_core: bool) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        def send(raw: str) -> str:
            if raw == PARENT.hex():
                raise Fault(-27, "Transaction outputs already in utxo set")
            return "00" * 32

        refusal = raising(-32601, "Method not found")
        fake.answers["submitpackage"] = refusal if old_core else lambda txs: {"package_msg": "transaction failed"}
        fake.answers["sendrawtransaction"] = send
        await client.broadcast([CHILD, PARENT])
        assert [params for name, params in fake.calls if name == "sendrawtransaction"] == [
            [PARENT.hex()],
            [CHILD.hex()],
        ]

    scenario(play)


def test_broadcast_transactions_goes_on_after_a_failure() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        sent: list[str] = []

        def send(raw: str) -> str:
            if raw == PARENT.hex():
                raise Fault(-26, "min relay fee not met")
            sent.append(raw)
            return "00" * 32

        fake.answers["sendrawtransaction"] = send
        for raw in (PARENT, b"not a transaction", OTHER_PARENT, CHILD):
            client.broadcast_transactions([(raw, Sweep(()))])
        assert sent == [], "it returns before anything was sent"
        while len(sent) < 2:
            await asyncio.sleep(0.01)
        assert sent == [OTHER_PARENT.hex(), CHILD.hex()]

    scenario(play)


def feerates(client: BitcoindClient) -> dict[str, int]:
    return {target.value: client.get_est_sat_per_1000_weight(target) for target in ConfirmationTarget}


DEFAULTS = {
    "maximum_fee_estimate": 8000,
    "urgent_on_chain_sweep": 5000,
    "min_allowed_anchor_channel_remote_fee": 253,
    "min_allowed_non_anchor_channel_remote_fee": 253,
    "anchor_channel_fee": 500,
    "non_anchor_channel_fee": 1000,
    "channel_close_minimum": 500,
    "output_spending_fee": 1000,
}


def test_fees_without_estimates() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        assert feerates(client) == DEFAULTS
        fake.answers["getmempoolinfo"] = lambda: {"mempoolminfee": 0.00001}
        fake.answers["estimatesmartfee"] = lambda *_: {"errors": ["Insufficient data or no feerate found"], "blocks": 0}
        await client.refresh_fees()
        assert feerates(client) == DEFAULTS
        fake.answers["getmempoolinfo"] = lambda: {"mempoolminfee": 0.00008}
        await client.refresh_fees()
        assert feerates(client) == {
            **dict.fromkeys(DEFAULTS, 2000),
            "maximum_fee_estimate": 8000,
            "urgent_on_chain_sweep": 5000,
            "min_allowed_anchor_channel_remote_fee": 1750,
            "min_allowed_non_anchor_channel_remote_fee": 1750,
        }
        fake.answers["getmempoolinfo"] = lambda: {"mempoolminfee": 0}
        await client.refresh_fees()
        assert feerates(client) == DEFAULTS, "a full mempool leaves no trace"

    scenario(play)


def test_fees_are_followed(caplog: pytest.LogCaptureFixture) -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        following = asyncio.ensure_future(client.follow_fees(0.001))
        await asyncio.sleep(0.1)
        fake.answers["getmempoolinfo"] = lambda: {"mempoolminfee": 0.001}
        fake.answers["estimatesmartfee"] = lambda *_: {"errors": [], "blocks": 0}
        while feerates(client) == DEFAULTS:
            await asyncio.sleep(0.01)
        assert feerates(client)["anchor_channel_fee"] == 25000
        following.cancel()

    scenario(play)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("pyln_fast")] == [
        "the old fee estimates stay: bitcoind: getmempoolinfo: Method not found (code -32601)"
    ]


def test_fees_from_estimates() -> None:
    async def play(fake: FakeBitcoind, client: BitcoindClient) -> None:
        fake.answers["getmempoolinfo"] = lambda: {"mempoolminfee": 0.00001}
        fake.answers["estimatesmartfee"] = lambda blocks, mode: {
            "feerate": {1: 0.0008, 6: 0.00060001, 12: 0.0004, 144: 0.00011, 1008: 0.00000001}[blocks]
            * (2 if mode == "CONSERVATIVE" else 1),
            "blocks": blocks,
        }
        await client.refresh_fees()
        known = {
            "maximum_fee_estimate": 42500,
            "urgent_on_chain_sweep": 30001,
            "min_allowed_anchor_channel_remote_fee": 253,
            "min_allowed_non_anchor_channel_remote_fee": 2500,
            "anchor_channel_fee": 253,
            "non_anchor_channel_fee": 20000,
            "channel_close_minimum": 2750,
            "output_spending_fee": 10000,
        }
        assert feerates(client) == known
        fake.answers["estimatesmartfee"] = raising(-1, "out of order")
        with pytest.raises(BitcoindError):
            await client.refresh_fees()
        assert feerates(client) == known

    scenario(play)
