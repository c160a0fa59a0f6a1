"""The torture's check is only worth what it catches: a ledger that adds up, and then one thing in it that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.torture.accounts import NAMES, Ledger, Observation, Payment

AB, BC = "ab" * 32, "bc" * 32
VALUE_SAT = 1_000_000
HALF_MSAT = 500 * VALUE_SAT
FEE = 1_000
PREIMAGES = [bytes([number]) * 32 for number in range(4)]
IDS = [f"{number:02x}" * 32 for number in range(4)]
HASHES = [hashlib.sha256(preimage).hexdigest() for preimage in PREIMAGES]
FORWARDED, DIRECT, REFUSED, NEVER = range(4)
OVER_BOB = "payment 00000000 of 7000 msat from alice to carol"
TO_ALICE = "payment 01010101 of 2500 msat from bob to alice"
TO_BOB = "payment 02020202 of 900 msat from carol to bob (wrong secret)"


def channel(channel_id: str, holder_msat: int, **changes: Any) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "state": "Normal",
        "is_usable": True,
        "channel_value_satoshis": VALUE_SAT,
        "holder_balance_msat": holder_msat,
        "counterparty_balance_msat": 1000 * VALUE_SAT - holder_msat,
        "pending_inbound_htlcs": 0,
        "pending_outbound_htlcs": 0,
        **changes,
    }


def channels(alice: int, bob_with_carol: int) -> dict[str, list[dict[str, Any]]]:
    """By what alice has more than half of the one channel, and bob of the other."""
    return {
        "alice": [channel(AB, HALF_MSAT + alice)],
        "bob": [channel(AB, HALF_MSAT - alice), channel(BC, HALF_MSAT + bob_with_carol)],
        "carol": [channel(BC, HALF_MSAT - bob_with_carol)],
    }


def sent(sequence: int, number: int, amount: int, fee: int) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "event": "PaymentSent",
        "payment_id": IDS[number],
        "payment_preimage": PREIMAGES[number].hex(),
        "payment_hash": HASHES[number],
        "amount_msat": amount,
        "fee_paid_msat": fee,
    }


def failed(sequence: int, number: int) -> dict[str, Any]:
    return {"sequence": sequence, "event": "PaymentFailed", "payment_id": IDS[number], "reason": "RecipientRejected"}


def claimed(sequence: int, number: int, amount: int) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "event": "PaymentClaimed",
        "payment_hash": HASHES[number],
        "amount_msat": amount,
    }


def forwarded(sequence: int, htlc_id: int = 0, fee: int = FEE) -> dict[str, Any]:
    incoming = [{"channel_id": AB, "htlc_id": htlc_id}]
    return {"sequence": sequence, "event": "PaymentForwarded", "prev_htlcs": incoming, "total_fee_earned_msat": fee}


def closed(sequence: int, reason: str) -> dict[str, Any]:
    return {"sequence": sequence, "event": "ChannelClosed", "reason": {"type": reason}}


def totals(**changes: int) -> dict[str, int]:
    nothing = dict.fromkeys(
        ("payments", "payments_sent", "paid_msat", "fees_paid_msat", "forwards", "fees_earned_msat"), 0
    )
    return {**nothing, **changes}


def world() -> tuple[Ledger, Observation]:
    """Alice has paid carol over bob, bob has paid alice, carol's payment to bob failed, and one was never begun."""
    ledger = Ledger()
    ledger.initial = channels(0, 0)
    ledger.ask(Payment(IDS[FORWARDED], HASHES[FORWARDED], "alice", "carol", 7000, begun=True))
    ledger.ask(Payment(IDS[DIRECT], HASHES[DIRECT], "bob", "alice", 2500, begun=True, decision="claim", held=True))
    ledger.ask(Payment(IDS[REFUSED], HASHES[REFUSED], "carol", "bob", 900, "wrong secret", begun=True))
    ledger.ask(Payment(IDS[NEVER], HASHES[NEVER], "carol", "alice", 900, begun=False))
    ledger.saw("alice", sent(1, FORWARDED, 7000, FEE))
    ledger.saw("carol", claimed(1, FORWARDED, 7000))
    ledger.saw("bob", forwarded(1))
    ledger.saw("bob", sent(2, DIRECT, 2500, 0))
    ledger.saw("alice", claimed(2, DIRECT, 2500))
    ledger.saw("carol", failed(2, REFUSED))
    seen = Observation(
        channels(2500 - 7000 - FEE, -7000),
        {
            IDS[FORWARDED]: ["fulfilled", FEE, PREIMAGES[FORWARDED].hex()],
            IDS[DIRECT]: ["fulfilled", 0, PREIMAGES[DIRECT].hex()],
            IDS[REFUSED]: ["failed", None, None],
            IDS[NEVER]: None,
        },
        {
            "alice": totals(payments=1, payments_sent=1, paid_msat=7000, fees_paid_msat=FEE),
            "bob": totals(payments=1, payments_sent=1, paid_msat=2500, forwards=1, fees_earned_msat=FEE),
            "carol": totals(payments=1),
        },
        {f"{AB}:0": True, f"{BC}:0": True},
    )
    return ledger, seen


def test_what_adds_up_has_no_findings() -> None:
    ledger, seen = world()
    # A node that dies before an event is handled tells it again.
    ledger.saw("alice", sent(1, FORWARDED, 7000, FEE))
    assert ledger.check(seen).lines == []
    assert ledger.outcomes() == (2, 1)
    assert ledger.unchecked() == []
    assert [ledger.expected_change(name) for name in NAMES] == [2500 - 7000 - FEE, FEE - 2500, 7000]


def test_a_close_that_both_wanted_is_none_that_was_forced() -> None:
    ledger, _ = world()
    ledger.saw("alice", closed(3, "LocallyInitiatedCooperativeClosure"))
    assert ledger.check_events(closing=True).lines == []
    reason = 'alice has closed a channel: {"type": "LocallyInitiatedCooperativeClosure"}'
    assert ledger.check_events().force_closes == [reason]
    ledger.saw("bob", closed(3, "CommitmentTxConfirmed"))
    reason = 'bob has closed a channel: {"type": "CommitmentTxConfirmed"}'
    assert ledger.check_events(closing=True).lines == [reason]


def _lose_an_event(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", {"sequence": 4, "event": "PaymentClaimable", "payment_hash": "00"})


def _change_an_event(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("alice", sent(1, FORWARDED, 7000, FEE + 1))


def _end_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("alice", sent(3, FORWARDED, 7000, FEE))


def _fail_what_was_sent(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", failed(3, DIRECT))


def _claim_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", claimed(3, FORWARDED, 7000))


def _forward_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", forwarded(3, fee=0))
    seen.totals["bob"]["forwards"] = 2


def _forget_an_end(ledger: Ledger, seen: Observation) -> None:
    ledger.books["carol"].ends.clear()


def _claim_what_failed(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", claimed(3, REFUSED, 900))


def _claim_less(ledger: Ledger, seen: Observation) -> None:
    ledger.books["carol"].claims[HASHES[FORWARDED]] = [(1, 6999)]


def _end_what_was_never_begun(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", failed(3, NEVER))


def _record_what_was_never_begun(ledger: Ledger, seen: Observation) -> None:
    seen.statuses[IDS[NEVER]] = ["pending", None, None]


def _lose_a_record(ledger: Ledger, seen: Observation) -> None:
    seen.statuses[IDS[DIRECT]] = None


def _record_another_end(ledger: Ledger, seen: Observation) -> None:
    seen.statuses[IDS[FORWARDED]] = ["failed", None, None]


def _record_another_fee(ledger: Ledger, seen: Observation) -> None:
    seen.statuses[IDS[FORWARDED]] = ["fulfilled", FEE - 1, PREIMAGES[FORWARDED].hex()]


def _lose_history(ledger: Ledger, seen: Observation) -> None:
    seen.totals["carol"]["payments"] = 0


def _fail_what_was_claimed(ledger: Ledger, seen: Observation) -> None:
    ledger.payments[IDS[REFUSED]] = replace(ledger.payments[IDS[REFUSED]], flaw="", decision="claim")


def _make_what_was_refused(ledger: Ledger, seen: Observation) -> None:
    ledger.payments[IDS[DIRECT]] = replace(ledger.payments[IDS[DIRECT]], decision="fail")


def _give_another_preimage(ledger: Ledger, seen: Observation) -> None:
    (end,) = ledger.books["bob"].ends[IDS[DIRECT]]
    ledger.books["bob"].ends[IDS[DIRECT]] = [replace(end, preimage="00" * 32)]
    seen.statuses[IDS[DIRECT]] = ["fulfilled", 0, "00" * 32]


def _move_a_msat(ledger: Ledger, seen: Observation) -> None:
    """From bob to carol: both sides of the channel agree."""
    seen.channels.update(channels(2500 - 7000 - FEE, -7001))


def _differ_by_a_msat(ledger: Ledger, seen: Observation) -> None:
    seen.channels["carol"][0]["counterparty_balance_msat"] += 1


def _force_close(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", closed(3, "HolderForceClosed"))


def _lose_a_channel(ledger: Ledger, seen: Observation) -> None:
    seen.channels["alice"].clear()


def _leave_a_channel_unusable(ledger: Ledger, seen: Observation) -> None:
    seen.channels["bob"][1].update(is_usable=False, state="Syncing(Normal)")


def _leave_an_htlc(ledger: Ledger, seen: Observation) -> None:
    seen.channels["carol"][0]["pending_inbound_htlcs"] = 1


def _spend_a_funding(ledger: Ledger, seen: Observation) -> None:
    seen.unspent[f"{BC}:0"] = False


def _end_a_stranger(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", {**failed(3, 0), "payment_id": "99" * 32})


def _claim_for_a_stranger(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", {**claimed(3, 0, 900), "payment_hash": "99" * 32})


def _charge_for_no_hop(ledger: Ledger, seen: Observation) -> None:
    (end,) = ledger.books["bob"].ends[IDS[DIRECT]]
    ledger.books["bob"].ends[IDS[DIRECT]] = [replace(end, fee_msat=1)]
    seen.statuses[IDS[DIRECT]] = ["fulfilled", 1, PREIMAGES[DIRECT].hex()]


def _leave_a_failed_one_pending(ledger: Ledger, seen: Observation) -> None:
    seen.statuses[IDS[REFUSED]] = ["pending", None, None]


def _earn_less_than_was_paid(ledger: Ledger, seen: Observation) -> None:
    ledger.books["bob"].fees_earned_msat = FEE - 1
    seen.totals["bob"]["fees_earned_msat"] = FEE - 1


LOST, TWICE, FORCE, MONEY, OTHER = "lost", "paid_twice", "force_closes", "unbalanced", "other"
DOCTORED: dict[Callable[[Ledger, Observation], None], dict[str, list[str]]] = {
    _lose_an_event: {LOST: ["carol has not told 1 of its events, 3 the first"]},
    _change_an_event: {OTHER: ["alice tells two different events with number 1"]},
    _end_twice: {TWICE: [f"{OVER_BOB} ended 2 times and was claimed 1 times"]},
    _fail_what_was_sent: {TWICE: [f"{TO_ALICE} ended 2 times and was claimed 1 times"]},
    _claim_twice: {TWICE: [f"{OVER_BOB} ended 1 times and was claimed 2 times"]},
    _forward_twice: {TWICE: [f"bob has forwarded HTLC 0 of {AB} twice"]},
    _forget_an_end: {LOST: [f"{TO_BOB} never ended"]},
    _claim_what_failed: {LOST: [f"{TO_BOB} failed, but bob has claimed 900 msat"]},
    _claim_less: {MONEY: [f"{OVER_BOB}: 7000 msat were sent, 6999 msat claimed"]},
    _end_what_was_never_begun: {
        OTHER: ["payment 03030303 of 900 msat from carol to alice was never begun, but there are 1 ends and 0 claims"]
    },
    _record_what_was_never_begun: {
        OTHER: ["payment 03030303 of 900 msat from carol to alice was never begun, but is on record as pending"]
    },
    _lose_a_record: {LOST: [f"{TO_ALICE} is on no record"]},
    _record_another_end: {OTHER: [f"{OVER_BOB} is failed on record, and was told to have ended otherwise"]},
    _record_another_fee: {OTHER: [f"{OVER_BOB}: fee and preimage on record are not those of its event"]},
    _lose_history: {MONEY: [f"carol has on record {totals()}, its events say {totals(payments=1)}"]},
    _fail_what_was_claimed: {
        LOST: ["payment 02020202 of 900 msat from carol to bob failed, although bob was told to claim it"]
    },
    _make_what_was_refused: {OTHER: [f"{TO_ALICE} was made, although it must fail: its payee refused it"]},
    _give_another_preimage: {OTHER: [f"{TO_ALICE}: the preimage is not that of its hash"]},
    _move_a_msat: {
        MONEY: [
            "bob's balance has changed by -1501 msat, and should by -1500",
            "carol's balance has changed by 7001 msat, and should by 7000",
        ]
    },
    _differ_by_a_msat: {MONEY: ["the two sides of channel bcbcbcbc differ in its balances"]},
    _force_close: {FORCE: ['bob has closed a channel: {"type": "HolderForceClosed"}']},
    _lose_a_channel: {FORCE: ["alice has lost channel abababab"]},
    _leave_a_channel_unusable: {OTHER: ["channel bcbcbcbc of bob is Syncing(Normal)"]},
    _leave_an_htlc: {LOST: ["channel bcbcbcbc of carol still holds HTLCs"]},
    _spend_a_funding: {FORCE: [f"{BC}:0 is spent"]},
    _claim_for_a_stranger: {OTHER: [f"carol has claimed a payment that nobody asked for: {'99' * 32}"]},
    _charge_for_no_hop: {MONEY: [f"{TO_ALICE} cost 1 msat, and has no hop between"]},
    _leave_a_failed_one_pending: {OTHER: [f"{TO_BOB} is pending on record"]},
    _earn_less_than_was_paid: {
        MONEY: ["bob has forwarded 1 payments for 999 msat, 1 were made over bob for 1000 msat"]
    },
    _end_a_stranger: {OTHER: [f"carol has ended a payment that nobody asked for: {'99' * 32}"]},
}


@pytest.mark.parametrize("doctor", DOCTORED, ids=lambda doctor: doctor.__name__.strip("_"))
def test_one_wrong_thing_is_found_by_name(doctor: Callable[[Ledger, Observation], None]) -> None:
    ledger, seen = world()
    doctor(ledger, seen)
    found = ledger.check(seen)
    expected = DOCTORED[doctor]
    # More may follow from it, in the sums.
    assert {kind: getattr(found, kind)[: len(lines)] for kind, lines in expected.items()} == expected
    # What is not checked off is looked at again.
    assert len(ledger.unchecked()) == 4
