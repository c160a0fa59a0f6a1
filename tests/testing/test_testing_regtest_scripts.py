"""The script rules: what the kernel refuses and why, what only policy refuses, and the two against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import product

import coincurve
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.testing.regtest import RegtestNode
from pyln_fast.testing.regtest.kernel import InputVerifier
from pyln_fast.testing.regtest.script_signatures import der_numbers
from pyln_fast.testing.regtest.script_verify import failure
from pyln_fast.testing.regtest.scripts import ScriptType, script_type
from pyln_fast.tx.scripts import p2wsh
from pyln_fast.tx.transaction import Transaction, serialize, serialize_output, with_witness
from pyln_fast.types import OutPoint, Sat, Txid, TxOut
from tests.regtest_bench import (
    COIN_SAT,
    KEY,
    P2A,
    P2WPKH,
    P2WSH_TRUE,
    PUBLIC_KEY,
    TRUE,
    Bench,
    Spend,
    hash160,
    p2sh,
    sign_legacy,
    sign_witness_v0,
    transaction,
)

BURN = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P2PKH = b"\x76\xa9\x14" + hash160(PUBLIC_KEY) + b"\x88\xac"
UNCOMPRESSED = KEY.public_key.format(compressed=False)
HYBRID = bytes([6 + UNCOMPRESSED[-1] % 2]) + UNCOMPRESSED[1:]
CHECKSIG = b"\x21" + PUBLIC_KEY + b"\xac"
FALSE_TOP = "Script evaluated without error but finished with a false/empty top stack element"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with RegtestNode(seed=bytes(32), premine=110) as node:
        yield Bench(node)


def push(data: bytes) -> bytes:
    return bytes([len(data)]) + data if len(data) < 76 else b"\x4c" + bytes([len(data)]) + data


def high_s(signature: bytes) -> bytes:
    numbers = der_numbers(signature)
    assert numbers is not None

    def integer(value: int) -> bytes:
        digits = value.to_bytes(value.bit_length() // 8 + 1, "big")
        return b"\x02" + bytes([len(digits)]) + digits

    body = integer(numbers[0]) + integer(ORDER - numbers[1])
    return b"\x30" + bytes([len(body)]) + body + signature[-1:]


def empty(coin: OutPoint, **changes: int) -> Transaction:
    return transaction([Spend(coin, ())], [(COIN_SAT - 20_000, P2WSH_TRUE)], **changes)


def witness(*items: bytes) -> Callable[[OutPoint], Transaction]:
    return lambda coin: with_witness(empty(coin), 0, items)


def signed(
    script: bytes, build: Callable[[bytes], tuple[bytes, ...]], hash_type: int = 1
) -> Callable[[OutPoint], Transaction]:
    """A version 0 witness that `build` makes of the signature."""

    def make(coin: OutPoint) -> Transaction:
        tx = empty(coin)
        return with_witness(tx, 0, build(sign_witness_v0(tx, 0, script, COIN_SAT, hash_type)))

    return make


def legacy(script: bytes, build: Callable[[bytes], bytes]) -> Callable[[OutPoint], Transaction]:
    """A scriptSig that `build` makes of the signature."""

    def make(coin: OutPoint) -> Transaction:
        script_sig = build(sign_legacy(empty(coin), 0, script))
        return transaction([Spend(coin, (), script_sig)], [(COIN_SAT - 20_000, P2WSH_TRUE)])

    return make


KEYHASH = P2PKH
MINIMAL_IF = b"\x63\x51\x67\x52\x68"
NOT_SIGNED = push(PUBLIC_KEY) + b"\xac\x91"
ONE_OF_ONE = b"\x51" + push(PUBLIC_KEY) + b"\x51\xae"
NO_MULTISIG = ONE_OF_ONE + b"\x91"
UNCOMPRESSED_CHECKSIG = push(UNCOMPRESSED) + b"\xac"
HYBRID_CHECKSIG = push(HYBRID) + b"\xac"
SEPARATED = b"\xab" + CHECKSIG
WRONG = sign_witness_v0(empty(OutPoint(Txid(bytes(32)), 0)), 0, TRUE)

# What pays, a spend that passes, a spend that only policy refuses, and Core's word for it.
POLICY = [
    (
        P2WPKH,
        signed(KEYHASH, lambda s: (s, PUBLIC_KEY)),
        signed(KEYHASH, lambda s: (high_s(s), PUBLIC_KEY)),
        "Non-canonical signature: S value is unnecessarily high",
    ),
    (
        P2WPKH,
        signed(KEYHASH, lambda s: (s, PUBLIC_KEY), 0x83),
        signed(KEYHASH, lambda s: (s, PUBLIC_KEY), 0x04),
        "Signature hash type missing or not understood",
    ),
    (
        p2wsh(MINIMAL_IF),
        witness(b"\x01", MINIMAL_IF),
        witness(b"\x02", MINIMAL_IF),
        "OP_IF/NOTIF argument must be minimal",
    ),
    (
        p2wsh(NOT_SIGNED),
        witness(b"", NOT_SIGNED),
        witness(WRONG, NOT_SIGNED),
        "Signature must be zero for failed CHECK(MULTI)SIG operation",
    ),
    (
        p2wsh(NO_MULTISIG),
        witness(b"", b"", NO_MULTISIG),
        witness(b"", WRONG, NO_MULTISIG),
        "Signature must be zero for failed CHECK(MULTI)SIG operation",
    ),
    (
        p2sh(TRUE),
        lambda coin: transaction([Spend(coin, (), push(TRUE))], [(COIN_SAT - 20_000, P2WSH_TRUE)]),
        lambda coin: transaction([Spend(coin, (), b"\x51" + push(TRUE))], [(COIN_SAT - 20_000, P2WSH_TRUE)]),
        "Stack size must be exactly one after execution",
    ),
    (
        p2sh(b"\x75\x51"),
        lambda coin: transaction([Spend(coin, (), b"\x51" + push(b"\x75\x51"))], [(COIN_SAT - 20_000, P2WSH_TRUE)]),
        lambda coin: transaction([Spend(coin, (), b"\x01\x01" + push(b"\x75\x51"))], [(COIN_SAT - 20_000, P2WSH_TRUE)]),
        "Data push larger than necessary",
    ),
    (
        p2wsh(b"\x8c"),
        witness(b"\x02", b"\x8c"),
        witness(b"\x02\x00", b"\x8c"),
        "Script number overflowed or is non-minimally encoded",
    ),
    (p2wsh(b"\x51\x61"), witness(b"\x51\x61"), None, ""),
    (p2wsh(b"\x51\xb3"), None, witness(b"\x51\xb3"), "NOPx reserved for soft-fork upgrades"),
    (
        p2wsh(UNCOMPRESSED_CHECKSIG),
        None,
        signed(UNCOMPRESSED_CHECKSIG, lambda s: (s, UNCOMPRESSED_CHECKSIG)),
        "Using non-compressed keys in segwit",
    ),
    (
        p2sh(UNCOMPRESSED_CHECKSIG),
        legacy(UNCOMPRESSED_CHECKSIG, lambda s: push(s) + push(UNCOMPRESSED_CHECKSIG)),
        None,
        "",
    ),
    (
        p2sh(HYBRID_CHECKSIG),
        None,
        legacy(HYBRID_CHECKSIG, lambda s: push(s) + push(HYBRID_CHECKSIG)),
        "Public key is neither compressed or uncompressed",
    ),
    (
        p2sh(SEPARATED),
        None,
        legacy(CHECKSIG, lambda s: push(s) + push(SEPARATED)),
        "Using OP_CODESEPARATOR in non-witness script",
    ),
    (p2wsh(SEPARATED), signed(CHECKSIG, lambda s: (s, SEPARATED)), None, ""),
]


@pytest.mark.parametrize(("script", "good", "bad", "reason"), POLICY)
def test_valid_scripts_that_are_not_standard(
    bench: Bench,
    script: bytes,
    good: Callable[[OutPoint], Transaction] | None,
    bad: Callable[[OutPoint], Transaction] | None,
    reason: str,
) -> None:
    first, second = bench.coins([script, script])
    if good is not None:
        bench.accept(good(first))
        bench.mine_mempool()
    if bad is not None:
        refused = bench.refuse(bad(second), f"non-mandatory-script-verify-flag ({reason})")
        assert refused.details.startswith("input 0 of ")
        bench.node.mine_transactions(BURN, [serialize(bad(second))])


# What pays, a spend that passes, one that is invalid, and Core's word for it.
CONSENSUS = [
    (
        P2PKH,
        legacy(P2PKH, lambda s: push(s) + push(PUBLIC_KEY)),
        legacy(P2PKH, lambda s: push(s[:-2] + s[-1:]) + push(PUBLIC_KEY)),
        "Non-canonical DER signature",
    ),
    (
        P2PKH,
        legacy(P2PKH, lambda s: push(s) + push(PUBLIC_KEY)),
        legacy(P2PKH, lambda s: push(WRONG) + push(PUBLIC_KEY)),
        FALSE_TOP,
    ),
    (
        P2PKH,
        legacy(P2PKH, lambda s: push(s) + push(PUBLIC_KEY)),
        legacy(P2PKH, lambda s: push(s) + push(UNCOMPRESSED)),
        "Script failed an OP_EQUALVERIFY operation",
    ),
    (
        P2WPKH,
        signed(KEYHASH, lambda s: (s, PUBLIC_KEY)),
        signed(KEYHASH, lambda s: (s, PUBLIC_KEY, b"")),
        "Witness program hash mismatch",
    ),
    (
        p2wsh(ONE_OF_ONE),
        signed(ONE_OF_ONE, lambda s: (b"", s, ONE_OF_ONE)),
        signed(ONE_OF_ONE, lambda s: (b"\x01", s, ONE_OF_ONE)),
        "Dummy CHECKMULTISIG argument must be zero",
    ),
    (P2WSH_TRUE, witness(TRUE), witness(), "Witness program was passed an empty witness"),
    (P2WSH_TRUE, witness(TRUE), witness(b"\x52"), "Witness program hash mismatch"),
    (P2WSH_TRUE, witness(TRUE), witness(b"", TRUE), "Stack size must be exactly one after execution"),
    (
        P2WSH_TRUE,
        witness(TRUE),
        lambda coin: transaction([Spend(coin, (TRUE,), b"\x51")], [(COIN_SAT - 20_000, P2WSH_TRUE)]),
        "Witness requires empty scriptSig",
    ),
    (
        p2wsh(b"\x75\x51"),
        witness(b"", b"\x75\x51"),
        witness(b"\x75\x51"),
        "Operation not valid with the current stack size",
    ),
    (
        p2wsh(b"\x69\x51"),
        witness(b"\x01", b"\x69\x51"),
        witness(b"", b"\x69\x51"),
        "Script failed an OP_VERIFY operation",
    ),
    (p2wsh(b"\x7c\x7e"), None, witness(b"", b"", b"\x7c\x7e"), "Attempted to use a disabled opcode"),
    (p2wsh(b"\x6a"), None, witness(b"\x6a"), "OP_RETURN was encountered"),
    (p2wsh(b"\x63\x51"), None, witness(b"\x01", b"\x63\x51"), "Invalid OP_IF construction"),
    (p2wsh(b"\x51\x02\x01"), None, witness(b"\x51\x02\x01"), "Opcode missing or not understood"),
    (p2wsh(b"\x53\xb1"), None, witness(b"\x53\xb1"), "Locktime requirement not satisfied"),
    (p2wsh(b"\x53\xb2"), None, witness(b"\x53\xb2"), "Locktime requirement not satisfied"),
    (p2wsh(b"\x4f\xb2"), None, witness(b"\x4f\xb2"), "Negative locktime"),
]


@pytest.mark.parametrize(("script", "good", "bad", "reason"), CONSENSUS)
def test_invalid_scripts_are_refused_with_their_reason(
    bench: Bench,
    script: bytes,
    good: Callable[[OutPoint], Transaction] | None,
    bad: Callable[[OutPoint], Transaction],
    reason: str,
) -> None:
    first, second = bench.coins([script, script])
    if good is not None:
        bench.accept(good(first))
        bench.mine_mempool()
    bench.refuse(bad(second), f"mandatory-script-verify-flag-failed ({reason})")


def test_lock_times_in_scripts(bench: Bench) -> None:
    height, delay = b"\x01\x32\xb1", b"\x52\xb2"
    first, second = bench.coins([p2wsh(height), p2wsh(delay)])
    bench.node.mine(2)
    later = transaction([Spend(first, (height,), sequence=0xFFFFFFFE)], [(50_000, P2WSH_TRUE)], lock_time=60)
    bench.accept(later)
    bench.accept(transaction([Spend(second, (delay,), sequence=3)], [(50_000, P2WSH_TRUE)]))
    bench.mine_mempool()


# Taproot


def tagged(tag: str, data: bytes) -> bytes:
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def key_path_digest(tx: Transaction, spent: TxOut) -> bytes:
    """BIP 341 for the only input, default hash type."""
    tx_input = tx.inputs[0]

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    data = b"\x00\x00" + tx.version.to_bytes(4, "little") + tx.lock_time.to_bytes(4, "little")
    data += sha(tx_input.outpoint.txid + tx_input.outpoint.vout.to_bytes(4, "little"))
    data += sha(spent.value_sat.to_bytes(8, "little")) + sha(push(spent.script_pubkey))
    data += sha(tx_input.sequence.to_bytes(4, "little")) + sha(b"".join(map(serialize_output, tx.outputs)))
    return tagged("TapSighash", data + b"\x00" + bytes(4))


def leaf(script: bytes, version: int = 0xC0) -> tuple[bytes, bytes]:
    """(scriptPubKey, control block) of an output with one leaf."""
    internal = PUBLIC_KEY[1:]
    leaf_hash = tagged("TapLeaf", bytes([version]) + push(script))
    point = coincurve.PublicKey(b"\x02" + internal).add(tagged("TapTweak", internal + leaf_hash)).format()
    return b"\x51\x20" + point[1:], bytes([version | point[0] & 1]) + internal


def test_taproot_by_key(bench: Bench) -> None:
    script = b"\x51\x20" + PUBLIC_KEY[1:]
    first, second, third = bench.coins([script] * 3)
    tx = empty(first)
    digest = key_path_digest(tx, TxOut(Sat(COIN_SAT), script))
    signature = KEY.sign_schnorr(digest)
    bench.accept(with_witness(tx, 0, (signature,)))
    wrong = "mandatory-script-verify-flag-failed (Invalid Schnorr signature)"
    bench.refuse(with_witness(empty(second), 0, (signature,)), wrong)
    bench.refuse(with_witness(empty(third), 0, (signature, b"\x50")), "bad-witness-nonstandard")
    bench.mine_mempool()


@pytest.mark.parametrize(
    ("script", "version", "reason"),
    [
        (TRUE, 0xC0, None),
        (b"\x50", 0xC0, "OP_SUCCESSx reserved for soft-fork upgrades"),
        (TRUE, 0xC2, "Taproot version reserved for soft-fork upgrades"),
        (b"\x51" + b"\x02ab" + b"\xac", 0xC0, "Public key version reserved for soft-fork upgrades"),
        (b"\x51\xb3", 0xC0, "NOPx reserved for soft-fork upgrades"),
        (b"\x01\x05", 0xC0, "Data push larger than necessary"),
    ],
)
def test_taproot_by_script(bench: Bench, script: bytes, version: int, reason: str | None) -> None:
    script_pubkey, control = leaf(script, version)
    tx = with_witness(empty(bench.coin(script_pubkey)), 0, (script, control))
    if reason is None:
        bench.accept(tx)
        bench.mine_mempool()
    else:
        bench.refuse(tx, f"non-mandatory-script-verify-flag ({reason})")
        bench.node.mine_transactions(BURN, [serialize(tx)])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (b"\x52\x63\x51\x68", "OP_IF/NOTIF argument must be minimal in tapscript"),
        (b"\x51\x00\xac", "Empty public key in tapscript"),
        (b"\x00\x00\xae", "OP_CHECKMULTISIG(VERIFY) is not available in tapscript"),
        (b"\x00", FALSE_TOP),
    ],
)
def test_invalid_tapscripts(bench: Bench, script: bytes, reason: str) -> None:
    script_pubkey, control = leaf(script)
    tx = with_witness(empty(bench.coin(script_pubkey)), 0, (script, control))
    bench.refuse(tx, f"mandatory-script-verify-flag-failed ({reason})")


def test_tapscript_arguments_are_short(bench: Bench) -> None:
    script_pubkey, control = leaf(b"\x75\x51")
    first, second = bench.coins([script_pubkey, script_pubkey])
    bench.accept(witness(bytes(80), b"\x75\x51", control)(first))
    bench.refuse(witness(bytes(81), b"\x75\x51", control)(second), "bad-witness-nonstandard")
    bench.mine_mempool()


# The machine against the kernel

ELEMENTS = st.one_of(
    st.sampled_from([b"", b"\x01", b"\x02", b"\x80", b"\x81", b"\x00", b"\x02\x00", b"\x03\x00\x00\x00\x00", WRONG]),
    st.binary(max_size=6),
)
FRAGMENTS = st.one_of(
    st.integers(0x4F, 0xBA).map(lambda opcode: bytes([opcode])),
    st.sampled_from(
        [b"\x63\x51\x67\x52\x68", b"\x64\x68", b"\x76\x63\x8b\x68", CHECKSIG, NOT_SIGNED, ONE_OF_ONE, b"\x75", b"\x00"]
    ),
    ELEMENTS.map(push),
)


def judge(script_pubkey: bytes, tx: Transaction) -> tuple[bool, str | None, str | None]:
    spent = TxOut(Sat(COIN_SAT), script_pubkey)
    valid = InputVerifier(serialize(tx), [spent]).is_valid(0)
    return valid, failure(tx, 0, spent, policy=False), failure(tx, 0, spent, policy=True)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(FRAGMENTS, max_size=12), st.lists(ELEMENTS, max_size=5), st.sampled_from(["v0", "p2sh", "bare", "leaf"])
)
def test_the_machine_agrees_with_the_kernel(fragments: list[bytes], arguments: list[bytes], place: str) -> None:
    script = b"".join(fragments)
    coin = OutPoint(Txid(b"\x07" * 32), 1)
    tx = empty(coin, lock_time=50)
    if place == "v0":
        script_pubkey, tx = p2wsh(script), with_witness(tx, 0, (*arguments, script))
    elif place == "leaf":
        script = script[:252]
        tagged_leaf = tagged("TapLeaf", b"\xc0" + bytes([len(script)]) + script)
        internal = PUBLIC_KEY[1:]
        point = coincurve.PublicKey(b"\x02" + internal).add(tagged("TapTweak", internal + tagged_leaf)).format()
        script_pubkey = b"\x51\x20" + point[1:]
        tx = with_witness(tx, 0, (*arguments, script, bytes([0xC0 | point[0] & 1]) + internal))
    else:
        script_pubkey = p2sh(script) if place == "p2sh" else script
        script_sig = b"".join(map(push, [*arguments, *([script] if place == "p2sh" and len(script) < 256 else [])]))
        tx = transaction([Spend(coin, (), script_sig)], [(1_000, P2WSH_TRUE)], lock_time=50)
    valid, reason, strict = judge(script_pubkey, tx)
    if place == "leaf" and reason is None:
        # The kernel also knows whether a Schnorr signature is right.
        return
    assert valid == (reason is None), reason
    assert valid or strict is not None, "policy lets nothing pass that is invalid"


@pytest.mark.parametrize("operands", [1, 2, 3])
def test_arithmetic_agrees_with_the_kernel(operands: int) -> None:
    operations = {1: range(0x8B, 0x93), 2: range(0x93, 0xA5), 3: [0xA5]}[operands]
    small = [b"\x81", b"", b"\x01", b"\x02", b"\x03"]
    for opcode in operations:
        for result in small:
            script = bytes([opcode]) + push(result) + b"\x9c"
            for arguments in product(small, repeat=operands):
                tx = with_witness(empty(OutPoint(Txid(b"\x07" * 32), 1)), 0, (*arguments, script))
                valid, reason, _ = judge(p2wsh(script), tx)
                assert valid == (reason is None), (opcode, arguments, result, reason)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 255), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_hash_types_before_segwit(hash_type: int, inputs: int, outputs: int, separated: bool) -> None:
    """A signature over the package's own hash is right for the kernel: SIGHASH_SINGLE beyond the outputs too."""
    from pyln_fast.testing.regtest.script_signatures import legacy_sighash

    spends = [Spend(OutPoint(Txid(bytes([n]) * 32), n), ()) for n in range(inputs)]
    tx = transaction(spends, [(1_000 + n, P2WSH_TRUE) for n in range(outputs + 1)][: max(outputs, 1)])
    script = b"\xab" + CHECKSIG if separated else CHECKSIG
    index = inputs - 1
    digest = legacy_sighash(tx, index, script, hash_type)
    signature = KEY.sign(digest, hasher=None) + bytes([hash_type])
    raw_inputs = list(tx.inputs)
    signed_tx = transaction(
        [Spend(i.outpoint, (), push(signature) if n == index else b"") for n, i in enumerate(raw_inputs)],
        [(out.value_sat, out.script_pubkey) for out in tx.outputs],
    )
    spent = [TxOut(Sat(COIN_SAT), script)] * inputs
    assert InputVerifier(serialize(signed_tx), spent).is_valid(index)
    assert failure(signed_tx, index, spent[index], policy=False) is None


def test_types_of_scripts() -> None:
    cases = {
        P2PKH: ScriptType.PUBKEYHASH,
        p2sh(b""): ScriptType.SCRIPTHASH,
        P2WPKH: ScriptType.WITNESS_V0_KEYHASH,
        P2WSH_TRUE: ScriptType.WITNESS_V0_SCRIPTHASH,
        b"\x51\x20" + bytes(32): ScriptType.WITNESS_V1_TAPROOT,
        P2A: ScriptType.ANCHOR,
        b"\x52\x02ab": ScriptType.WITNESS_UNKNOWN,
        b"\x00\x02ab": ScriptType.NONSTANDARD,
        CHECKSIG: ScriptType.PUBKEY,
        UNCOMPRESSED_CHECKSIG: ScriptType.PUBKEY,
        ONE_OF_ONE: ScriptType.MULTISIG,
        b"\x6a": ScriptType.NULLDATA,
        b"\x6a\x02ab\x51": ScriptType.NULLDATA,
        b"\x6a\x76": ScriptType.NONSTANDARD,
        b"": ScriptType.NONSTANDARD,
    }
    assert {script: script_type(script) for script in cases} == cases
