"""The torture's check is only worth what it catches: a ledger that adds up, and then one thing in it that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tests.torture.accounts import NAMES, Ledger, Observation, Payment
from tests.torture.coins import Opening, Tx, transactions_of

AB, BC, DD = "ab" * 32, "bc" * 32, "dd" * 32
VALUE_SAT = 1_000_000
HALF_MSAT = 500 * VALUE_SAT
FEE = 1_000
PREIMAGES = [bytes([number]) * 32 for number in range(4)]
IDS = [f"{number:02x}" * 32 for number in range(4)]
HASHES = [hashlib.sha256(preimage).hexdigest() for preimage in PREIMAGES]
FORWARDED, DIRECT, REFUSED, NEVER = range(4)
UNDONE = 3
"""The user_channel_id of an opening of which nothing came."""
FUNDED_AB, FUNDED_BC, CLOSED_BC, GIFT = "f1" * 32, "f2" * 32, "c2" * 32, "91" * 32
FUNDING_FEE, CLOSING_FEE = 300, 250
GIVEN = 3 * VALUE_SAT
OVER_BOB = "payment 00000000 of 7000 msat from alice to carol"
TO_ALICE = "payment 01010101 of 2500 msat from bob to alice"
OF_AB = f"channel abababab of {VALUE_SAT} sat from alice to bob"
OF_BC = f"channel bcbcbcbc of {VALUE_SAT} sat from bob to carol"
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


def closed(sequence: int, channel_id: str, balance: int, reason: str = "LocallyInitiatedCooperativeClosure") -> Any:
    return {
        "sequence": sequence,
        "event": "ChannelClosed",
        "channel_id": channel_id,
        "user_channel_id": 0,
        "reason": {"type": reason},
        "channel_funding_txo": f"{channel_id}:0",
        "last_local_balance_msat": balance,
    }


def pending(sequence: int, channel_id: str, funding: str, user_channel_id: int = 0) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "event": "ChannelPending",
        "channel_id": channel_id,
        "user_channel_id": user_channel_id,
        "funding_txo": f"{funding}:0",
    }


def wallet(confirmed: int) -> dict[str, int]:
    others = ("unconfirmed_sat", "untrusted_sat", "immature_sat", "reserved_sat")
    return {"confirmed_sat": confirmed, **dict.fromkeys(others, 0)}


def totals(**changes: int) -> dict[str, int]:
    nothing = dict.fromkeys(
        ("payments", "payments_sent", "paid_msat", "fees_paid_msat", "forwards", "fees_earned_msat"), 0
    )
    return {**nothing, **changes}


def world() -> tuple[Ledger, Observation]:
    """Alice has paid carol over bob, bob has paid alice, carol's payment to bob failed, and one was never begun.

    Alice has opened the channel with bob, and bob that with carol; another opening of bob's a kill has undone."""
    ledger = Ledger()
    coins = ledger.coins
    coins.given_sat, coins.gifts = dict.fromkeys(NAMES, GIVEN), {GIFT}
    coins.ask(Opening(1, "alice", "bob", VALUE_SAT, HALF_MSAT))
    coins.ask(Opening(2, "bob", "carol", VALUE_SAT, HALF_MSAT))
    coins.ask(Opening(UNDONE, "bob", "alice", VALUE_SAT, 0))
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
    ledger.saw("alice", pending(3, AB, FUNDED_AB, 1))
    ledger.saw("bob", pending(3, AB, FUNDED_AB))
    ledger.saw("bob", pending(4, BC, FUNDED_BC, 2))
    ledger.saw("carol", pending(3, BC, FUNDED_BC))
    # The acceptor had signed, and the opener died before it knew.
    ledger.saw("alice", pending(4, DD, "f3" * 32))
    ledger.saw("alice", closed(5, DD, 0, "CounterpartyForceClosed"))
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
        {
            "alice": wallet(GIVEN - VALUE_SAT - FUNDING_FEE),
            "bob": wallet(GIVEN - VALUE_SAT - FUNDING_FEE),
            "carol": wallet(GIVEN),
        },
        [
            Tx(GIFT, ("90" * 32 + ":0",), (GIVEN, GIVEN, GIVEN), 5_000, 700),
            Tx(FUNDED_AB, (f"{GIFT}:0",), (VALUE_SAT, GIVEN - VALUE_SAT - FUNDING_FEE), FUNDING_FEE, 600),
            Tx(FUNDED_BC, (f"{GIFT}:1",), (VALUE_SAT, GIVEN - VALUE_SAT - FUNDING_FEE), FUNDING_FEE, 600),
        ],
        [],
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


def close(ledger: Ledger, seen: Observation) -> None:
    """The channel of bob and carol, as both wanted: bob has opened it and pays."""
    ledger.coins.by_channel[BC].closing = True
    ledger.saw("bob", closed(5, BC, HALF_MSAT - 7000))
    ledger.saw("carol", closed(4, BC, HALF_MSAT + 7000, "CounterpartyInitiatedCooperativeClosure"))
    seen.channels["carol"].clear()
    del seen.channels["bob"][1]
    bob, carol = VALUE_SAT // 2 - 7 - CLOSING_FEE, VALUE_SAT // 2 + 7
    seen.transactions.append(Tx(CLOSED_BC, (f"{FUNDED_BC}:0",), (bob, carol), CLOSING_FEE, 680))
    seen.wallets["bob"]["confirmed_sat"] += bob
    seen.wallets["carol"]["confirmed_sat"] += carol


def test_a_close_that_was_asked_for_moves_the_balances_into_the_wallets() -> None:
    ledger, seen = world()
    close(ledger, seen)
    assert ledger.check(seen).lines == []
    assert ledger.coins.open_from("bob", "carol") == []
    assert ledger.coins.open_from("alice", "bob") == [ledger.coins.by_channel[AB]]
    assert ledger.coins.used == 1


def test_openings_are_counted_by_what_came_of_them() -> None:
    ledger, _ = world()
    coins = ledger.coins
    assert ([each.channel_id for each in coins.made], coins.undone, coins.abandoned) == ([AB, BC], 1, 1)
    coins.openings[UNDONE].refused = True
    assert coins.undone == 0


def test_an_acceptor_that_dies_may_lose_the_request_for_a_channel_alone() -> None:
    ledger, _ = world()
    # Alice is asked for one channel, and has told three events too few.
    ledger.saw("alice", failed(7, 0))
    assert ledger.check_events().lost == []
    ledger.saw("alice", {"sequence": 9, "event": "OpenChannelRequest"})
    assert ledger.check_events().lost == ["alice has not told 2 of its events, 6 the first"]


def test_channels_are_settled_when_all_can_be_used_or_are_gone() -> None:
    ledger, seen = world()
    coins = ledger.coins
    assert coins.are_decided(seen.channels)
    assert coins.is_settled(seen.channels)
    seen.channels["bob"][1]["pending_outbound_htlcs"] = 1
    assert not coins.is_settled(seen.channels)
    seen.channels["bob"][1]["pending_outbound_htlcs"] = 0
    seen.channels["bob"].append(channel(DD, 0))
    assert not coins.is_settled(seen.channels)
    assert not coins.are_decided(seen.channels)
    del seen.channels["bob"][1:]
    assert not coins.is_settled(seen.channels)
    assert coins.are_decided(seen.channels)


def test_what_a_block_has() -> None:
    coinbase = {"txid": "00" * 32}
    entry = {
        "txid": FUNDED_AB,
        "vin": [{"txid": GIFT, "vout": 2}],
        "vout": [{"value": Decimal("0.01")}, {"value": Decimal("0.29999700")}],
        "fee": Decimal("0.00000300"),
        "weight": 600,
    }
    found = list(transactions_of({"tx": [coinbase, entry]}))
    assert found == [Tx(FUNDED_AB, (f"{GIFT}:2",), (1_000_000, 29_999_700), 300, 600)]


def _lose_an_event(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", {"sequence": 6, "event": "PaymentClaimable", "payment_hash": "00"})


def _change_an_event(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("alice", sent(1, FORWARDED, 7000, FEE + 1))


def _end_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("alice", sent(6, FORWARDED, 7000, FEE))


def _fail_what_was_sent(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", failed(5, DIRECT))


def _claim_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", claimed(4, FORWARDED, 7000))


def _forward_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", forwarded(5, fee=0))
    seen.totals["bob"]["forwards"] = 2


def _forget_an_end(ledger: Ledger, seen: Observation) -> None:
    ledger.books["carol"].ends.clear()


def _claim_what_failed(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", claimed(5, REFUSED, 900))


def _claim_less(ledger: Ledger, seen: Observation) -> None:
    ledger.books["carol"].claims[HASHES[FORWARDED]] = [(1, 6999)]


def _end_what_was_never_begun(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", failed(4, NEVER))


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
    ledger.saw("bob", closed(5, BC, HALF_MSAT - 7000, "HolderForceClosed"))


def _lose_a_channel(ledger: Ledger, seen: Observation) -> None:
    seen.channels["alice"].clear()


def _leave_a_channel_unusable(ledger: Ledger, seen: Observation) -> None:
    seen.channels["bob"][1].update(is_usable=False, state="Syncing(Normal)")


def _leave_an_htlc(ledger: Ledger, seen: Observation) -> None:
    seen.channels["carol"][0]["pending_inbound_htlcs"] = 1


def _spend_a_funding(ledger: Ledger, seen: Observation) -> None:
    seen.transactions.append(Tx(CLOSED_BC, (f"{FUNDED_BC}:0",), (VALUE_SAT - 200,), 200, 500))


def _end_a_stranger(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", {**failed(4, 0), "payment_id": "99" * 32})


def _claim_for_a_stranger(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", {**claimed(4, 0, 900), "payment_hash": "99" * 32})


def _charge_for_no_hop(ledger: Ledger, seen: Observation) -> None:
    (end,) = ledger.books["bob"].ends[IDS[DIRECT]]
    ledger.books["bob"].ends[IDS[DIRECT]] = [replace(end, fee_msat=1)]
    seen.statuses[IDS[DIRECT]] = ["fulfilled", 1, PREIMAGES[DIRECT].hex()]


def _leave_a_failed_one_pending(ledger: Ledger, seen: Observation) -> None:
    seen.statuses[IDS[REFUSED]] = ["pending", None, None]


def _earn_less_than_was_paid(ledger: Ledger, seen: Observation) -> None:
    ledger.books["bob"].fees_earned_msat = FEE - 1
    seen.totals["bob"]["fees_earned_msat"] = FEE - 1


# --- channels, wallets and blocks


def _fund_twice(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("bob", pending(5, DD, "f3" * 32, 2))


def _fund_what_was_refused(ledger: Ledger, seen: Observation) -> None:
    ledger.coins.openings[1].refused = True


def _close_what_nobody_opened(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", closed(4, "ee" * 32, 0))


def _close_what_nobody_wished_to(ledger: Ledger, seen: Observation) -> None:
    ledger.saw("carol", closed(4, BC, HALF_MSAT + 7000))


def _close_by_force(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    ledger.coins._closes[-1][1]["reason"] = {"type": "CommitmentTxConfirmed"}


def _tell_twice_of_a_close(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    ledger.saw("bob", closed(6, BC, HALF_MSAT - 7000))


def _forget_what_was_accepted(ledger: Ledger, seen: Observation) -> None:
    del ledger.coins.accepted[BC]


def _lose_a_funding(ledger: Ledger, seen: Observation) -> None:
    del seen.transactions[2]


def _fund_with_less(ledger: Ledger, seen: Observation) -> None:
    seen.transactions[2] = replace(seen.transactions[2], outputs_sat=(VALUE_SAT - 1, GIVEN))


def _fund_what_was_undone(ledger: Ledger, seen: Observation) -> None:
    """The coins are out of bob's wallet, and in no channel that he knows."""
    seen.transactions.append(Tx("f3" * 32, (f"{FUNDED_BC}:1",), (VALUE_SAT, 999_100), 600, 600))
    seen.wallets["bob"]["confirmed_sat"] -= VALUE_SAT + 600


def _leave_a_close_out_of_the_blocks(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    seen.waiting.append(seen.transactions.pop().txid)


def _tell_of_a_close_on_one_side(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    del ledger.coins.by_channel[BC].final_msat["carol"]


def _close_with_other_balances(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    ledger.coins.by_channel[BC].final_msat["bob"] += 1


def _pay_out_a_satoshi_less(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    last = seen.transactions[-1]
    seen.transactions[-1] = replace(last, outputs_sat=(last.outputs_sat[0], last.outputs_sat[1] - 1))


def _close_without_a_fee(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    last = seen.transactions[-1]
    seen.transactions[-1] = replace(last, outputs_sat=(last.outputs_sat[0] + CLOSING_FEE, last.outputs_sat[1]))


def _close_with_another_coin(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    last = seen.transactions[-1]
    seen.transactions[-1] = replace(last, spends=(*last.spends, f"{FUNDED_BC}:1"))


def _keep_what_is_closed(ledger: Ledger, seen: Observation) -> None:
    close(ledger, seen)
    seen.channels["carol"].append(channel(BC, HALF_MSAT + 7000, state="Closing", is_usable=False))


def _show_a_channel_of_nobody(ledger: Ledger, seen: Observation) -> None:
    """As its acceptor alice may keep what was undone, but not go on with it."""
    seen.channels["alice"].append(channel(DD, 0, state="WaitForFundingConfirmed", is_usable=False))


def _pay_too_high_a_fee(ledger: Ledger, seen: Observation) -> None:
    seen.transactions[2] = replace(seen.transactions[2], fee_sat=1961)
    seen.wallets["bob"]["confirmed_sat"] -= 1961 - FUNDING_FEE


def _keep_a_coin_for_nothing(ledger: Ledger, seen: Observation) -> None:
    seen.wallets["carol"] = {**seen.wallets["carol"], "confirmed_sat": GIVEN - 5_000, "reserved_sat": 5_000}


def _lose_a_satoshi(ledger: Ledger, seen: Observation) -> None:
    seen.wallets["bob"]["confirmed_sat"] -= 1


def _find_a_satoshi(ledger: Ledger, seen: Observation) -> None:
    seen.wallets["carol"]["confirmed_sat"] += 1


LOST, TWICE, FORCE, MONEY, OTHER = "lost", "paid_twice", "force_closes", "unbalanced", "other"
BOTH_WANTED = '{"type": "LocallyInitiatedCooperativeClosure"}'
DOCTORED: dict[Callable[[Ledger, Observation], None], dict[str, list[str]]] = {
    _lose_an_event: {LOST: ["carol has not told 2 of its events, 4 the first"]},
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
    _force_close: {FORCE: [f'bob has closed {OF_BC}: {{"type": "HolderForceClosed"}}']},
    _lose_a_channel: {FORCE: ["alice has lost channel abababab"]},
    _leave_a_channel_unusable: {OTHER: ["channel bcbcbcbc of bob is Syncing(Normal)"]},
    _leave_an_htlc: {LOST: ["channel bcbcbcbc of carol still holds HTLCs"]},
    _spend_a_funding: {
        FORCE: [f"the funding of {OF_BC} is spent by {CLOSED_BC}"],
        LOST: [f"transaction {CLOSED_BC} is none that anybody asked for"],
    },
    _claim_for_a_stranger: {OTHER: [f"carol has claimed a payment that nobody asked for: {'99' * 32}"]},
    _charge_for_no_hop: {MONEY: [f"{TO_ALICE} cost 1 msat, and has no hop between"]},
    _leave_a_failed_one_pending: {OTHER: [f"{TO_BOB} is pending on record"]},
    _earn_less_than_was_paid: {
        MONEY: ["bob has forwarded 1 payments for 999 msat, 1 were made over bob for 1000 msat"]
    },
    _fund_twice: {OTHER: [f"bob has funded {OF_BC} twice"]},
    _fund_what_was_refused: {OTHER: [f"{OF_AB} was refused, and is funded"]},
    _close_what_nobody_opened: {FORCE: [f"carol has closed a channel that nobody asked for: {BOTH_WANTED}"]},
    _close_what_nobody_wished_to: {FORCE: [f"carol has closed {OF_BC}: {BOTH_WANTED}"]},
    _close_by_force: {FORCE: [f'carol has closed {OF_BC} by force: {{"type": "CommitmentTxConfirmed"}}']},
    _tell_twice_of_a_close: {OTHER: ["bob has closed channel bcbcbcbc twice"]},
    _forget_what_was_accepted: {LOST: [f"carol knows nothing of {OF_BC}"]},
    _lose_a_funding: {
        LOST: [f"the funding of {OF_BC} is in no block"],
        MONEY: [f"bob's wallet has {GIVEN - VALUE_SAT - FUNDING_FEE} sat, and should have {GIVEN}"],
    },
    _fund_with_less: {MONEY: [f"the funding of {OF_BC} has {VALUE_SAT - 1} sat"]},
    _fund_what_was_undone: {
        LOST: [f"transaction {'f3' * 32} is none that anybody asked for"],
        MONEY: [f"bob's wallet has {GIVEN - 2 * VALUE_SAT - 900} sat, and should have {GIVEN - VALUE_SAT - 300}"],
    },
    _leave_a_close_out_of_the_blocks: {
        OTHER: [f"{CLOSED_BC} is in no block yet", f"no block has a closing transaction of {OF_BC}"]
    },
    _tell_of_a_close_on_one_side: {OTHER: [f"carol has not told that {OF_BC} is closed"]},
    _close_with_other_balances: {
        MONEY: [
            f"the two sides of {OF_BC} differ in its balances at the close: {{'bob': 499993001, 'carol': 500007000}}",
            "bob's balance has changed by -1499 msat, and should by -1500",
        ]
    },
    _pay_out_a_satoshi_less: {
        MONEY: [
            f"the close of {OF_BC} pays [499743, 500006] sat of {{'bob': 499993000, 'carol': 500007000}} msat",
            f"bob's wallet has {GIVEN - VALUE_SAT + 499443} sat, and should have {GIVEN - VALUE_SAT + 499442}",
        ]
    },
    _close_without_a_fee: {
        MONEY: [f"the close of {OF_BC} pays [499993, 500007] sat of {{'bob': 499993000, 'carol': 500007000}} msat"]
    },
    _close_with_another_coin: {
        MONEY: [f"the close of {OF_BC} pays [499743, 500007] sat of {{'bob': 499993000, 'carol': 500007000}} msat"]
    },
    _keep_what_is_closed: {OTHER: ["channel bcbcbcbc of carol is closed, and still Closing"]},
    _show_a_channel_of_nobody: {OTHER: ["channel dddddddd of alice was asked for by nobody"]},
    _pay_too_high_a_fee: {LOST: [f"transaction {FUNDED_BC} pays a fee of 1961 sat for a weight of 600"]},
    _keep_a_coin_for_nothing: {LOST: ["carol's wallet has 5000 sat reserved"]},
    _lose_a_satoshi: {
        MONEY: [f"bob's wallet has {GIVEN - VALUE_SAT - 301} sat, and should have {GIVEN - VALUE_SAT - 300}"]
    },
    _find_a_satoshi: {MONEY: [f"carol's wallet has {GIVEN + 1} sat, and should have {GIVEN}"]},
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
