"""`pyln-fast run`: one node in the foreground."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from pyln_fast.config import UserConfig
from pyln_fast.errors import LightningError
from pyln_fast.rpc.methods import Api
from pyln_fast.rpc.server import RpcServer
from pyln_fast.runtime.builder import DefaultEventHandler
from pyln_fast.runtime.chain_poller import POLL_SECONDS
from pyln_fast.runtime.lightning_node import LightningNode
from pyln_fast.runtime.peer_connector import parse_host_port
from pyln_fast.runtime.settings import InvalidSettings, NodeSettings, override, read_config, store_kind
from pyln_fast.types import Network

CONFIG_FILE = "config.toml"
SWITCH_SECONDS = 0.0005
"""How long the loop may hold the interpreter while the store's thread wants to report a durable batch; Python's default
of 5 ms would be longer than most writes."""


def run(
    data_dir: Annotated[Path, typer.Option(help="Seed, database, control socket and config.toml; made if need be.")],
    bitcoind_url: Annotated[str, typer.Option(envvar="PYLN_BITCOIND_URL", help="http://127.0.0.1:18443")],
    network: Annotated[str, typer.Option(help="regtest, signet, testnet4 or test.")] = "regtest",
    bitcoind_cookie: Annotated[Path | None, typer.Option(help="bitcoind's cookie file.")] = None,
    bitcoind_user: Annotated[str | None, typer.Option()] = None,
    bitcoind_password: Annotated[str | None, typer.Option(envvar="PYLN_BITCOIND_PASSWORD")] = None,
    listen: Annotated[list[str] | None, typer.Option(help="host:port; again for more.")] = None,
    store: Annotated[str, typer.Option(help="sqlite or filesystem; a database keeps its kind.")] = "sqlite",
    poll_seconds: Annotated[float, typer.Option(help="Between two looks at bitcoind's best block.")] = POLL_SECONDS,
    config: Annotated[Path | None, typer.Option(help="Instead of config.toml in the data directory.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.name=value, over the file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The line that says it is ready, as JSON.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """A Lightning node. Prints its id and address when it is ready; a signal or `pyln-fast cli stop` ends it."""
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d level=%(levelname)s module=%(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = NodeSettings(
            data_dir=data_dir,
            network=_network(network),
            bitcoind_url=bitcoind_url,
            bitcoind_cookie=bitcoind_cookie,
            bitcoind_user=bitcoind_user,
            bitcoind_password=bitcoind_password,
            listen=tuple(parse_host_port(each) for each in (listen or ["127.0.0.1:9735"])),
            config=_config(data_dir, config, set_ or []),
            store=store_kind(store),
            poll_seconds=poll_seconds,
        )
        uvloop.run(serve(settings, as_json))
    except LightningError as error:
        typer.echo(f"pyln-fast run: {error}", err=True)
        raise typer.Exit(1) from None


async def serve(settings: NodeSettings, as_json: bool) -> None:
    """Until a signal, `stop` over the socket, or an error that ends the node."""
    node = LightningNode(settings, DefaultEventHandler)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    starting = loop.create_task(node.start())
    stopping = loop.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    server = RpcServer(settings.data_dir, Api(node, stop.set))
    try:
        await server.start()
        typer.echo(ready_line(node, as_json))
        ended = loop.create_task(node.wait_stopped())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        ended.cancel()
    finally:
        stopping.cancel()
        await server.stop()
        await node.stop()


def ready_line(node: LightningNode, as_json: bool) -> str:
    node_id = node.node_id.hex()
    addresses = [f"{node_id}@{address}" for address in node.listening_addresses]
    if as_json:
        return json.dumps({"node_id": node_id, "addresses": addresses, "block_height": node.height})
    return f"node {node_id} at block {node.height}, listening at {', '.join(addresses) or 'no address'}"


def _network(name: str) -> Network:
    names = {"mainnet": Network.MAINNET, "testnet": Network.TESTNET, **{each.value: each for each in Network}}
    if name not in names:
        raise InvalidSettings(f"--network {name}: it is one of {', '.join(names)}")
    return names[name]


def _config(data_dir: Path, path: Path | None, assignments: list[str]) -> UserConfig:
    default = data_dir / CONFIG_FILE
    if path is None and default.exists():
        path = default
    config = UserConfig() if path is None else read_config(path)
    return override(config, assignments) if assignments else config
