from __future__ import annotations

import pytest

from pyln_fast.persist.run_filter import RunFilter

ROWS = 20_000
KEYS = {
    "numbers": [b"htlcs\0" + number.to_bytes(8, "big") for number in range(2 * ROWS)],
    "numbers of channels": [
        b"revoked\0" + bytes((number % 50,)) * 32 + (number // 50).to_bytes(8, "big") for number in range(2 * ROWS)
    ],
    "names": [b"payments\0payment %d" % number for number in range(2 * ROWS)],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_every_key_that_was_added_is_found_and_few_others(keys: list[bytes]) -> None:
    made = RunFilter.empty(ROWS)
    assert not any(made.may_have(key) for key in keys)
    for key in keys[:ROWS]:
        made.add(key)
    read = RunFilter(made.encode())
    assert all(read.may_have(key) for key in keys[:ROWS])
    assert sum(map(read.may_have, keys[ROWS:])) < ROWS // 30
    assert len(made.encode()) * 8 <= ROWS * 10 + 64


def test_what_is_written_is_what_later_programs_read() -> None:
    made = RunFilter.empty(20)
    keys = (b"channels\0a", b"payments\0b", b"payments\0c")
    for key in keys:
        made.add(key)
    written = "8080000002010000000000000000000000800000400000304000080000001008"
    assert made.encode().hex() == written
    assert all(map(RunFilter(bytes.fromhex(written)).may_have, keys))


def test_one_for_no_rows_has_none() -> None:
    assert not RunFilter.empty(0).may_have(b"channels\0a")
