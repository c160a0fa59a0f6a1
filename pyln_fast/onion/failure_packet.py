"""Failure packets (BOLT 4, Returning Errors): created by the hop that fails, wrapped by those before it, read by the
origin. Attribution data is not made or read here."""

from __future__ import annotations

from collections.abc import Sequence

from pyln_fast._ext import _onion
from pyln_fast.types import Secret


def create(shared_secret: Secret, failure_message: bytes) -> bytes:
    """The erring hop's packet, padded to what every failure takes (292 bytes) and wrapped once."""
    return _onion.failure_create(shared_secret, failure_message)


def wrap(shared_secret: Secret, packet: bytes) -> bytes:
    """The `reason` that goes on towards the origin."""
    return _onion.failure_wrap(shared_secret, packet)


def unwrap(shared_secrets: Sequence[Secret], packet: bytes) -> tuple[int, bytes] | None:
    """The hop that failed (an index into shared_secrets) and its failure message; None if no hop made this packet.

    A message whose length is malformed is empty: the hop is to blame all the same. The time it takes does not tell
    which hop it was.
    """
    return _onion.failure_unwrap(list(shared_secrets), packet)
