"""The node's values as JSON: bytes as hex, transactions and channels as people write them, secrets not at all."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from pyln_fast.events import Event
from pyln_fast.types import OutPoint, PaymentPreimage, Secret, ShortChannelId, Txid, short_channel_id_str, txid_hex

_SCIDS = frozenset({"short_channel_id", "outbound_scid_alias", "inbound_scid_alias"})


def to_json(value: Any) -> Any:
    """A preimage is the payer's proof and is shown; any other secret is None."""
    if isinstance(value, OutPoint):
        return str(value)
    if isinstance(value, msgspec.Struct):
        fields = {name: _field(name, getattr(value, name)) for name in value.__struct_fields__}
        return {"type": type(value).__name__, **fields} if value.__struct_config__.tag is not None else fields
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return None if isinstance(value, Secret) and not isinstance(value, PaymentPreimage) else value.hex()
    if isinstance(value, dict):
        return {to_json(key): to_json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(each) for each in value]
    return value


def event_json(sequence: int, event: Event) -> dict[str, Any]:
    return {"sequence": sequence, "event": type(event).__name__, **to_json(event)}


def _field(name: str, value: Any) -> Any:
    if value is not None and name in _SCIDS:
        return short_channel_id_str(ShortChannelId(value))
    if name == "txid" and isinstance(value, bytes):
        return txid_hex(Txid(value))
    return to_json(value)
