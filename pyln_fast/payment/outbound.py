"""Payments that we make: one record each, from the call until the result is old news (LDK's OutboundPayments)."""

from __future__ import annotations

from enum import Enum

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.events import Path
from pyln_fast.payment.invoice_fields import RouteHint
from pyln_fast.types import (
    ChannelId,
    Msat,
    NodeId,
    PaymentHash,
    PaymentId,
    PaymentPreimage,
    PaymentSecret,
    PrivateKey,
    UnixTime,
)


class RetryableSendFailure(LocalError):
    """LDK's RetryableSendFailure: the payment was not begun. `reason` is the variant's name."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(f"{reason}: {why}")
        self.reason = reason


class Attempts(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Retry at most so often after the first attempt."""

    attempts: int


class Timeout(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Retry until so many seconds after the payment began."""

    seconds: int


Retry = Attempts | Timeout


class PaymentStatus(Enum):
    PENDING = "pending"
    """An HTLC of it is under way."""
    FULFILLED = "fulfilled"
    ABANDONED = "abandoned"
    """The user gave up; an HTLC is still under way, and may still succeed."""
    FAILED = "failed"


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One HTLC that was offered for a payment. Its session key gives back the onion's shared secrets."""

    number: int
    session_key: PrivateKey
    path: Path
    channel_id: ChannelId
    amount_msat: Msat
    """With fees."""


class OutboundPayment(msgspec.Struct, frozen=True, array_like=True):
    payment_id: PaymentId
    payment_hash: PaymentHash
    payment_secret: PaymentSecret
    payment_metadata: bytes | None
    custom_tlvs: tuple[tuple[int, bytes], ...]
    amount_msat: Msat
    payee: NodeId
    final_cltv_expiry_delta: int
    hints: tuple[RouteHint, ...]
    max_fee_msat: Msat | None
    max_total_cltv_expiry_delta: int
    retry: Retry
    began_at: UnixTime
    expires_at: UnixTime | None
    """Of the invoice: after it no new attempt is made."""
    status: PaymentStatus
    next_attempt: int = 0
    attempt: Attempt | None = None
    """The one under way."""
    failed_channels: tuple[ChannelId, ...] = ()
    """First hops that failed since the payment began: tried last."""
    preimage: PaymentPreimage | None = None
    fee_paid_msat: Msat | None = None
    finished_ticks: int = 0
    """Timer ticks of this run since it ended: it is remembered for IDEMPOTENCY_TIMEOUT_TICKS."""
    first_attempt: int = 0
    """Higher when the PaymentId was used for a payment that failed."""

    @property
    def is_over(self) -> bool:
        return self.status in (PaymentStatus.FULFILLED, PaymentStatus.FAILED)

    def remembered(self) -> OutboundPayment:
        """What is kept of a payment that is over until it is forgotten: what only an attempt needs is in the history
        alone."""
        return msgspec.structs.replace(
            self, payment_metadata=None, custom_tlvs=(), hints=(), attempt=None, failed_channels=()
        )

    def may_retry(self, now: UnixTime) -> bool:
        """Whether another attempt is allowed after one has failed."""
        if self.status is not PaymentStatus.PENDING or (self.expires_at is not None and now > self.expires_at):
            return False
        if isinstance(self.retry, Attempts):
            return self.next_attempt - self.first_attempt <= self.retry.attempts
        return now <= self.began_at + self.retry.seconds
