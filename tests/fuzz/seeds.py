"""Where fuzzing begins: inputs made of the vectors of the BOLTs and BIPs, by code, so that none of them is stored."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

from pyln_fast import records
from pyln_fast.persist import records as framing
from pyln_fast.records import Batch, Put
from pyln_fast.tx.bech32 import decode as decode_bech32
from pyln_fast.types import Network
from pyln_fast.wire import fields
from pyln_fast.wire.codec import MESSAGES, encode
from pyln_fast.wire.failure_msgs import FAILURES
from pyln_fast.wire.layout import Nested
from tests.fuzz.store import STORE_ID, TABLES

VECTORS = Path(__file__).parents[1] / "vectors"
POINT = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def _value(kind: Any) -> Any:
    match kind:
        case fields.POINT_KIND:
            return POINT
        case fields.Fixed(is_bytes=True):
            raw = POINT if kind.size == 33 else bytes(at % 251 for at in range(kind.size))
            return raw if kind.convert is None else kind.convert(raw)
        case fields.Counted():
            return (_value(kind.kind),)
        case fields.Repeated():
            return (_value(kind.kind),) * (2 if kind.count is None else kind.count)
        case fields.Flag():
            return True
        case Nested():
            return _struct(kind._layout.struct, tlvs=True)
        case fields.Rest() | fields.Prefixed():
            return b"some bytes"
        case _:
            return 1


def _struct(kind: type, tlvs: bool) -> Any:
    """A value with every field, or without the TLV records."""
    hints = get_type_hints(kind, include_extras=True)
    values = []
    for name in kind.__struct_fields__:  # type: ignore[attr-defined]
        mark = hints[name].__metadata__[0]
        if isinstance(mark, fields.Tlv):
            if not tlvs:
                break
            values.append(_value(mark.kind))
        else:
            values.append(_value(mark))
    return kind(*values)


def wire_messages() -> Iterator[bytes]:
    for message in MESSAGES:
        for tlvs in (False, True):
            yield encode(_struct(message, tlvs))
    for case in load("bolt01-extension")["valid"]:
        yield bytes.fromhex(case["message"].replace(" ", ""))
    for case in load("bolt07-extended-queries"):
        yield bytes.fromhex(case["hex"])


def tlv_streams() -> Iterator[bytes]:
    vectors = load("bolt01-tlv")
    for case in (*vectors["valid"], *vectors["invalid"]):
        for step in (0, 1):
            yield bytes([step]) + bytes.fromhex(case["stream"].replace(" ", ""))


def onion_payloads() -> Iterator[bytes]:
    for hop in load("bolt04/onion-test")["generate"]["hops"]:
        # Behind its length.
        yield bytes.fromhex(hop["payload"])[1:]


def failure_messages() -> Iterator[bytes]:
    for failure in FAILURES:
        yield failure.CODE.to_bytes(2, "big") + bytes(60)
        yield failure.CODE.to_bytes(2, "big")


def onion_packets() -> Iterator[bytes]:
    onion = bytes.fromhex(load("bolt04/onion-test")["onion"])
    for mode in range(3):
        yield bytes([mode]) + onion
    yield from (b"\x01" + payload for payload in onion_payloads())


def failure_returns() -> Iterator[bytes]:
    yield b"\0" + bytes.fromhex(load("bolt04/onion-error-test")["errorpacket"])
    yield from (b"\x01" + message for message in failure_messages())


def invoices() -> Iterator[bytes]:
    vectors = load("bolt11-invoices")
    for case in (*vectors["valid"], *vectors["invalid"]):
        yield b"\0" + case["invoice"].encode()
    for case in vectors["valid"]:
        hrp, groups, _ = decode_bech32(case["invoice"], 8192)
        yield b"\x01" + hrp.encode() + b"\0" + groups[:-104]
        yield b"\x02" + hrp.encode() + b"\0" + groups


def addresses() -> Iterator[bytes]:
    for key in load("bip84")["keys"]:
        yield b"\0" + key["address"].encode()
    yield b"\x03mm3aPLSv9fBrbS68JzurAMp4xGoddJ6pSf"
    for network in range(len(Network)):
        yield bytes([network + 1 * len(Network), 0]) + bytes(20)
        yield bytes([network + 2 * len(Network), 0]) + bytes(32)
        yield bytes([network + 3 * len(Network), 1]) + bytes(52)


def configs() -> Iterator[bytes]:
    yield b"accept_forwards_to_priv_channels = true\n[channel_handshake_config]\nour_max_accepted_htlcs = 7\n"
    yield b'[channel_config]\nforwarding_fee_base_msat = 1\nuser_data = {type = "x", msat = 5}\n'
    yield b"channel_handshake_config.minimum_depth=3"


def bitcoind_answers() -> Iterator[bytes]:
    header = load("bolt03-b-funding")["values"]["block_0_(genesis)"]
    answers: tuple[object, ...] = (
        {"chain": "main", "blocks": 1, "headers": 2, "initialblockdownload": True},
        "00" * 32,
        {"height": 7},
        header[:160],
        {"value": 0.5, "scriptPubKey": {"hex": "0014" + "00" * 20}},
        {"package_msg": "success"},
        {"mempoolminfee": 0.00001, "feerate": 1e-8},
        None,
    )
    for question in range(9):
        for answer in answers:
            yield bytes([question, 0]) + json.dumps({"result": answer, "error": None, "id": 1}).encode()
        yield bytes([question, 1]) + json.dumps({"error": {"code": -28, "message": "Loading"}}).encode()


def stored_records() -> Iterator[bytes]:
    """The rows of a node in full work, and what its log has beyond them."""
    found: list[tuple[str, bytes]] = []
    with closing(sqlite3.connect(f"file:{VECTORS / 'store-v1' / 'node.db'}?mode=ro&immutable=1", uri=True)) as database:
        found += [(_text(name), bytes(value)) for name, value in database.execute("SELECT name, value FROM state")]
    numbers = {table.name: number for number, table in enumerate(TABLES)}
    for name, value in found:
        if name in numbers:
            yield bytes([numbers[name]]) + value


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def store_rows() -> Iterator[bytes]:
    yield b"\0" + records.encode(Batch(7, (Put("htlcs", b"key", b"value"),)))
    header = framing.Header(STORE_ID, 3, tables={"htlcs": framing.TableSummary(1, 2)})
    yield b"\x01" + framing.frame_header(header)[0]
    yield b"\x03" + (VECTORS / "store-v1" / "tail").read_bytes()
    yield b"\x04" + (5).to_bytes(8, "big") + (6).to_bytes(8, "big")


def transactions() -> Iterator[bytes]:
    for name in ("bolt03-c-commitment", "bolt03-f-anchors"):
        for case in load(name)["cases"][:3]:
            found = case.get("commit_tx") or case.get("ExpectedCommitmentTxHex")
            if found:
                yield bytes.fromhex(found)
    values = load("bolt03-g-dualfund")["values"]
    yield bytes.fromhex(values["signed_funding_tx"])
    yield bytes.fromhex(values["unsigned_funding_tx"])


def blocks() -> Iterator[bytes]:
    values = load("bolt03-b-funding")["values"]
    genesis, second = (bytes.fromhex(values[name]) for name in ("block_0_(genesis)", "block_1"))
    yield genesis
    yield second
    yield genesis[:80] + b"\x02" + b"".join(list(transactions())[-2:])


def handshakes() -> Iterator[bytes]:
    for direction in (0, 1):
        for act in (0, 2, 4):
            # The act with a changed bit, whole and in pieces; then bytes as messages.
            yield bytes([1, direction | act, 3, 1, 6]) + encode(_struct(MESSAGES[0], True))[:6]
            yield bytes([2, direction | act | 8, 9, 3, 1, 0, 6]) + b"\x00\x10\0\0\0\0"
    act_one = next(
        step
        for test in load("bolt08-transport")["tests"]
        for step in test["steps"]
        if isinstance(step, dict) and "input" in step
    )["input"]
    yield b"\0" + bytes([49]) + bytes.fromhex(act_one)[:50]


def peer_streams() -> Iterator[bytes]:
    """Each operation by itself, after a clean start and in the middle of the first exchange; then mixtures."""
    for operation in range(16):
        yield bytes([0, operation]) + bytes([1, 0, 4]) * 3
        yield bytes([1, operation]) + bytes([2, 1, 8]) * 3
    for kind in MESSAGES:
        message = encode(_struct(kind, tlvs=False))
        yield bytes([0, 0]) + len(message).to_bytes(2, "big") + message
    # Payments of each direction with a message of the dance changed, dropped or twice.
    for pair in range(4):
        for trouble in (2, 3, 4, 5, 6):
            yield bytes([0, 9, pair + 4, 7, 7, trouble, 0, 0, 40, 1, 8, 9, pair + 8, 8, 14, 0, 12])


def c_seeds(name: str) -> Iterable[bytes]:
    """For a target of ext/tests."""
    if name == "c_tx":
        return transactions()
    if name == "c_block":
        return blocks()
    if name == "c_onion":
        onion = bytes.fromhex(load("bolt04/onion-test")["onion"])
        return [bytes([0, mode]) + onion for mode in range(4)]
    return [hashlib.sha256(bytes([number])).digest() * 4 for number in range(4)]
