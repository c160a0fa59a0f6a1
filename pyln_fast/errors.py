"""Whose fault an error is, and what follows from it.

The type says whose: `LocalError` is the caller's (refused, nothing changed), `RemoteError` the peer's (its
`consequence` says what BOLT 2 wants), `DecodeError` the bytes'. Our own faults are assertions. Figures are attributes,
never secrets.
"""

from __future__ import annotations

from enum import Enum


class LightningError(Exception):
    """The root of every error that this package raises on purpose."""


class Consequence(Enum):
    """What follows for the peer that did it."""

    WARN = "warn"
    """Send `warning` and go on."""
    DISCONNECT = "disconnect"
    """Send `warning`, then close the connection; the channel lives."""
    FAIL_CHANNEL = "fail_channel"
    """Send `error` and close the channel on chain."""


class LocalError(LightningError):
    """The caller asked for what cannot be done. Nothing has changed."""


class RemoteError(LightningError):
    """A peer broke a rule of the BOLTs. `consequence` says what that costs it."""

    consequence: Consequence = Consequence.FAIL_CHANNEL


class DecodeError(LightningError):
    """Bytes that are not what they should be: what was being read, and why it cannot be."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
