from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyln_fast.persist.directory import StoreKind
from pyln_fast.persist.journal_store import JournalStore
from pyln_fast.persist.stores import STORES

OpenStore = Callable[[Path], JournalStore]


@pytest.fixture(params=list(StoreKind), ids=lambda kind: kind.value)
def kind(request: pytest.FixtureRequest) -> StoreKind:
    made: StoreKind = request.param
    return made


@pytest.fixture
def open_store(kind: StoreKind) -> Iterator[OpenStore]:
    """Without a reserve. What a test leaves open is closed."""
    opened: list[JournalStore] = []

    def open_it(directory: Path) -> JournalStore:
        opened.append(STORES[kind](directory, reserve_bytes=0, low_space_bytes=0))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
