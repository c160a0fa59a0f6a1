"""Routes over our own channels and an invoice's route hints: all that a payer without a network graph can know."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from pyln_fast.events import Path, RouteHop
from pyln_fast.payment.invoice_fields import RouteHint
from pyln_fast.types import BlockHeight, ChannelId, Msat, NodeId, PaymentSecret, ShortChannelId
from pyln_fast.wire.onion_payloads import OnionPayload, PaymentData, encode_payload


class UsableChannel(msgspec.Struct, frozen=True):
    """A channel of ours that can carry an HTLC now."""

    channel_id: ChannelId
    counterparty_node_id: NodeId
    short_channel_id: ShortChannelId
    """Any name of it: the first hop's id never leaves this node."""
    outbound_limit_msat: Msat
    htlc_minimum_msat: Msat


class Route(msgspec.Struct, frozen=True):
    path: Path
    channel_id: ChannelId
    """Of the first hop."""
    amount_msat: Msat
    """What the first HTLC carries: the payment and all fees."""
    cltv_expiry: BlockHeight

    @property
    def fee_msat(self) -> Msat:
        return Msat(sum(hop.fee_msat for hop in self.path.hops[:-1]))


def forwarding_fee_msat(amount_msat: Msat, base_msat: int, proportional_millionths: int) -> Msat:
    """BOLT 7, htlc_fees: what a node takes for forwarding this amount."""
    return Msat(base_msat + amount_msat * proportional_millionths // 1_000_000)


def find_routes(
    payee: NodeId,
    amount_msat: Msat,
    final_cltv_expiry_delta: int,
    hints: Sequence[RouteHint],
    channels: Iterable[UsableChannel],
    height: BlockHeight,
    max_fee_msat: Msat | None,
    max_total_cltv_expiry_delta: int,
) -> list[Route]:
    """Every route that could work now, cheapest first; of equal ones that with the most room on its first channel."""
    channels = list(channels)
    tails: list[tuple[RouteHop, ...]] = [(RouteHop(payee, ShortChannelId(0), amount_msat, final_cltv_expiry_delta),)]
    tails += [_tail(payee, amount_msat, final_cltv_expiry_delta, hint) for hint in hints if hint]
    found = []
    for tail in tails:
        first_node = tail[0].pubkey
        total = sum(hop.fee_msat for hop in tail)
        delta = sum(hop.cltv_expiry_delta for hop in tail)
        fee = total - amount_msat
        if (max_fee_msat is not None and fee > max_fee_msat) or delta > max_total_cltv_expiry_delta:
            continue
        for channel in channels:
            fits = channel.htlc_minimum_msat <= total <= channel.outbound_limit_msat
            if channel.counterparty_node_id == first_node and fits:
                first = msgspec.structs.replace(tail[0], short_channel_id=channel.short_channel_id)
                path = Path((first, *tail[1:]))
                # One block more than asked for: the recipient may have seen a block that we have not.
                expiry = BlockHeight(height + delta + 1)
                found.append((fee, -channel.outbound_limit_msat, Route(path, channel.channel_id, Msat(total), expiry)))
    found.sort(key=lambda each: each[:2])
    return [route for _, _, route in found]


def _tail(payee: NodeId, amount_msat: Msat, final_cltv_expiry_delta: int, hint: RouteHint) -> tuple[RouteHop, ...]:
    """The hops from the hint's first node on. A hop of a path names the channel that leads to its node; a hop of a hint
    the one that leaves it."""
    hops = [RouteHop(payee, hint[-1].short_channel_id, amount_msat, final_cltv_expiry_delta)]
    amount = amount_msat
    for index in range(len(hint) - 1, -1, -1):
        hop = hint[index]
        fee = forwarding_fee_msat(amount, hop.fee_base_msat, hop.fee_proportional_millionths)
        leads_to_it = hint[index - 1].short_channel_id if index else ShortChannelId(0)
        hops.insert(0, RouteHop(hop.src_node_id, leads_to_it, fee, hop.cltv_expiry_delta))
        amount = Msat(amount + fee)
    return tuple(hops)


def onion_hops(
    route: Route,
    payment_secret: PaymentSecret,
    payment_metadata: bytes | None,
    custom_tlvs: tuple[tuple[int, bytes], ...],
) -> list[tuple[NodeId, bytes]]:
    """What the onion tells each hop (BOLT 4): how much to send on, over which channel, with which expiry."""
    hops = route.path.hops
    amount: int = route.amount_msat
    expiry: int = route.cltv_expiry
    payloads = []
    for this, following in itertools.pairwise(hops):
        amount -= this.fee_msat
        expiry -= this.cltv_expiry_delta
        payload = OnionPayload(Msat(amount), expiry, following.short_channel_id)
        payloads.append((this.pubkey, encode_payload(payload)))
    final = OnionPayload(
        Msat(amount),
        expiry,
        payment_data=PaymentData(payment_secret, Msat(amount)),
        payment_metadata=payment_metadata,
        custom_tlvs=custom_tlvs,
    )
    payloads.append((hops[-1].pubkey, encode_payload(final)))
    return payloads
