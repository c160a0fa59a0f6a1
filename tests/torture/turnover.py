"""Channels come and go while nodes die, and the feerates with them. Every wish is in the accounts before a node hears
of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

from pyln_fast.cli.demo_world import Chain
from pyln_fast.errors import LocalError
from pyln_fast.rpc.client import NodeNotReachable, RpcRefused
from tests.torture.coins import MOST_FEERATE_PER_KW, Coins, Opening
from tests.torture.world import CHANNELS, TortureFailed, TortureNode, until

FIRST_SAT = 16_000_000
LEAST_SAT, MOST_SAT = 2_000_000, 6_000_000
"""Of the channels that follow."""
MOST = 3
"""Channels that a node has opened to a neighbour. The last one is never closed: its opener must be able to pay."""
MOST_BETWEEN_BLOCKS = 2
"""Openings: an acceptor takes four without a confirmation (LDK)."""
FEERATES_PER_KW = (300, 500, 700, 950, 1200, 1400, MOST_FEERATE_PER_KW)
"""Each 250 at most from its neighbours: so far below ours the feerate of a peer may be (LDK) that reads it earlier."""
TURN_CHANCE = 0.2
LOOK_SECONDS = 0.1
CONNECTED_LOOKS = 10
"""After so many an opener is no longer asked: its peer stays away."""


class Turnover:
    def __init__(self, nodes: dict[str, TortureNode], coins: Coins, chance: random.Random) -> None:
        self._nodes = nodes
        self._coins = coins
        self._chance = chance
        self._wishes = 0
        self._begun: Counter[tuple[str, str]] = Counter()
        """Openings since the last block, by who asks whom."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def open_first(self) -> None:
        """Both sides can pay from the start."""
        for opener, acceptor in CHANNELS:
            await self._open(self._wish(opener, acceptor, FIRST_SAT, 1000 * FIRST_SAT // 2))

    def choose(self) -> Opening:
        """A channel to be closed, or one that is not asked for yet."""
        opener, acceptor = self._chance.choice(CHANNELS)
        mine = self._coins.open_from(opener, acceptor)
        closes = self._begun[opener, acceptor] >= MOST_BETWEEN_BLOCKS or self._chance.random() < 0.5
        if len(mine) >= MOST or (len(mine) > 1 and closes):
            return self._chance.choice(mine)
        self._begun[opener, acceptor] += 1
        return self._wish(opener, acceptor, self._chance.randint(LEAST_SAT, MOST_SAT))

    def block_came(self) -> None:
        self._begun.clear()

    def moment(self, opening: Opening) -> tuple[str, str]:
        """Of an opening or a close: who may die at the sending of what, or when it is about to broadcast."""
        opener, acceptor = opening.sides
        if opening.channel_id:
            return self._chance.choice(opening.sides), self._chance.choice(("Shutdown", "ClosingSigned", "broadcast"))
        steps = (
            *((opener, "OpenChannel"), (acceptor, "AcceptChannel"), (opener, "FundingCreated")),
            *((acceptor, "FundingSigned"), (opener, "broadcast")),
        )
        return self._chance.choice(steps)

    def begin(self, opening: Opening) -> None:
        """It goes on by itself."""
        self._start(self._close(opening) if opening.channel_id else self._open(opening))

    def close_all(self) -> None:
        for opening in [each for each in self._coins.made if each.is_open]:
            self.begin(opening)

    def _start(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    def check(self) -> None:
        """Raises what ended one of them."""
        for task in [each for each in self._tasks if each.done()]:
            self._tasks.discard(task)
            task.result()

    async def end(self) -> None:
        """Returns when all wishes have been heard."""
        await asyncio.gather(*self._tasks)
        self.check()

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wish(self, opener: str, acceptor: str, value_sat: int, push_msat: int = 0) -> Opening:
        self._wishes += 1
        return Opening(self._wishes, opener, acceptor, value_sat, push_msat)

    async def _open(self, opening: Opening) -> None:
        """Whoever dies on the way may have undone it. What came of it the opener's events tell."""
        self._coins.ask(opening)
        request = {
            "node_id": self._nodes[opening.acceptor].node_id,
            "amount_sat": opening.value_sat,
            "push_msat": opening.push_msat,
            "user_channel_id": opening.user_channel_id,
        }
        for _ in range(CONNECTED_LOOKS):
            try:
                await self._nodes[opening.opener].call("begin-open", **request)
                return
            except NodeNotReachable:
                return
            except RpcRefused as refused:
                # The peer is dead or not connected yet, or the wallet's coins wait for a block.
                if refused.kind not in ("ChannelUnavailable", "InsufficientFunds"):
                    raise TortureFailed(f"{opening.opener} refuses to open a channel: {refused}") from None
            await asyncio.sleep(LOOK_SECONDS)
        opening.refused = True

    async def _close(self, opening: Opening) -> None:
        """One of its sides asks, until its node has said that it will, or is seen to."""
        opening.closing = True
        name = self._chance.choice(opening.sides)
        node = self._nodes[name]

        async def asked() -> bool:
            found = [each for each in await node.call("list-channels") if each["channel_id"] == opening.channel_id]
            if found and found[0]["channel_shutdown_state"] == "NotShuttingDown":
                await node.call("close", channel_id=opening.channel_id)
            return True

        await until(f"{name} to begin the close of {opening.channel_id[:8]}", asked)


class Estimates:
    """What the chain answers to those who ask for a feerate: up and down in small steps."""

    def __init__(self, chain: Chain, nodes: dict[str, TortureNode], chance: random.Random) -> None:
        self._chain = chain
        self._nodes = nodes
        self._chance = chance
        self._place = 1
        """Where nodes begin that have no estimate."""
        self._rises = True
        self.moves = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with suppress(LocalError):
                await self._move()
            await asyncio.sleep(LOOK_SECONDS)

    async def _move(self) -> None:
        """One step, if every node has read the last one and every channel has followed it: with an older feerate that
        it still has to tell, a node would be too far from its peer. Raises LocalError."""
        per_kw = FEERATES_PER_KW[self._place]
        if self.moves and not await self._is_heeded(per_kw):
            return
        if self._place in (0, len(FEERATES_PER_KW) - 1):
            self._rises = self._place == 0
        elif self._chance.random() < TURN_CHANCE:
            self._rises = not self._rises
        self._place += 1 if self._rises else -1
        self.moves += 1
        await self._chain.call("setfeerate", f"{4 * FEERATES_PER_KW[self._place] / 1e8:.8f}")

    async def _is_heeded(self, per_kw: int) -> bool:
        """LDK: an opener follows at once if the feerate rises, and when it has halved."""
        for node in self._nodes.values():
            if await node.call("feerate") != per_kw:
                return False
        rates: dict[str, set[int]] = {}
        for node in self._nodes.values():
            for each in await node.call("list-channels"):
                if each["is_channel_ready"]:
                    rates.setdefault(each["channel_id"], set()).add(each["feerate_sat_per_1000_weight"])
        return all(len(each) == 1 and per_kw <= min(each) < 2 * per_kw for each in rates.values())
