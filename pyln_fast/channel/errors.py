"""What can be wrong with a message of a peer or a command of the user, for one channel. Figures are attributes."""

from __future__ import annotations

from pyln_fast.errors import Consequence, LocalError, RemoteError


class ChannelError(RemoteError):
    """The peer broke a rule of BOLT 2 that fails the channel."""


class PeerFeerateBelowMinimum(ChannelError):
    def __init__(self, feerate_per_kw: int, minimum_per_kw: int) -> None:
        super().__init__(
            f"feerate {feerate_per_kw} sat per kw is below the {minimum_per_kw} that would confirm in time"
        )
        self.feerate_per_kw = feerate_per_kw
        self.minimum_per_kw = minimum_per_kw


class UnexpectedMessage(ChannelError):
    """The message has no place in the channel's state."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(f"{message} has no place in state {state}")
        self.message = message
        self.state = state


class NoChannelId(RemoteError):
    """The id of a message is all zeros. An `error` with it would fail every channel of both (BOLT 1)."""

    consequence = Consequence.DISCONNECT

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} with a channel id of zeros")
        self.message = message


class WrongHtlcId(ChannelError):
    def __init__(self, what: str, got: int, expected: int | None = None) -> None:
        wanted = f", expected {expected}" if expected is not None else ""
        super().__init__(f"{what}: HTLC id {got}{wanted}")
        self.got = got
        self.expected = expected


class LimitExceeded(ChannelError):
    """A value beyond a limit that was agreed on, or that BOLT 2 sets."""

    def __init__(self, what: str, value: int, limit: int) -> None:
        super().__init__(f"{what}: {value}, limit {limit}")
        self.what = what
        self.value = value
        self.limit = limit


class WrongPreimage(ChannelError):
    def __init__(self, htlc_id: int) -> None:
        super().__init__(f"the preimage for HTLC {htlc_id} does not hash to its payment hash")
        self.htlc_id = htlc_id


class WrongRevocation(ChannelError):
    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"revocation of commitment {number}: {why}")
        self.number = number


class WrongSignature(ChannelError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: the signature is not valid")
        self.what = what


class ReestablishMismatch(ChannelError):
    """`channel_reestablish` does not fit to what we know, and proves nothing."""

    def __init__(self, field: str, got: int, expected: str) -> None:
        super().__init__(f"channel_reestablish: {field} is {got}, expected {expected}")
        self.field = field
        self.got = got


class InvalidField(ChannelError):
    """A field of a message is not acceptable."""

    def __init__(self, message: str, field: str, why: str) -> None:
        super().__init__(f"{message}: {field} {why}")
        self.field = field


class InvalidShutdownScript(RemoteError):
    """BOLT 2, shutdown: warn and do not go on."""

    consequence = Consequence.DISCONNECT

    def __init__(self, why: str) -> None:
        super().__init__(f"shutdown: scriptpubkey {why}")


class NoCommonClosingFee(RemoteError):
    """BOLT 2, closing_signed: warn, and fail the channel only if nothing better comes in time."""

    consequence = Consequence.WARN

    def __init__(self, their_min_sat: int, their_max_sat: int, our_min_sat: int, our_max_sat: int) -> None:
        super().__init__(
            f"closing_signed: fee_range {their_min_sat} to {their_max_sat}, ours is {our_min_sat} to {our_max_sat}"
        )
        self.their_min_sat = their_min_sat
        self.their_max_sat = their_max_sat
        self.our_min_sat = our_min_sat
        self.our_max_sat = our_max_sat


class ChannelUnavailable(LocalError):
    """LDK's APIError::ChannelUnavailable: the channel cannot do that now."""

    def __init__(self, why: str) -> None:
        super().__init__(f"channel unavailable: {why}")


class APIMisuse(LocalError):
    """LDK's APIError::APIMisuseError: the caller asked for what makes no sense."""


class HtlcRefused(LocalError):
    """An HTLC that we will not offer. `reason` is LDK's LocalHTLCFailureReason by name."""

    def __init__(self, reason: str, what: str, value: int, limit: int) -> None:
        super().__init__(f"{what}: {value}, limit {limit}")
        self.reason = reason
        self.what = what
        self.value = value
        self.limit = limit
