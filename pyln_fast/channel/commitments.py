"""Both commitments of a channel as one frozen value: the HTLC table, the feerates, the numbers and the secrets.

Whatever a commitment holds follows from the stages in the table (spec.py). This file only moves stages on; checking
limits (limits.py), building messages and telling the monitor (dance.py) are not its business.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pyln_fast.channel.changes import FeeUpdates
from pyln_fast.channel.htlc import ADVANCES, Fulfilled, Htlc, HtlcKey, HtlcStage
from pyln_fast.tx.keys import CommitmentSecrets
from pyln_fast.types import CommitmentNumber, Msat, PublicKey

Act = Literal["signs", "revokes"]


class Commitments(msgspec.Struct, frozen=True, array_like=True):
    to_holder_msat: Msat
    """Settled balance: HTLCs that are still in the table are not taken out."""
    to_counterparty_msat: Msat
    htlcs: dict[HtlcKey, Htlc]
    """Never changed in place: a new dict for every change."""
    fees: FeeUpdates
    next_holder_htlc_id: int
    next_counterparty_htlc_id: int
    holder_number: CommitmentNumber
    """Of our newest valid commitment: all below it are revoked."""
    counterparty_number: CommitmentNumber
    """Of the newest commitment that we signed for the counterparty."""
    awaiting_revocation: bool
    """We signed `counterparty_number`, and its predecessor is not revoked yet."""
    revocation_sent_last: bool
    """Of our last `commitment_signed` and our last `revoke_and_ack`, the latter left last."""
    counterparty_current_point: PublicKey
    """Of the counterparty's oldest commitment that is not revoked."""
    counterparty_next_point: PublicKey
    counterparty_secrets: CommitmentSecrets

    # --- stages

    def advance(self, by_holder: bool, act: Act) -> tuple[Commitments, tuple[Htlc, ...]]:
        """One party signs or revokes: every HTLC and feerate that this concerns moves on one stage. Returns the HTLCs
        that moved, as they are now; those that are irrevocably removed have left the table, their balances settled."""
        moves_of_offered, moves_of_received = ADVANCES[(by_holder, act)], ADVANCES[(not by_holder, act)]
        moved = []
        to_holder: int = self.to_holder_msat
        to_counterparty: int = self.to_counterparty_msat
        table = self.htlcs
        for key, htlc in self.htlcs.items():
            stage = (moves_of_offered if htlc.offered else moves_of_received).get(htlc.stage)
            if stage is None:
                continue
            if table is self.htlcs:
                table = dict(self.htlcs)
            if stage is HtlcStage.ADD_ACKED and htlc.offered:
                # The receiver has it for good: its onion will not be sent again.
                htlc = msgspec.structs.replace(htlc, stage=stage, onion_routing_packet=b"")
            else:
                htlc = msgspec.structs.replace(htlc, stage=stage)
            moved.append(htlc)
            if stage is not HtlcStage.REMOVED:
                table[key] = htlc
                continue
            del table[key]
            if isinstance(htlc.removal, Fulfilled):
                shift = -htlc.amount_msat if htlc.offered else htlc.amount_msat
                to_holder += shift
                to_counterparty -= shift
        advanced = msgspec.structs.replace(
            self,
            htlcs=table,
            fees=self.fees.advance(by_holder, act),
            to_holder_msat=Msat(to_holder),
            to_counterparty_msat=Msat(to_counterparty),
        )
        return advanced, tuple(moved)

    def would_advance(self, by_holder: bool, act: Act) -> bool:
        moves_of_offered, moves_of_received = ADVANCES[(by_holder, act)], ADVANCES[(not by_holder, act)]
        if any(htlc.stage in (moves_of_offered if htlc.offered else moves_of_received) for htlc in self.htlcs.values()):
            return True
        moves = ADVANCES[(by_holder == self.fees.holder_is_opener, act)]
        return any(update.stage in moves for update in self.fees.updates)

    @property
    def has_changes_to_sign(self) -> bool:
        """A `commitment_signed` of ours would include an update."""
        return self.would_advance(by_holder=True, act="signs")

    @property
    def is_settled(self) -> bool:
        """No HTLC and no pending feerate in either commitment, no revocation owed by either side (BOLT 2, shutdown)."""
        return not self.htlcs and len(self.fees.updates) == 1 and not self.awaiting_revocation

    # --- the table

    def with_htlc(self, htlc: Htlc) -> Commitments:
        return msgspec.structs.replace(self, htlcs={**self.htlcs, htlc.key: htlc})

    def offered(self, htlc_id: int) -> Htlc | None:
        return self.htlcs.get((True, htlc_id))

    def received(self, htlc_id: int) -> Htlc | None:
        return self.htlcs.get((False, htlc_id))

    def without_uncommitted(self) -> tuple[Commitments, tuple[Htlc, ...]]:
        """As after a disconnect (BOLT 2, Message Retransmission): what the counterparty proposed and did not sign never
        was. Our own additions that no `commitment_signed` carried never left, so they are dropped too and returned;
        removals of ours stay, because we owe them."""
        table = {}
        dropped = []
        for key, htlc in self.htlcs.items():
            if htlc.stage is HtlcStage.ADD_PROPOSED:
                if htlc.offered:
                    dropped.append(htlc)
            elif htlc.stage is HtlcStage.REMOVE_PROPOSED and htlc.offered:
                table[key] = msgspec.structs.replace(htlc, stage=HtlcStage.COMMITTED, removal=None)
            else:
                table[key] = htlc
        received = sum(1 for h in self.htlcs.values() if not h.offered and h.stage is HtlcStage.ADD_PROPOSED)
        kept = msgspec.structs.replace(
            self,
            htlcs=table,
            fees=self.fees.without_proposals(),
            next_holder_htlc_id=self.next_holder_htlc_id - len(dropped),
            next_counterparty_htlc_id=self.next_counterparty_htlc_id - received,
        )
        return kept, tuple(dropped)
