"""An input read from its start: what a target decides by single bytes. Behind the end come zeros."""

from __future__ import annotations


class Source:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def byte(self) -> int:
        taken = self.bytes(1)
        return taken[0] if taken else 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.bytes(size).ljust(size, b"\0"), "big")

    def bytes(self, length: int) -> bytes:
        """Fewer at the end."""
        taken = self._data[self._at : self._at + length]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        return self.bytes(self.left)
