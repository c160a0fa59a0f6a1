"""Two and three whole nodes: open, pay, forward, restart, close."""

from __future__ import annotations

from pathlib import Path

from pyln_fast.types import Msat
from tests.runtime.network import World, play


def test_pay_both_ways(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        alice, bob = await world.start("alice"), await world.start("bob")
        await world.fund(alice)
        channel = await world.channel(alice, bob, 1_000_000)
        sent = await alice.pay((await bob.create_invoice(Msat(100_000_000), "tea")).text)
        assert (sent.amount_msat, sent.fee_paid_msat) == (100_000_000, 0)
        await bob.pay((await alice.create_invoice(Msat(40_000_000), "cake")).text)
        [mine], [theirs] = await alice.list_channels(), await bob.list_channels()
        assert mine.channel_id == theirs.channel_id == channel.channel_id
        assert (mine.holder_balance_msat, theirs.holder_balance_msat) == (940_000_000, 60_000_000)

    play(tmp_path, scene)
