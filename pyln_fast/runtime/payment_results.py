"""Who waits for the result of a payment, and what the records say of one that is over."""

from __future__ import annotations

import asyncio

from pyln_fast.errors import LocalError
from pyln_fast.events import PaymentFailed, PaymentSent
from pyln_fast.payment.outbound import OutboundPayment
from pyln_fast.types import PaymentHash, PaymentId

Result = PaymentSent | PaymentFailed


class PaymentNotMade(LocalError):
    """PaymentFailed as an exception: `reason` is LDK's PaymentFailureReason by name."""

    def __init__(self, payment_id: PaymentId, reason: str) -> None:
        super().__init__(f"payment {payment_id.hex()}: {reason}")
        self.payment_id = payment_id
        self.reason = reason


class PaymentResults:
    def __init__(self) -> None:
        self._waiting: dict[PaymentId, list[asyncio.Future[Result]]] = {}

    def expect(self, payment_id: PaymentId) -> asyncio.Future[Result]:
        """Done with the next result of that payment."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(payment_id, []).append(future)
        return future

    def give(self, payment_id: PaymentId, result: Result) -> None:
        for future in self._waiting.pop(payment_id, ()):
            if not future.done():
                future.set_result(result)

    def give_up(self, error: Exception) -> None:
        """No result will come any more."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()
        self._waiting.clear()


def result_of(payment_id: PaymentId, payment: OutboundPayment | None) -> Result | None:
    """None while it is under way."""
    if payment is None:
        return PaymentFailed(payment_id, PaymentHash(bytes(32)), "UnknownPayment")
    if not payment.is_over:
        return None
    if payment.preimage is None or payment.fee_paid_msat is None:
        return PaymentFailed(payment_id, payment.payment_hash, "UnexpectedError")
    fee = payment.fee_paid_msat
    return PaymentSent(payment_id, payment.preimage, payment.payment_hash, payment.amount_msat, fee)
