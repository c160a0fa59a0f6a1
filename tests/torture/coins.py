"""The torture's accounts of coins: which channels were asked for, what each node has told of them over all its lives,
and whether wallets, channels and the blocks agree to the satoshi. As `accounts.py`, nothing here knows a process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from tests.torture.accounts import Findings, Observation

REQUESTED, PENDING, CLOSED = "OpenChannelRequest", "ChannelPending", "ChannelClosed"
COOPERATIVE = "CooperativeClosure"
"""The end of the name of each reason for a close that both sides wanted."""
DUST_SAT = 354
"""The nodes' dust limit: an output below it is left out."""
MOST_FEERATE_PER_KW = 1600
"""The harness never makes the estimates higher."""
FEE_SLACK_SAT = 1000
"""Above that: change that would be dust, and what is lost of balances at a close, are less."""


class Tx(msgspec.Struct, frozen=True):
    """A transaction in a block, but no coinbase."""

    txid: str
    spends: tuple[str, ...]
    """Outpoints, `txid:vout`."""
    outputs_sat: tuple[int, ...]
    fee_sat: int
    weight: int


class Opening(msgspec.Struct):
    """What the harness wished for, and what came of it."""

    user_channel_id: int
    opener: str
    acceptor: str
    value_sat: int
    push_msat: int
    refused: bool = False
    """The opener's node has said that it will not: there must be no such channel."""
    funding_txo: str = ""
    """Once its opener has told that it is funded. Until then a crash of either may undo the opening."""
    channel_id: str = ""
    closing: bool = False
    """A close was asked for."""
    final_msat: dict[str, int] = {}
    """The balance of each side at the close, as it has told."""

    @property
    def is_open(self) -> bool:
        return bool(self.funding_txo) and not self.closing

    @property
    def sides(self) -> tuple[str, str]:
        return self.opener, self.acceptor

    def stake_msat(self, name: str) -> int:
        """What the side began with."""
        return self.push_msat if name == self.acceptor else 1000 * self.value_sat - self.push_msat


class Coins:
    """Beside the ledger of payments: channels and what is on chain."""

    def __init__(self) -> None:
        self.given_sat: dict[str, int] = {}
        """What the harness has paid to each wallet."""
        self.gifts: set[str] = set()
        """The transactions that did, by txid."""
        self.openings: dict[int, Opening] = {}
        """By user_channel_id."""
        self.by_channel: dict[str, Opening] = {}
        self.accepted: dict[str, tuple[str, str]] = {}
        """By channel id: who has accepted it, and the funding."""
        self._requests: Counter[str] = Counter()
        self._closes: list[tuple[str, dict[str, Any]]] = []

    def ask(self, opening: Opening) -> None:
        """Before its opener hears of it."""
        assert opening.user_channel_id not in self.openings
        self.openings[opening.user_channel_id] = opening

    def saw(self, name: str, record: dict[str, Any]) -> list[str]:
        """An event, seen for the first time. Returns what is wrong with it."""
        if record["event"] == CLOSED:
            self._closes.append((name, record))
            opening = self.by_channel.get(record["channel_id"])
            if opening is not None:
                opening.final_msat[name] = record["last_local_balance_msat"]
        elif record["event"] == REQUESTED:
            self._requests[name] += 1
        elif record["event"] == PENDING:
            return self._saw_pending(name, record)
        return []

    def _saw_pending(self, name: str, record: dict[str, Any]) -> list[str]:
        channel_id, outpoint = record["channel_id"], record["funding_txo"]
        opening = self.openings.get(record["user_channel_id"])
        if opening is None or opening.opener != name:
            self.accepted[channel_id] = name, outpoint
            return []
        if opening.funding_txo:
            return [f"{name} has funded {_named(opening)} twice"]
        opening.funding_txo, opening.channel_id = outpoint, channel_id
        self.by_channel[channel_id] = opening
        return []

    def untold(self, name: str) -> int:
        """At most so many events with a number were never offered by a node: an acceptor that dies forgets the request
        for a channel, alone of all events."""
        asked = sum(1 for each in self.openings.values() if each.acceptor == name and not each.refused)
        return asked - self._requests[name]

    @property
    def made(self) -> list[Opening]:
        return list(self.by_channel.values())

    @property
    def used(self) -> int:
        """Channels that were paid through: at their close the sides had not what they began with."""
        sides = ((each, name, balance) for each in self.made for name, balance in each.final_msat.items())
        return len({each.channel_id for each, name, balance in sides if balance != each.stake_msat(name)})

    @property
    def undone(self) -> int:
        """Openings that were begun and came to nothing."""
        return sum(1 for each in self.openings.values() if not each.refused and not each.funding_txo)

    @property
    def abandoned(self) -> int:
        """Those that the acceptor had signed and the opener has forgotten: nothing was ever on chain."""
        return sum(1 for channel_id in self.accepted if channel_id not in self.by_channel)

    def open_from(self, opener: str, acceptor: str) -> list[Opening]:
        return [each for each in self.made if each.is_open and (opener, acceptor) == each.sides]

    def are_decided(self, channels: dict[str, list[dict[str, Any]]]) -> bool:
        """Every node's channels: whether each is funded; what was undone is over."""
        concerned = self._without_given_up(channels)
        return all(each["channel_id"] in self.by_channel for mine in concerned.values() for each in mine)

    def _without_given_up(self, channels: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        """An acceptor keeps what its opener has forgotten, for the funding might still come; here it never does."""

        def is_given_up(name: str, each: dict[str, Any]) -> bool:
            channel_id = each["channel_id"]
            acceptor, _ = self.accepted.get(channel_id, ("", ""))
            return acceptor == name and channel_id not in self.by_channel and each["state"] == "Closing"

        return {name: [each for each in mine if not is_given_up(name, each)] for name, mine in channels.items()}

    def is_settled(self, channels: dict[str, list[dict[str, Any]]]) -> bool:
        """Every node's channels: whether those that are open can be used and hold no HTLC, and all others are gone."""
        wanted = [(name, each.channel_id) for each in self.made if each.is_open for name in each.sides]
        found = [(name, each) for name, mine in self._without_given_up(channels).items() for each in mine]
        usable = [(name, each["channel_id"]) for name, each in found if is_idle(each)]
        return len(usable) == len(found) and sorted(usable) == sorted(wanted)

    # --- does it add up

    def in_channels_msat(self, name: str) -> int:
        """What a node has brought into its channels and not taken out by closes: payments aside, it is there."""
        mine = [each for each in self.made if name in each.sides]
        return sum(each.stake_msat(name) - each.final_msat.get(name, 0) for each in mine)

    def balance_msat(self, channels: list[dict[str, Any]]) -> int:
        """What one node says that it has in them."""
        return sum(each["holder_balance_msat"] for each in channels if each["channel_id"] in self.by_channel)

    def check(self, found: Findings, seen: Observation) -> None:
        """When all is quiet and nothing waits for a block."""
        chain = Chain(seen.transactions)
        found.other += [f"{txid} is in no block yet" for txid in seen.waiting]
        for opening in self.made:
            self._check_funding(found, opening, chain)
            if opening.closing:
                self._check_close(found, opening, chain)
            else:
                self._check_open(found, opening, chain)
        self._check_states(found, seen.channels)
        self._check_transactions(found, chain)
        self._check_wallets(found, seen.wallets, chain)

    def check_events(self, found: Findings) -> None:
        """The part that needs no answer of a node."""
        for opening in self.openings.values():
            if opening.refused and opening.funding_txo:
                found.other.append(f"{_named(opening)} was refused, and is funded")
        for name, record in self._closes:
            opening = self.by_channel.get(record["channel_id"])
            reason = json.dumps(record["reason"])
            if opening is None:
                if record["channel_id"] not in self.accepted and not self._was_no_channel(name, record):
                    found.force_closes.append(f"{name} has closed a channel that nobody asked for: {reason}")
            elif not opening.closing:
                found.force_closes.append(f"{name} has closed {_named(opening)}: {reason}")
            elif not record["reason"]["type"].endswith(COOPERATIVE):
                found.force_closes.append(f"{name} has closed {_named(opening)} by force: {reason}")
        for name in {name for name, _ in self._closes}:
            ids = [record["channel_id"] for each, record in self._closes if each == name]
            twice = {channel_id for channel_id in ids if ids.count(channel_id) > 1}
            found.other += [f"{name} has closed channel {channel_id[:8]} twice" for channel_id in sorted(twice)]

    def _was_no_channel(self, name: str, record: dict[str, Any]) -> bool:
        """An opening that came to nothing: its opener has never told that it is funded, or it was never signed."""
        opening = self.openings.get(record["user_channel_id"])
        if opening is not None and opening.opener == name:
            return not opening.funding_txo
        return record["channel_funding_txo"] is None

    def _check_funding(self, found: Findings, opening: Opening, chain: Chain) -> None:
        what = _named(opening)
        if self.accepted.get(opening.channel_id) != (opening.acceptor, opening.funding_txo):
            found.lost.append(f"{opening.acceptor} knows nothing of {what}")
        txid, _, vout = opening.funding_txo.partition(":")
        tx = chain.transactions.get(txid)
        if tx is None:
            found.lost.append(f"the funding of {what} is in no block")
        elif tx.outputs_sat[int(vout)] != opening.value_sat:
            found.unbalanced.append(f"the funding of {what} has {tx.outputs_sat[int(vout)]} sat")

    def _check_open(self, found: Findings, opening: Opening, chain: Chain) -> None:
        spend = chain.spends.get(opening.funding_txo)
        if spend is not None:
            found.force_closes.append(f"the funding of {_named(opening)} is spent by {spend.txid}")

    def _check_close(self, found: Findings, opening: Opening, chain: Chain) -> None:
        """BOLT 3, Closing Transaction: each side gets its whole satoshis, less the fee for the opener."""
        what, final = _named(opening), opening.final_msat
        spend = chain.spends.get(opening.funding_txo)
        silent = [name for name in opening.sides if name not in final]
        found.other += [f"{name} has not told that {what} is closed" for name in silent]
        if spend is None:
            found.other.append(f"no block has a closing transaction of {what}")
        if spend is None or silent:
            return
        if sum(final.values()) != 1000 * opening.value_sat:
            found.unbalanced.append(f"the two sides of {what} differ in its balances at the close: {final}")
        due = closing_sat(opening, spend)
        fee = final[opening.opener] // 1000 - due[opening.opener]
        outputs = sorted(each for each in due.values() if each)
        if sorted(spend.outputs_sat) != outputs or len(spend.spends) != 1 or not 0 < fee <= most_fee_sat(spend):
            found.unbalanced.append(f"the close of {what} pays {list(spend.outputs_sat)} sat of {final} msat")

    def _check_states(self, found: Findings, channels: dict[str, list[dict[str, Any]]]) -> None:
        for name, mine in self._without_given_up(channels).items():
            now = {each["channel_id"]: each for each in mine}
            for opening in [each for each in self.made if name in each.sides]:
                state, what = now.pop(opening.channel_id, None), f"channel {opening.channel_id[:8]}"
                if opening.closing:
                    if state is not None:
                        found.other.append(f"{what} of {name} is closed, and still {state['state']}")
                elif state is None:
                    found.force_closes.append(f"{name} has lost {what}")
                elif not state["is_usable"]:
                    found.other.append(f"{what} of {name} is {state['state']}")
                elif not is_idle(state):
                    found.lost.append(f"{what} of {name} still holds HTLCs")
            found.other += [f"channel {each[:8]} of {name} was asked for by nobody" for each in now]

    def _check_transactions(self, found: Findings, chain: Chain) -> None:
        """No coin moves but for what was asked for: no commitment, no claim, no funding that its opener forgot."""
        known = set()
        for opening in self.made:
            known.add(opening.funding_txo.partition(":")[0])
            if opening.closing and (spend := chain.spends.get(opening.funding_txo)) is not None:
                known.add(spend.txid)
        for tx in chain.transactions.values():
            if tx.txid in self.gifts:
                continue
            if tx.txid not in known:
                found.lost.append(f"transaction {tx.txid} is none that anybody asked for")
            if tx.fee_sat > most_fee_sat(tx):
                found.lost.append(f"transaction {tx.txid} pays a fee of {tx.fee_sat} sat for a weight of {tx.weight}")

    def _check_wallets(self, found: Findings, wallets: dict[str, dict[str, int]], chain: Chain) -> None:
        for name, wallet in wallets.items():
            parts = {kind: wallet[f"{kind}_sat"] for kind in ("unconfirmed", "untrusted", "immature", "reserved")}
            found.lost += [f"{name}'s wallet has {sat} sat {kind}" for kind, sat in parts.items() if sat]
            has, due = wallet["confirmed_sat"] + sum(parts.values()), self.due_sat(name, chain)
            if has != due:
                found.unbalanced.append(f"{name}'s wallet has {has} sat, and should have {due}")

    def due_sat(self, name: str, chain: Chain) -> int:
        """What was given to a wallet, less the fundings with the fees that the blocks say, and what closes paid."""
        due = self.given_sat[name]
        for opening in self.made:
            funding = chain.transactions.get(opening.funding_txo.partition(":")[0])
            if opening.opener == name and funding is not None:
                due -= opening.value_sat + funding.fee_sat
            spend = chain.spends.get(opening.funding_txo)
            if opening.closing and spend is not None and name in opening.sides:
                due += closing_sat(opening, spend)[name]
        return due


class Chain:
    """The blocks since the beginning, by what is looked for."""

    def __init__(self, transactions: Iterable[Tx]) -> None:
        self.transactions = {tx.txid: tx for tx in transactions}
        self.spends = {outpoint: tx for tx in self.transactions.values() for outpoint in tx.spends}


def closing_sat(opening: Opening, spend: Tx) -> dict[str, int]:
    """What each side gets: the acceptor all of its whole satoshis, the opener the rest, for it pays the fee."""
    whole = opening.final_msat.get(opening.acceptor, 0) // 1000
    due = whole if whole >= DUST_SAT else 0
    return {opening.opener: sum(spend.outputs_sat) - due, opening.acceptor: due}


def most_fee_sat(tx: Tx) -> int:
    return tx.weight * MOST_FEERATE_PER_KW // 1000 + FEE_SLACK_SAT


def is_idle(state: dict[str, Any]) -> bool:
    return state["is_usable"] and not state["pending_inbound_htlcs"] + state["pending_outbound_htlcs"]


def transactions_of(block: dict[str, Any]) -> Iterator[Tx]:
    """`getblock` with verbosity 2."""
    for entry in block["tx"][1:]:
        spends = tuple(f"{each['txid']}:{each['vout']}" for each in entry["vin"])
        outputs = tuple(_sat(each["value"]) for each in entry["vout"])
        yield Tx(entry["txid"], spends, outputs, _sat(entry["fee"]), entry["weight"])


def _sat(btc: Any) -> int:
    return round(btc * 10**8)


def _named(opening: Opening) -> str:
    number = opening.channel_id[:8] or "that is not funded"
    return f"channel {number} of {opening.value_sat} sat from {opening.opener} to {opening.acceptor}"
