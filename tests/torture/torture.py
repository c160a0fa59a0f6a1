"""The torture of one store: nodes die at random moments under load and come back; at intervals all is checked."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.persist.check import check
from tests.torture.accounts import NAMES, Findings, Ledger, Observation
from tests.torture.load import Load
from tests.torture.turnover import Estimates, Turnover
from tests.torture.world import CONFIRMATIONS, POLL_SECONDS, TortureFailed, TortureNode, World, until

KILLS_BETWEEN_CHECKS = 10
LIVE_SECONDS = 1.0
"""At most, between a restart and the next kill."""
DOWN_SECONDS = 0.4
DIES_WITHIN_SECONDS = 2.0
"""A node that was told to die in a checkpoint, or at a step of an opening: after this it is killed from outside."""
CHECK_CHANCE = 0.1
"""Of a look at the whole database of a node that was killed."""
LATEST_DEATH_US = 20_000
"""After the beginning of a checkpoint's slice, an append, or the sending of a message: some slices later."""
SETTLE_SECONDS = 90.0
PROBE_MSAT = 1_234_567
BLOCK_CHANCE = 0.3
"""Of a block between two kills. Few enough that no HTLC comes near to its deadline between two checks."""
TURNOVER_CHANCE = 0.7
"""Of an opening or a close that begins some time before a kill."""
IN_A_TURNOVER = "in a turnover"
KINDS = {
    "one": 0.2,
    "two at once": 0.1,
    "shortly after a restart": 0.15,
    "in a checkpoint": 0.2,
    "in an append": 0.1,
    IN_A_TURNOVER: 0.25,
}
CLOSE_SECONDS = 0.03
"""In which a kill falls into the negotiation of the closes at the end."""


class Result(msgspec.Struct, kw_only=True):
    store: str
    kills: int
    restarts: int
    payments: int
    payments_succeeded: int
    payments_failed: int
    openings: int
    """Channels that were funded, the first ones among them."""
    used: int
    """Those that were paid through."""
    undone: int
    """Openings that a kill has undone."""
    abandoned: int
    """Those of them whose acceptor had signed."""
    closes: int
    estimates: int
    """Feerates that all channels have followed."""
    force_closes: int
    lost: int
    paid_twice: int
    funds_conserved: bool
    checks: int
    elapsed_s: float
    kills_by_node: dict[str, int]
    restart_s: dict[str, float]


class Torture:
    def __init__(self, store: str, kills: int, seed: int, directory: Path, show: Callable[[str], None]) -> None:
        self.store = store
        self.findings = Findings()
        self.failure = ""
        """Why it could not go on."""
        self.kinds: Counter[str] = Counter()
        self.world: World
        self.ledger = Ledger()
        self._kills = kills
        self._chance = random.Random(f"{seed} {store}")
        options = ["--store", store]
        directory.mkdir(parents=True, exist_ok=True)
        self.world = World(directory, self._chance, options)
        self._load = Load(self.world.nodes, self.ledger, random.Random(f"{seed} {store} load"), f"{seed} {store}")
        self._turnover = Turnover(self.world.nodes, self.ledger.coins, random.Random(f"{seed} {store} channels"))
        self._estimates = Estimates(self.world.chain, self.world.nodes, random.Random(f"{seed} {store} feerates"))
        self._show = show
        self._checks = 0
        self._closed = False

    @property
    def held(self) -> bool:
        """Whether all that must hold did, to the end."""
        return self._closed and not self.failure and not self.findings.lines

    async def run(self) -> Result:
        began = time.monotonic()
        watching: list[asyncio.Task[None]] = []
        try:
            await self.world.start()
            watching = [asyncio.create_task(self._watch()), asyncio.create_task(self._estimates.run())]
            await self.world.fund(self.ledger.coins)
            await self._turnover.open_first()
            await self._bury()
            await self._torture(watching)
            await self._close()
        except (TortureFailed, LocalError) as error:
            self.failure = str(error)
            if not self.findings.lines:
                self.findings = await self._diagnose()
        finally:
            await self._load.cancel()
            await self._turnover.cancel()
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await self.world.stop()
        return self._result(time.monotonic() - began)

    async def _watch(self) -> None:
        while True:
            self._read_events()
            await asyncio.sleep(POLL_SECONDS)

    def _read_events(self) -> None:
        for name, node in self.world.nodes.items():
            for record in node.events.read():
                self.ledger.saw(name, record)

    def _say(self, line: str) -> None:
        self._show(f"{self.store}: {line}")

    # --- kills

    @property
    def killed(self) -> int:
        return sum(node.kills for node in self.world.nodes.values())

    async def _torture(self, watching: list[asyncio.Task[None]]) -> None:
        """All kills but one, which is for the closes."""
        due, last = KILLS_BETWEEN_CHECKS, max(self._kills - 1, 1)
        self._load.begin()
        while self.killed < last:
            await self._kill(last - self.killed)
            self._load.check()
            self._turnover.check()
            for task in watching:
                if task.done():
                    task.result()
            if self.killed >= due and self.killed < last:
                due = self.killed + KILLS_BETWEEN_CHECKS
                await self._check()
                self._load.begin()
        await self._check()

    async def _kill(self, left: int) -> None:
        kind = self._chance.choices(list(KINDS), list(KINDS.values()))[0]
        if left < 2 and kind in ("two at once", "shortly after a restart"):
            kind = "one"
        victims = [self.world.nodes[name] for name in self._chance.sample(NAMES, 2 if kind == "two at once" else 1)]
        if self._chance.random() < TURNOVER_CHANCE:
            self._turnover.begin(self._turnover.choose())
        await asyncio.sleep(self._chance.uniform(0, LIVE_SECONDS))
        if self._chance.random() < BLOCK_CHANCE:
            await self.world.chain.mine(1)
            self._turnover.block_came()
        if kind == IN_A_TURNOVER:
            opening = self._turnover.choose()
            name, moment = self._turnover.moment(opening)
            victims = [self.world.nodes[name]]
            kind = await self._tell_to_die(victims[0], f"at {moment}", lambda: self._turnover.begin(opening))
        elif kind in ("in a checkpoint", "in an append"):
            kind = await self._tell_to_die(victims[0], kind)
        else:
            for victim in victims:
                await victim.kill()
        self.kinds[kind] += len(victims)
        if kind == "shortly after a restart":
            await self._kill_again(victims[0])
        await asyncio.gather(*(self._restart(victim) for victim in victims))

    async def _tell_to_die(self, victim: TortureNode, kind: str, then: Callable[[], None] = lambda: None) -> str:
        """By its own hand, at a moment that nobody could meet from outside. Returns what it died of."""
        after_us = int(LATEST_DEATH_US ** self._chance.random())
        inside = kind.rpartition(" ")[2]
        with suppress(LocalError):
            await victim.call("die", inside=inside, after_us=after_us)
        then()
        alone = await victim.dies(DIES_WITHIN_SECONDS)
        await victim.kill()
        return kind if alone else "one"

    async def _kill_again(self, victim: TortureNode) -> None:
        """While it starts, or when it has just begun to work."""
        starting = asyncio.create_task(victim.start())
        await asyncio.sleep(self._chance.uniform(0, 0.6))
        self.kinds["shortly after a restart"] += 1
        await victim.kill()
        await starting

    async def _restart(self, victim: TortureNode) -> None:
        if self._chance.random() < CHECK_CHANCE:
            await self._check_database(victim)
        elif self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(0, DOWN_SECONDS))
        if not await victim.start():
            raise TortureFailed(f"{victim.name} has ended by itself: see {victim.log}")

    async def _check_database(self, victim: TortureNode) -> None:
        """Every record in it, as the kill has left it."""
        report = await asyncio.to_thread(check, victim.data_dir)
        if not report.whole:
            self.findings.lost += [f"{victim.name}'s database: {problem}" for problem in report.problems]
            raise TortureFailed(f"{victim.name}'s database is damaged after {self.killed} kills")

    # --- checks

    async def _check(self) -> None:
        """Waits for silence, then looks at everything. Raises TortureFailed."""
        await self._load.end(SETTLE_SECONDS)
        await self._turnover.end()
        await self._bury()
        for payer, payee in (("alice", "carol"), ("carol", "alice")):
            await self._probe(payer, payee)
        await self._settled()
        self._take(self.ledger.check(await self._observe()))
        self._checks += 1
        made, failed = self.ledger.outcomes()
        self._say(f"{self.killed:5d}/{self._kills} kills, {made} payments made and {failed} failed: all accounted for")

    async def _bury(self) -> None:
        """Every funding and every close gets into a block, and so deep that the nodes are done with it."""
        coins = self.ledger.coins

        async def broadcast() -> bool:
            decided = coins.are_decided(await self.world.channels())
            txids = {
                *await self.world.chain.call("getrawmempool"),
                *(tx.txid for tx in await self.world.transactions()),
            }
            spent = [await self.world.is_spent(each.funding_txo) for each in coins.made if each.closing]
            return decided and all(spent) and all(each.funding_txo[:64] in txids for each in coins.made)

        await until("all fundings and closes to be broadcast", broadcast, SETTLE_SECONDS)
        await self.world.mine(CONFIRMATIONS)
        await self._settled()

    async def _settled(self) -> None:
        async def settled() -> bool:
            return self.ledger.coins.is_settled(await self.world.channels())

        await until("all channels to be usable and empty, or gone", settled, SETTLE_SECONDS)

    async def _diagnose(self) -> Findings:
        """What can be said of the accounts where silence was not to be had."""
        with suppress(TortureFailed, LocalError):
            seen = await self._observe()
            return self.ledger.check(seen)
        self._read_events()
        return self.ledger.check_events()

    async def _observe(self) -> Observation:
        self._read_events()
        wanted: dict[str, list[str]] = {name: [] for name in NAMES}
        for payment in self.ledger.unchecked():
            wanted[payment.payer].append(payment.payment_id)
        seen = await self.world.observe(wanted)
        self._read_events()
        return seen

    async def _probe(self, payer: str, payee: str) -> None:
        """A payment that nothing prevents: it must be made."""

        async def made() -> bool:
            payment = await self._load.pay(payer, payee, PROBE_MSAT)
            return payment is not None and self.ledger.ends(payment)[0].sent

        await until(f"a payment from {payer} to {payee} to be made", made)

    def _take(self, found: Findings) -> None:
        for node in self.world.nodes.values():
            found.other += [f"{node.name} reports: {line}" for line in node.complaints()]
        self.findings = found
        if found.lines:
            raise TortureFailed(f"the accounts are wrong after {self.killed} kills")

    # --- the end

    async def _close(self) -> None:
        """All channels, together with their peers; what they paid out is in the wallets."""
        self._say("closing all channels")
        self._turnover.close_all()
        if self.killed < self._kills:
            await asyncio.sleep(self._chance.uniform(0, CLOSE_SECONDS))
            victim = self.world.nodes[self._chance.choice(NAMES)]
            await victim.kill()
            self.kinds["in the closes"] += 1
            agreed = len(await self.world.chain.call("getrawmempool"))
            self._say(f"{victim.name} was killed when {agreed} closing transactions were broadcast")
            await self._restart(victim)
        await self._turnover.end()
        await self._bury()
        self._take(self.ledger.check(await self._observe()))
        for node in self.world.nodes.values():
            await node.stop()
            await self._check_database(node)
        self._take(Findings())
        self._closed = True

    def _result(self, elapsed: float) -> Result:
        made, failed = self.ledger.outcomes()
        restarts = sorted(each for node in self.world.nodes.values() for each in node.restart_seconds)
        found = self.findings
        return Result(
            store=self.store,
            kills=self.killed,
            restarts=len(restarts),
            payments=len(self.ledger.begun()),
            payments_succeeded=made,
            payments_failed=failed,
            openings=len(self.ledger.coins.made),
            used=self.ledger.coins.used,
            undone=self.ledger.coins.undone,
            abandoned=self.ledger.coins.abandoned,
            closes=sum(1 for each in self.ledger.coins.made if each.closing),
            estimates=self._estimates.moves,
            force_closes=len(found.force_closes),
            lost=len(found.lost),
            paid_twice=len(found.paid_twice),
            funds_conserved=self._closed and not found.unbalanced,
            checks=self._checks,
            elapsed_s=round(elapsed, 1),
            kills_by_node={name: node.kills for name, node in self.world.nodes.items()},
            restart_s={
                "p50": round(restarts[len(restarts) // 2], 3) if restarts else 0.0,
                "max": round(restarts[-1], 3) if restarts else 0.0,
            },
        )
