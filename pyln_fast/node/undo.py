"""State that takes effect together or not at all: dicts that can take back what one input did to them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class UndoDict(MutableMapping[K, V], Generic[K, V]):
    """A dict with marks. `dirty` are the keys whose records differ from what was last written.

    Values are frozen, so that taking back a change is putting the old value back.
    """

    def __init__(self, values: dict[K, V] | None = None) -> None:
        self._values: dict[K, V] = values if values is not None else {}
        self._undo: list[tuple[K, V | None]] = []
        self._dirty: dict[K, None] = {}

    def __getitem__(self, key: K) -> V:
        return self._values[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._undo.append((key, self._values.get(key)))
        self._values[key] = value
        self._dirty[key] = None

    def __delitem__(self, key: K) -> None:
        self._undo.append((key, self._values[key]))
        del self._values[key]
        self._dirty[key] = None

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def set_in_memory(self, key: K, value: V) -> None:
        """A change that need not be durable yet: it is written with the next one that must be."""
        self._undo.append((key, self._values.get(key)))
        self._values[key] = value

    def commit(self) -> None:
        """What was done so far stays."""
        self._undo.clear()

    def roll_back(self) -> None:
        """Everything since the last `commit` is taken back."""
        while self._undo:
            key, value = self._undo.pop()
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    def take_dirty(self) -> list[K]:
        """The keys to be written, in the order in which they were first changed."""
        dirty = list(self._dirty)
        self._dirty.clear()
        return dirty
