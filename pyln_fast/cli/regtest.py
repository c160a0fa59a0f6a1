"""`pyln-fast regtest`: the embedded regtest node as a process, with Bitcoin Core's JSON-RPC on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyln_fast.testing.regtest import RegtestServer

_DEFAULT_PORT = 18443


def regtest(
    data_dir: Annotated[Path, typer.Option(help="Blocks, the faucet's seed and the cookie file.")] = Path("regtest"),
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.")] = _DEFAULT_PORT,
    rpc_user: Annotated[str | None, typer.Option(help="Beside the cookie file.")] = None,
    rpc_password: Annotated[str | None, typer.Option()] = None,
    premine: Annotated[int, typer.Option(help="Blocks for the faucet, if the chain is new.")] = 120,
) -> None:
    """A regtest chain to try a node on: Bitcoin Core's consensus engine, mempool policy and JSON-RPC, in one process.

    Prints one line of JSON when it is ready; `stop` or a signal ends it.
    """
    try:
        from pyln_fast.testing.regtest import RegtestNode, RegtestServer
        from pyln_fast.testing.regtest.block_store import DataDirectoryInUse
    except ImportError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    server = RegtestServer(
        data_dir,
        port=port,
        user=rpc_user,
        password=rpc_password,
        make_node=lambda: RegtestNode(data_dir, premine=premine),
    )
    try:
        asyncio.run(_serve(server))
    except (DataDirectoryInUse, OSError) as error:
        typer.echo(f"pyln-fast regtest: {error}", err=True)
        raise typer.Exit(1) from None


async def _serve(server: RegtestServer) -> None:
    try:
        await server.start()
        ready = {"url": server.url, "cookie": str(server.cookie_path), "height": server.node.height}
        typer.echo(json.dumps(ready))
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, done.set)
        await asyncio.wait(
            [asyncio.ensure_future(done.wait()), asyncio.ensure_future(server.wait_until_stopped())],
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        await server.stop()
