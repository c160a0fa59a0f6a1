"""Reads what a node's EventRecorder writes, as it grows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class EventLog:
    """The records of one file, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """What is new. A line that a kill has torn is left out: its event is offered again."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for record in map(_parsed, lines) if record is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return record if "event" in record else None
