"""LDK 0.1.2 as a peer: a handle on `ldk/peer.mjs`."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.interop.chain import Chain
from tests.interop.waiting import PATIENCE_SECS, Cannot, Failure, until

VERSION = "0.1.2"
SOURCES = Path(__file__).parent / "ldk"
_LINE_LIMIT = 64 << 20


def default_modules() -> Path:
    """Where `npm ci` has put the packages: outside of the checkout."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("PYLN_FAST_INTEROP_LDK", cache / "pyln_fast" / "interop-ldk"))


def prepare() -> None:
    """Copies the driver to the cache and installs the pinned packages beside it, once. Raises Cannot."""
    modules = default_modules()
    modules.mkdir(parents=True, exist_ok=True)
    for source in SOURCES.iterdir():
        shutil.copy(source, modules)
    stamp, lock = modules / "installed", (SOURCES / "package-lock.json").read_bytes()
    if stamp.exists() and stamp.read_bytes() == lock:
        return
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Cannot("node and npm are needed, version 20 or newer (apt-get install nodejs npm)")
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=modules, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Cannot(f"npm ci failed: {(done.stderr.strip() or done.stdout.strip())[-500:]}")
    stamp.write_bytes(lock)


class LdkError(Failure):
    """LDK refused a request."""


class LdkPeer:
    def __init__(
        self, name: str, chain: Chain, anchors: bool, data_dir: Path | None = None, modules: Path | None = None
    ) -> None:
        self.name = name
        self.chain = chain
        self.seed = hashlib.sha256(name.encode()).hexdigest()
        self.log: list[str] = []
        self.events: list[dict] = []
        self.node_id = ""
        self.port = 0
        self._settings = {"seed": self.seed, "anchors": anchors, "data_dir": str(data_dir or "")}
        self._modules = modules or default_modules()
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- life

    async def start(self) -> None:
        tip, height = self.chain.tip
        settings = self._settings | {"tip": {"hash": tip, "height": height}, "port": self.port}
        self._process = await asyncio.create_subprocess_exec(
            "node",
            "--expose-gc",
            str(self._modules / "peer.mjs"),
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        self._tasks = [asyncio.ensure_future(self._read_answers()), asyncio.ensure_future(self._read_log())]
        ready = await self.event("ready")
        self.events.remove(ready)
        self.node_id, self.port = ready["node_id"], ready["port"]
        await self.chain.follow(self)

    async def stop(self) -> None:
        """At once: what it wanted to keep is on disk whenever a peer has seen it."""
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL."""
        self.chain.leave(self)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()
        self._fail_waiting()

    async def _read_answers(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "event" not in message:
                waiting = self._answers.pop(message["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
            elif message["event"] == "broadcast":
                self.chain.broadcast(self.name, tuple(bytes.fromhex(raw) for raw in message["transactions"]))
            else:
                self.events.append(message)
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result({"error": f"{self.name} is dead: {self.log[-3:]}"})
        self._answers.clear()

    async def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.log.append(line.decode(errors="replace").rstrip())

    # --- requests

    async def request(self, method: str, **params: object) -> object:
        """Raises LdkError."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._ids)
        waiting: asyncio.Future[dict] = asyncio.get_running_loop().create_future()
        self._answers[number] = waiting
        line = json.dumps({"id": number, "method": method, "params": params})
        self._process.stdin.write(line.encode() + b"\n")
        try:
            message = await asyncio.wait_for(waiting, PATIENCE_SECS)
        except TimeoutError:
            raise LdkError(f"{self.name}: no answer to {method}") from None
        if "error" in message:
            raise LdkError(f"{self.name}: {method}: {message['error']}")
        return message["result"]

    async def event(self, name: str, patience: float = PATIENCE_SECS, **fields: object) -> dict:
        """The first event of that name with those fields. Raises Failure."""

        def look() -> dict | None:
            dead = self._process is not None and self._process.returncode is not None
            if dead:
                raise Failure(f"{self.name} ended: {self.log[-3:]}")
            return self.find(name, **fields)

        found = await until(look, f"{self.name}'s {name} {fields}", patience)
        assert found is not None
        return found

    def find(self, name: str, **fields: object) -> dict | None:
        for event in self.events:
            if event["event"] == name and all(event.get(key) == value for key, value in fields.items()):
                return event
        return None

    async def channels(self, peer: str | None = None) -> list[dict]:
        found = await self.request("channels")
        assert isinstance(found, list)
        return [each for each in found if peer is None or each["node_id"] == peer]

    async def is_connected(self, peer: str) -> bool:
        peers = await self.request("peers")
        assert isinstance(peers, list)
        return peer in peers

    # --- blocks

    async def block_height(self) -> int:
        tip = await self.request("tip")
        assert isinstance(tip, dict)
        return int(tip["height"])

    async def block_connected(self, raw: bytes, height: int) -> None:
        await self.request("block", raw=raw.hex(), height=height)
