"""`pyln-fast cli`: asks the node that runs in a data directory, and prints its answer as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pyln_fast.errors import LightningError
from pyln_fast.rpc.client import call

Limit = Annotated[int | None, typer.Option(help="A page of so many at most, up to 1000; the answer says `next`.")]
After = Annotated[str | None, typer.Option(help="The `next` of the last page: goes on behind it.")]

client = typer.Typer(no_args_is_help=True, help="Ask a node that runs on this machine.")
_directory: list[Path] = []


@client.callback()
def root(data_dir: Annotated[Path, typer.Option(help="The node's data directory.")]) -> None:
    _directory[:] = [data_dir]


def _ask(method: str, **params: Any) -> None:
    """Prints the result; one line and exit code 1 for an error."""
    given = {name: value for name, value in params.items() if value is not None}
    try:
        typer.echo(json.dumps(call(_directory[0], method, **given), indent=2))
    except LightningError as error:
        typer.echo(f"pyln-fast cli {method}: {error}", err=True)
        raise typer.Exit(1) from None


@client.command()
def getinfo() -> None:
    """The node's id, addresses and height."""
    _ask("getinfo")


@client.command()
def connect(address: Annotated[str, typer.Argument(help="node_id@host:port")]) -> None:
    """Connect to a peer."""
    _ask("connect", address=address)


@client.command()
def disconnect(node_id: str) -> None:
    """Disconnect from a peer."""
    _ask("disconnect", node_id=node_id)


@client.command("list-peers")
def list_peers() -> None:
    """Peers that are connected or remembered."""
    _ask("list-peers")


@client.command("open")
def open_channel(
    node_id: Annotated[str, typer.Argument(help="node_id, or node_id@host:port to connect first")],
    amount_sat: int,
    push_msat: Annotated[int, typer.Option(help="A gift to the peer.")] = 0,
    wait: Annotated[bool, typer.Option(help="Until the channel can be used.")] = False,
) -> None:
    """Open a channel, paid by the wallet."""
    _ask("open", node_id=node_id, amount_sat=amount_sat, push_msat=push_msat, wait=wait)


@client.command("list-channels")
def list_channels() -> None:
    """Every channel that is not over."""
    _ask("list-channels")


@client.command()
def close(
    channel_id: str,
    force: Annotated[bool, typer.Option(help="Without the peer, by broadcasting the newest commitment.")] = False,
    feerate_per_kw: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Close a channel."""
    _ask("close", channel_id=channel_id, force=force, feerate_per_kw=feerate_per_kw)


@client.command()
def invoice(
    amount_msat: Annotated[int | None, typer.Argument(help="Without one the payer chooses.")] = None,
    description: Annotated[str, typer.Option()] = "",
    expiry_secs: Annotated[int | None, typer.Option()] = None,
    payment_hash: Annotated[str | None, typer.Option(help="Of a preimage of your own.")] = None,
) -> None:
    """An invoice (BOLT 11)."""
    _ask(
        "invoice",
        amount_msat=amount_msat,
        description=description,
        expiry_secs=expiry_secs,
        payment_hash=payment_hash,
    )


@client.command()
def decode(invoice: str) -> None:
    """What an invoice says."""
    _ask("decode", invoice=invoice)


@client.command()
def pay(
    invoice: str,
    amount_msat: Annotated[int | None, typer.Option(help="For an invoice without an amount.")] = None,
    payment_id: Annotated[str | None, typer.Option(help="32 bytes of hex: never pays twice.")] = None,
    retry_for_secs: Annotated[int, typer.Option()] = 60,
    wait: Annotated[bool, typer.Option(help="For the result.")] = True,
) -> None:
    """Pay an invoice."""
    _ask(
        "pay",
        invoice=invoice,
        amount_msat=amount_msat,
        payment_id=payment_id,
        retry_for_secs=retry_for_secs,
        wait=wait,
    )


@client.command("list-payments")
def list_payments(limit: Limit = None, after: After = None) -> None:
    """Every payment that this node made or is making, the oldest first. A page of them is in the order of their ids."""
    _ask("list-payments", limit=limit, after=after)


@client.command("list-forwards")
def list_forwards(limit: Limit = None, after: After = None) -> None:
    """What we forwarded, and what it earned, the oldest first. A page of them is in the order of their channels."""
    _ask("list-forwards", limit=limit, after=after)


@client.command()
def claim(preimage: str) -> None:
    """Claim a payment to a payment hash of your own."""
    _ask("claim", preimage=preimage)


@client.command()
def fail(payment_hash: str) -> None:
    """Refuse a payment that waits to be claimed."""
    _ask("fail", payment_hash=payment_hash)


@client.command()
def newaddress() -> None:
    """An address of the wallet that was never given out."""
    _ask("newaddress")


@client.command()
def balance() -> None:
    """Of the wallet, and in channels."""
    _ask("balance")


@client.command()
def send(address: str, amount_sat: int, feerate_per_kw: Annotated[int | None, typer.Option()] = None) -> None:
    """Pay an address from the wallet."""
    _ask("send", address=address, amount_sat=amount_sat, feerate_per_kw=feerate_per_kw)


@client.command()
def events(
    since: Annotated[int, typer.Option(help="The `next` of the last answer.")] = 0,
    wait_secs: Annotated[float, typer.Option(help="For one to come.")] = 0,
) -> None:
    """What happened since the node started."""
    _ask("events", since=since, wait_secs=wait_secs)


@client.command()
def stop() -> None:
    """Stop the node."""
    _ask("stop")


@client.command()
def words() -> None:
    """The 24 words that are the node's seed and its wallet. Whoever reads them has the money."""
    from pyln_fast.runtime.entropy import load_or_create_seed, mnemonic_words

    try:
        typer.echo(mnemonic_words(load_or_create_seed(_directory[0], may_create=False)))
    except LightningError as error:
        typer.echo(f"pyln-fast cli words: {error}", err=True)
        raise typer.Exit(1) from None
