from pathlib import Path

from tests.torture.event_log import EventLog


def test_each_record_once_and_no_torn_line(tmp_path: Path) -> None:
    """A node dies in the middle of a line; the next one begins a line of its own and tells that event again."""
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    assert log.read() == []
    path.write_bytes(b'\n{"started":7}\n\n{"sequence":1,"event":"A"}\n\n{"sequence":2,"ev')
    assert log.read() == [{"sequence": 1, "event": "A"}]
    with path.open("ab") as file:
        file.write(b'\n{"started":8}\n\n{"sequence":2,"event":"B"}\n\n{"sequence":3,"event"')
    assert log.read() == [{"sequence": 2, "event": "B"}]
    with path.open("ab") as file:
        file.write(b':"C"}\n')
    assert log.read() == [{"sequence": 3, "event": "C"}]
    assert log.read() == []
