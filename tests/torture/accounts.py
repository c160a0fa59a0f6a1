"""The torture's accounts: what was asked for, what the nodes have told of it over all their lives, and whether that
adds up. Nothing here knows a process: the same events and figures always give the same findings."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from tests.torture.coins import Coins, Tx

NAMES = ("alice", "bob", "carol")
SENT, CLAIMED, FAILED, FORWARDED = "PaymentSent", "PaymentClaimed", "PaymentFailed", "PaymentForwarded"


class Payment(msgspec.Struct):
    """What the harness wished for."""

    payment_id: str
    payment_hash: str
    payer: str
    payee: str
    amount_msat: int
    flaw: str = ""
    """It must fail."""
    decision: str = ""
    """`claim` or `fail`: what the payee was told to do with a payment that it held."""
    held: bool = False
    begun: bool | None = None
    """Whether its payer has said that it is durable; None: the payer died before it answered."""

    @property
    def is_forwarded(self) -> bool:
        return "bob" not in (self.payer, self.payee)


class End(msgspec.Struct, frozen=True):
    """One end of a payment that its payer has told."""

    sequence: int
    sent: bool
    amount_msat: int = 0
    fee_msat: int = 0
    preimage: str = ""


class Book:
    """What one node has told over all its lives."""

    def __init__(self) -> None:
        self.digests: dict[int, int] = {}
        """Of each event, by its durable number."""
        self.ends: dict[str, list[End]] = {}
        """By PaymentId."""
        self.claims: dict[str, list[tuple[int, int]]] = {}
        """(number of the event, amount) by payment hash."""
        self.forwards: Counter[tuple[str, int]] = Counter()
        """By the HTLC that came in."""
        self.fees_earned_msat = 0
        self.problems: list[str] = []


class Observation(msgspec.Struct):
    """What the nodes answer when all is quiet."""

    channels: dict[str, list[dict[str, Any]]]
    """Of each node, as `list-channels` has it."""
    statuses: dict[str, list[Any] | None]
    """By PaymentId: status, fee and preimage at the payer."""
    totals: dict[str, dict[str, int]]
    wallets: dict[str, dict[str, int]]
    """Of each node, as `balance` has it."""
    transactions: list[Tx]
    """In all blocks since the beginning."""
    waiting: list[str]
    """In the mempool, by txid."""


class Findings(msgspec.Struct):
    """Each is a line. All empty: everything held."""

    lost: list[str] = []
    paid_twice: list[str] = []
    force_closes: list[str] = []
    unbalanced: list[str] = []
    other: list[str] = []

    @property
    def lines(self) -> list[str]:
        return [*self.lost, *self.paid_twice, *self.force_closes, *self.unbalanced, *self.other]


class Ledger:
    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.books = {name: Book() for name in NAMES}
        self.coins = Coins()
        self.on_event: list[Callable[[str, dict[str, Any]], None]] = []
        self._checked: set[str] = set()

    def ask(self, payment: Payment) -> None:
        """Before its payer hears of it."""
        assert payment.payment_id not in self.payments
        self.payments[payment.payment_id] = payment

    def saw(self, name: str, record: dict[str, Any]) -> None:
        """An event of a node. The same number again is the same event again."""
        book = self.books[name]
        sequence, digest = record["sequence"], _digest(record)
        if sequence in book.digests:
            if book.digests[sequence] != digest:
                book.problems.append(f"{name} tells two different events with number {sequence}")
            return
        book.digests[sequence] = digest
        kind = record["event"]
        if kind == SENT:
            fee = record["fee_paid_msat"]
            end = End(sequence, True, record["amount_msat"], fee, record["payment_preimage"])
            book.ends.setdefault(record["payment_id"], []).append(end)
        elif kind == FAILED:
            book.ends.setdefault(record["payment_id"], []).append(End(sequence, False))
        elif kind == CLAIMED:
            book.claims.setdefault(record["payment_hash"], []).append((sequence, record["amount_msat"]))
        elif kind == FORWARDED:
            book.forwards.update((htlc["channel_id"], htlc["htlc_id"]) for htlc in record["prev_htlcs"])
            book.fees_earned_msat += record["total_fee_earned_msat"]
        book.problems += self.coins.saw(name, record)
        for listener in self.on_event:
            listener(name, record)

    def ends(self, payment: Payment) -> list[End]:
        return self.books[payment.payer].ends.get(payment.payment_id, [])

    def waiting(self) -> list[Payment]:
        """Begun, or perhaps begun, and not over."""
        return [each for each in self.payments.values() if each.begun is not False and not self.ends(each)]

    def begun(self) -> list[Payment]:
        return [each for each in self.payments.values() if each.begun]

    def outcomes(self) -> tuple[int, int]:
        """How many payments were made, and how many failed."""
        ends = [self.ends(each) for each in self.begun()]
        return sum(1 for each in ends if any(end.sent for end in each)), sum(
            1 for each in ends if each and not any(end.sent for end in each)
        )

    # --- does it add up

    def unchecked(self) -> list[Payment]:
        return [each for each in self.payments.values() if each.payment_id not in self._checked]

    def check(self, seen: Observation) -> Findings:
        """When all is quiet."""
        found = self.check_events()
        for payment in self.unchecked():
            self._check_status(found, payment, seen.statuses.get(payment.payment_id))
        self._check_records(found, seen.totals)
        self.coins.check(found, seen)
        self._check_balances(found, seen.channels)
        if not found.lines:
            self._checked.update(self.payments)
        return found

    def check_events(self) -> Findings:
        """The part that needs no answer of a node."""
        found = Findings()
        self._check_books(found)
        self.coins.check_events(found)
        for payment in self.payments.values():
            self._check_payment(found, payment)
        self._check_strangers(found)
        return found

    def _check_books(self, found: Findings) -> None:
        for name, book in self.books.items():
            found.other += book.problems
            if book.digests:
                numbers = range(min(book.digests), max(book.digests) + 1)
                missing = [number for number in numbers if number not in book.digests]
                if len(missing) > self.coins.untold(name):
                    found.lost.append(f"{name} has not told {len(missing)} of its events, {missing[0]} the first")
            twice = [htlc for htlc, count in book.forwards.items() if count > 1]
            found.paid_twice += [f"{name} has forwarded HTLC {number} of {channel} twice" for channel, number in twice]

    def _check_payment(self, found: Findings, payment: Payment) -> None:
        ends, what = self.ends(payment), _named(payment)
        claims = self.books[payment.payee].claims.get(payment.payment_hash, [])
        if not payment.begun:
            if ends or claims:
                found.other.append(f"{what} was never begun, but there are {len(ends)} ends and {len(claims)} claims")
            return
        if not ends:
            found.lost.append(f"{what} never ended")
            return
        if len(ends) > 1 or len(claims) > 1:
            found.paid_twice.append(f"{what} ended {len(ends)} times and was claimed {len(claims)} times")
            return
        (end,) = ends
        if not end.sent:
            if claims:
                found.lost.append(f"{what} failed, but {payment.payee} has claimed {claims[0][1]} msat")
            if payment.decision == "claim":
                found.lost.append(f"{what} failed, although {payment.payee} was told to claim it")
            return
        self._check_sent(found, payment, end, claims)

    def _check_sent(self, found: Findings, payment: Payment, end: End, claims: list[tuple[int, int]]) -> None:
        what = _named(payment)
        if [amount for _, amount in claims] != [payment.amount_msat] or end.amount_msat != payment.amount_msat:
            got = claims[0][1] if claims else 0
            found.unbalanced.append(f"{what}: {end.amount_msat} msat were sent, {got} msat claimed")
        if hashlib.sha256(bytes.fromhex(end.preimage)).hexdigest() != payment.payment_hash:
            found.other.append(f"{what}: the preimage is not that of its hash")
        if payment.flaw or payment.decision == "fail":
            found.other.append(f"{what} was made, although it must fail: {payment.flaw or 'its payee refused it'}")
        if not payment.is_forwarded and end.fee_msat:
            found.unbalanced.append(f"{what} cost {end.fee_msat} msat, and has no hop between")

    def _check_status(self, found: Findings, payment: Payment, status: list[Any] | None) -> None:
        """The database has the same end on record as the event has told."""
        what, ends = _named(payment), self.ends(payment)
        if not payment.begun:
            if status is not None:
                found.other.append(f"{what} was never begun, but is on record as {status[0]}")
        elif status is None:
            found.lost.append(f"{what} is on no record")
        elif ends and (status[0] == "fulfilled") != ends[0].sent:
            found.other.append(f"{what} is {status[0]} on record, and was told to have ended otherwise")
        elif ends and ends[0].sent and status != ["fulfilled", ends[0].fee_msat, ends[0].preimage]:
            found.other.append(f"{what}: fee and preimage on record are not those of its event")
        elif ends and not ends[0].sent and status[0] != "failed":
            found.other.append(f"{what} is {status[0]} on record")

    def _check_strangers(self, found: Findings) -> None:
        """Nobody ends or claims what nobody asked for."""
        hashes = {(each.payee, each.payment_hash) for each in self.payments.values()}
        for name, book in self.books.items():
            unknown = [each for each in book.ends if each not in self.payments or self.payments[each].payer != name]
            found.other += [f"{name} has ended a payment that nobody asked for: {each}" for each in unknown]
            claimed = [each for each in book.claims if (name, each) not in hashes]
            found.other += [f"{name} has claimed a payment that nobody asked for: {each}" for each in claimed]

    def _check_records(self, found: Findings, totals: dict[str, dict[str, int]]) -> None:
        """The whole history in each database, in sums."""
        for name, book in self.books.items():
            mine = [each for each in self.begun() if each.payer == name]
            sent = [end for each in mine for end in self.ends(each) if end.sent]
            expected = {
                "payments": len(mine),
                "payments_sent": len(sent),
                "paid_msat": sum(end.amount_msat for end in sent),
                "fees_paid_msat": sum(end.fee_msat for end in sent),
                "forwards": sum(book.forwards.values()),
                "fees_earned_msat": book.fees_earned_msat,
            }
            if totals[name] != expected:
                found.unbalanced.append(f"{name} has on record {totals[name]}, its events say {expected}")
        over_bob = [end for each in self.begun() if each.is_forwarded for end in self.ends(each) if end.sent]
        fees = sum(end.fee_msat for end in over_bob)
        bob = self.books["bob"]
        if (bob.forwards.total(), bob.fees_earned_msat) != (len(over_bob), fees):
            found.unbalanced.append(
                f"bob has forwarded {bob.forwards.total()} payments for {bob.fees_earned_msat} msat,"
                f" {len(over_bob)} were made over bob for {fees} msat"
            )

    def _check_balances(self, found: Findings, channels: dict[str, list[dict[str, Any]]]) -> None:
        sides: dict[str, list[dict[str, Any]]] = {}
        for each in (channel for name in NAMES for channel in channels[name]):
            sides.setdefault(each["channel_id"], []).append(each)
        for channel_id, both in sides.items():
            if len(both) != 2:
                continue
            mine, theirs = both
            value, balance = 1000 * mine["channel_value_satoshis"], mine["holder_balance_msat"]
            if balance != theirs["counterparty_balance_msat"] or balance + theirs["holder_balance_msat"] != value:
                found.unbalanced.append(f"the two sides of channel {channel_id[:8]} differ in its balances")
        for name in NAMES:
            change = self.coins.balance_msat(channels[name]) - self.coins.in_channels_msat(name)
            if change != (expected := self.expected_change(name)):
                found.unbalanced.append(f"{name}'s balance has changed by {change} msat, and should by {expected}")

    def expected_change(self, name: str) -> int:
        """In msat: what it was asked to be paid and has claimed, with the fees that it earned, less what it paid."""
        change = self.books[name].fees_earned_msat
        for payment in self.begun():
            if payment.payee == name and self.books[name].claims.get(payment.payment_hash):
                change += payment.amount_msat
            if payment.payer == name:
                change -= sum(end.amount_msat + end.fee_msat for end in self.ends(payment)[:1] if end.sent)
        return change


def _named(payment: Payment) -> str:
    what = f"payment {payment.payment_id[:8]} of {payment.amount_msat} msat from {payment.payer} to {payment.payee}"
    return f"{what} ({payment.flaw})" if payment.flaw else what


def _digest(record: dict[str, Any]) -> int:
    text = json.dumps(record, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
