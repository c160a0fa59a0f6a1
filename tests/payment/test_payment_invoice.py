"""BOLT 11: every example of the BOLT, round trips, and what must be refused."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyln_fast.features import Features
from pyln_fast.payment import invoice
from pyln_fast.payment.invoice import (
    InvalidInvoiceSignature,
    Invoice,
    UnsignedInvoice,
    decode,
    sign,
)
from pyln_fast.payment.invoice_fields import (
    MAX_AMOUNT_MSAT,
    Fallback,
    InvalidInvoice,
    InvoiceRefused,
    RouteHintHop,
    decode_amount,
    encode_amount,
    tagged,
)
from pyln_fast.payment.tagged_fields import UnknownInvoiceFeatures
from pyln_fast.tx import bech32
from pyln_fast.tx.keys import public_key, sign_recoverable
from pyln_fast.types import (
    Blocks,
    Msat,
    Network,
    NodeId,
    PaymentHash,
    PaymentSecret,
    PublicKey,
    Secret,
    ShortChannelId,
    Signature,
    UnixTime,
)

BOLT = json.loads((Path(__file__).parents[1] / "vectors" / "bolt11-invoices.json").read_text())
VALID = [vector["invoice"] for vector in BOLT["valid"]]
PAYMENT_HASH = PaymentHash(bytes.fromhex("0001020304050607080900010203040506070809000102030405060708090102"))
PAYMENT_SECRET = PaymentSecret(b"\x11" * 32)
CAKE = hashlib.sha256(
    b"One piece of chocolate cake, one icecream cone, one pickle, one slice of swiss cheese, one slice of salami, "
    b"one lollypop, one piece of cherry pie, one sausage, one cupcake, and one slice of watermelon"
).digest()


class Key:
    """A node that signs with one key."""

    def __init__(self, secret: bytes) -> None:
        self.secret = Secret(secret)

    def get_node_id(self) -> NodeId:
        return NodeId(public_key(self.secret))

    def sign_invoice(self, hrp: str, data: bytes) -> tuple[Signature, int]:
        return sign_recoverable(self.secret, hashlib.sha256(hrp.encode() + data).digest())


NODE = Key(bytes.fromhex(BOLT["priv_key"]))
BASE = UnsignedInvoice(
    network=Network.MAINNET,
    timestamp=UnixTime(1496314658),
    payment_hash=PAYMENT_HASH,
    payment_secret=PAYMENT_SECRET,
    features=Features(b"\x41\x00"),
)


def hop(node_id: str, scid: int, base: int, proportional: int, delta: int) -> RouteHintHop:
    source = NodeId(PublicKey(bytes.fromhex(node_id)))
    return RouteHintHop(source, ShortChannelId(scid), Msat(base), proportional, Blocks(delta))


HASHED = msgspec.structs.replace(BASE, amount_msat=Msat(2_000_000_000), description_hash=CAKE)
BEANS = msgspec.structs.replace(
    BASE,
    amount_msat=Msat(2_500_000_000),
    description="coffee beans",
    features=Features((1 << 99 | 1 << 14 | 1 << 8).to_bytes(13, "big")),
)


def replace(base: UnsignedInvoice, **changes: object) -> UnsignedInvoice:
    return msgspec.structs.replace(base, **changes)


ROUTE = (
    hop("029e03a901b85534ff1e92c43c74431f7ce72046060fcf7a95c37e148f78c77255", 0x0102030405060708, 1, 20, 3),
    hop("039e03a901b85534ff1e92c43c74431f7ce72046060fcf7a95c37e148f78c77255", 0x030405060708090A, 2, 30, 4),
)

# What the BOLT's prose says of each valid example, in its order.
MEANING = [
    replace(BASE, description="Please consider supporting this project"),
    replace(BASE, amount_msat=250_000_000, description="1 cup coffee", expiry_secs=60),
    replace(BASE, amount_msat=250_000_000, description="ナンセンス 1杯", expiry_secs=60),
    HASHED,
    replace(
        HASHED,
        network=Network.TESTNET,
        fallbacks=(Fallback(17, bytes.fromhex("3172b5654f6683c8fb146959d347ce303cae4ca7")),),
    ),
    replace(
        HASHED,
        fallbacks=(Fallback(17, bytes.fromhex("04b61f7dc1ea0dc99424464cc4064dc564d91e89")),),
        route_hints=(ROUTE,),
    ),
    replace(HASHED, fallbacks=(Fallback(18, bytes.fromhex("8f55563b9a19f321c211e9b9f38cdf686ea07845")),)),
    replace(HASHED, fallbacks=(Fallback(0, bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")),)),
    replace(
        HASHED,
        fallbacks=(Fallback(0, bytes.fromhex("1863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262")),),
    ),
    replace(
        HASHED,
        fallbacks=(Fallback(1, bytes.fromhex("0adac43daa9c8a5a68e09ea10692b82226ee190e572db9b90e17a410484ab405")),),
    ),
    None,
    BEANS,
    BEANS,
    BEANS,
    replace(
        BASE,
        amount_msat=1_000_000_000,
        description="payment metadata inside",
        payment_metadata=bytes.fromhex("01fafaf0"),
        features=Features((1 << 48 | 1 << 14 | 1 << 8).to_bytes(7, "big")),
    ),
    replace(BASE, description="Please consider supporting this project"),
]


def terms(found: Invoice) -> UnsignedInvoice:
    return UnsignedInvoice(**{name: getattr(found, name) for name in UnsignedInvoice.__struct_fields__})


@pytest.mark.parametrize(("vector", "meaning"), list(zip(BOLT["valid"], MEANING)))
def test_valid(vector: dict[str, str], meaning: UnsignedInvoice | None) -> None:
    found = decode(vector["invoice"])
    if "signature" in vector:
        assert found.signature.hex() == vector["signature"]
        assert found.recovery_id == vector["recovery"]
    if meaning is not None:
        assert terms(found) == meaning
        if "high-S" not in vector["description"]:
            assert found.payee.hex() == BOLT["node_id"]


def test_pico_bitcoin() -> None:
    found = decode(VALID[10])
    assert found.amount_msat == 967_878_534
    assert (found.expiry_secs, found.min_final_cltv_expiry_delta) == (604_800, 10)
    assert found.route_hints == (
        (
            hop(
                "03d06758583bb5154774a6eb221b1276c9e82d65bbaceca806d90e20c108f4b1c7", 0x08FE4E000CF00001, 1000, 2500, 40
            ),
        ),
    )


def test_we_write_what_the_bolt_writes() -> None:
    """The signed words of its first example but for the fields' order: the same fields, the same signature scheme."""
    found = decode(VALID[0])
    words = bech32.decode(VALID[0], 1000)[1][:-104]
    signature, recovery_id = NODE.sign_invoice("lnbc", bech32.to_bytes(words, pad=True))
    assert (signature, recovery_id) == (found.signature, found.recovery_id)
    again = decode(sign(terms(found), NODE).text)
    assert terms(again) == terms(found)


WHY = [
    ("9 field", "required features that we do not know: 100"),
    ("bech32", "the checksum does not match"),
    ("bech32", "no prefix with the separator 1 after it"),
    ("bech32", "upper and lower case are mixed"),
    ("signature", "no key can have made it"),
    ("data", "103 groups, too few for a timestamp and a signature"),
    ("amount", "'x' is no multiplier"),
    ("amount", "2500000001 pico-bitcoin are not a whole number of millisatoshi"),
    ("s field", "missing"),
    ("signature", "not by the node in the n field, or with a high S"),
]


@pytest.mark.parametrize(("vector", "why"), list(zip(BOLT["invalid"], WHY)))
def test_invalid(vector: dict[str, str], why: tuple[str, str]) -> None:
    with pytest.raises(InvalidInvoice) as error:
        decode(vector["invoice"])
    assert (error.value.what, error.value.why) == why


def test_typed_refusals() -> None:
    with pytest.raises(UnknownInvoiceFeatures) as features:
        decode(BOLT["invalid"][0]["invoice"])
    assert features.value.bits == (100,)
    with pytest.raises(InvalidInvoiceSignature):
        decode(BOLT["invalid"][4]["invoice"])


def test_a_uri_and_white_space() -> None:
    assert decode(f" lightning:{VALID[1]}\n") == decode(VALID[1])
    assert decode(f"LIGHTNING:{VALID[12]}").payee.hex() == BOLT["node_id"]


def test_networks() -> None:
    test = decode(VALID[4])
    assert [network for network in Network if test.is_for(network)] == [Network.TESTNET, Network.TESTNET4]
    for network in (Network.SIGNET, Network.REGTEST, Network.MAINNET):
        signed = sign(replace(BASE, network=network, description="x"), NODE)
        assert decode(signed.text).network == network
    assert signed.expires_at == 1496314658 + 3600
    assert not signed.is_expired(signed.expires_at)
    assert signed.is_expired(UnixTime(signed.expires_at + 1))


points = st.integers(1, 50).map(lambda n: NodeId(public_key(Secret(n.to_bytes(32, "big")))))
hops = st.builds(
    RouteHintHop,
    points,
    st.integers(0, 2**64 - 1).map(ShortChannelId),
    st.integers(0, 2**32 - 1).map(Msat),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**16 - 1).map(Blocks),
)
fallbacks = st.one_of(
    st.builds(Fallback, st.just(0), st.binary(min_size=20, max_size=20) | st.binary(min_size=32, max_size=32)),
    st.builds(Fallback, st.integers(1, 16), st.binary(min_size=2, max_size=40)),
    st.builds(Fallback, st.sampled_from([17, 18]), st.binary(min_size=20, max_size=20)),
)
descriptions = st.one_of(
    st.builds(lambda text: {"description": text}, st.text(st.characters(codec="utf-8"), max_size=60)),
    st.builds(lambda data: {"description_hash": data}, st.binary(min_size=32, max_size=32)),
)
odd_features = st.sets(st.sampled_from([8, 9, 14, 15, 16, 17, 25, 37, 49, 101, 261])).map(
    lambda bits: Features.decode(sum(1 << bit for bit in bits).to_bytes(33, "big"))
)
invoices = st.builds(
    lambda description, **fields: UnsignedInvoice(**description, **fields),
    descriptions,
    network=st.sampled_from([Network.MAINNET, Network.TESTNET, Network.SIGNET, Network.REGTEST]),
    timestamp=st.integers(0, 2**35 - 1).map(UnixTime),
    payment_hash=st.binary(min_size=32, max_size=32).map(PaymentHash),
    payment_secret=st.binary(min_size=32, max_size=32).map(PaymentSecret),
    amount_msat=st.none() | st.integers(1, MAX_AMOUNT_MSAT).map(Msat),
    expiry_secs=st.integers(0, 2**32 - 1),
    min_final_cltv_expiry_delta=st.integers(0, 2**16 - 1).map(Blocks),
    features=odd_features,
    payment_metadata=st.none() | st.binary(max_size=100),
    route_hints=st.lists(st.lists(hops, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
    fallbacks=st.lists(fallbacks, max_size=2).map(tuple),
    names_payee=st.booleans(),
)


@settings(max_examples=150)
@given(invoices, st.integers(1, 20))
def test_round_trip(unsigned: UnsignedInvoice, key: int) -> None:
    node = Key(key.to_bytes(32, "big"))
    signed = sign(unsigned, node)
    assert decode(signed.text) == signed
    assert terms(signed) == unsigned
    assert signed.payee == node.get_node_id()
    assert terms(decode(signed.text.upper())) == unsigned


@given(st.integers(1, MAX_AMOUNT_MSAT).map(Msat))
def test_amounts(amount: Msat) -> None:
    text = encode_amount(amount)
    assert decode_amount(text) == amount
    pico = f"{amount * 10}p"
    assert decode_amount(pico) == amount
    assert len(text) <= len(pico)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("", None), ("1", 10**11), ("1m", 10**8), ("25m", 25 * 10**8), ("1u", 10**5), ("10n", 1000), ("10p", 1)],
)
def test_amount_examples(text: str, amount: int | None) -> None:
    assert decode_amount(text) == amount


@pytest.mark.parametrize("text", ["0", "01", "0m", "1p", "m", "1x", "1mm", "-1", "1.5m", "21000001", "9" * 30, "²"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInvoice) as error:
        decode_amount(text)
    assert error.value.what == "amount"


def rewritten(fields: bytes, hrp: str = "lnbc") -> str:
    """An invoice of these fields, properly signed, whatever they hold."""
    groups = bech32.from_int(1496314658, 7) + fields
    signature, recovery_id = NODE.sign_invoice(hrp, bech32.to_bytes(groups, pad=True))
    return bech32.encode(hrp, groups + bech32.to_groups(signature + bytes((recovery_id,))), bech32.BECH32)


P = tagged("p", bech32.to_groups(PAYMENT_HASH))
S = tagged("s", bech32.to_groups(PAYMENT_SECRET))
D = tagged("d", bech32.to_groups(b"x"))
H = tagged("h", bech32.to_groups(bytes(32)))


@pytest.mark.parametrize(
    ("fields", "what", "why"),
    [
        (S + D, "p field", "missing"),
        (P + D, "s field", "missing"),
        (P + P + S + D, "p field", "there are 2, at most one is allowed"),
        (P + S + S + D, "s field", "there are 2, at most one is allowed"),
        (P + S + D + D, "d field", "there are 2, at most one is allowed"),
        (P + S, "description", "there must be either a d field or an h field"),
        (P + S + D + H, "description", "there must be either a d field or an h field"),
        (P + S + H + H, "h field", "there are 2, at most one is allowed"),
        (P[:1] + b"\1\x13" + P[3:-1] + S + D, "p field", "51 groups, not 52"),
        (P + S + tagged("h", bytes(51)), "h field", "51 groups, not 52"),
        (P + S + tagged("d", bech32.to_groups(b"\xff\xfe")), "d field", "not UTF-8"),
        (P + S + D + tagged("x", b"\0\1"), "x field", "it begins with zeros: not the shortest encoding"),
        (P + S + D + tagged("c", b"\0"), "c field", "it begins with zeros: not the shortest encoding"),
        (P + S + D + tagged("9", b"\0\x10"), "9 field", "it begins with zeros: not the shortest encoding"),
        (P + S + D + tagged("x", b"\1" + bytes(7)), "x field", f"{1 << 35}, at most {0xFFFFFFFF} makes sense"),
        (P + S + D + tagged("c", b"\1" + bytes(4)), "c field", f"{1 << 20}, at most 65535 makes sense"),
        (P + S + D + tagged("n", bytes(53)), "n field", f"{'00' * 33} is no public key"),
        (P + S + D + tagged("r", bech32.to_groups(bytes(50))), "r field", "50 bytes, not a number of hops of 51"),
        (P + S + D + tagged("r", b""), "r field", "0 bytes, not a number of hops of 51"),
        (P + S + D + tagged("r", bech32.to_groups(bytes(51))), "r field", f"{'00' * 33} is no public key"),
        (P + S + D + tagged("f", b""), "f field", "empty"),
        (P + S + D + tagged("f", b"\0" + bech32.to_groups(bytes(21))), "f field", "21 bytes for version 0"),
        (P + S + D + b"\1\0\5\0", "p field", "it goes on after the end of the data"),
        (P + S + D + b"\1", "p field", "it goes on after the end of the data"),
    ],
)
def test_fields_that_are_wrong(fields: bytes, what: str, why: str) -> None:
    with pytest.raises(InvalidInvoice) as error:
        decode(rewritten(fields))
    assert (error.value.what, error.value.why) == (what, why)


def test_a_wrong_prefix() -> None:
    for hrp in ("lnbb", "lnbc20z1", "xnbc", "ln", "lntbx"):
        with pytest.raises(InvalidInvoice):
            decode(rewritten(P + S + D, hrp))


def test_unknown_fields_and_versions_are_skipped() -> None:
    found = decode(
        rewritten(tagged("2", b"\3") + P + tagged("f", b"\x13" + bytes(32)) + S + D + tagged("p", bytes(51)))
    )
    assert terms(found) == replace(BASE, description="x", features=Features())


def test_a_payee_that_did_not_sign_is_refused() -> None:
    other = tagged("n", bech32.to_groups(public_key(Secret(b"\5" * 32))))
    with pytest.raises(InvalidInvoiceSignature):
        decode(rewritten(P + S + D + other))


@pytest.mark.parametrize("named", [True, False])
def test_a_recovery_id_that_is_none(named: bool) -> None:
    hrp, groups, _ = bech32.decode(sign(replace(BASE, description="x", names_payee=named), NODE).text, 1000)
    damaged = groups[:-104] + bech32.to_groups(bech32.to_bytes(groups[-104:])[:64] + b"\4")
    with pytest.raises(InvalidInvoiceSignature) as error:
        decode(bech32.encode(hrp, damaged, bech32.BECH32))
    assert error.value.why == "a recovery id of 4"


@pytest.mark.parametrize("text", [VALID[1], VALID[5], VALID[14]])
def test_cut_off_or_damaged_anywhere(text: str) -> None:
    """Behind the checksum too: the words are changed and given a checksum that matches."""
    hrp, groups, _ = bech32.decode(text, 1000)
    for at in range(len(text)):
        with pytest.raises(InvalidInvoice):
            decode(text[:at])
        with pytest.raises(InvalidInvoice):
            decode(text[:at] + ("q" if text[at] != "q" else "p") + text[at + 1 :])
    payee = decode(text).payee
    for at in range(len(groups)):
        accepted_only_from_another(bech32.encode(hrp, groups[:at], bech32.BECH32), payee)
        for change in (1, 16, 31):
            damaged = groups[:at] + bytes((groups[at] ^ change,)) + groups[at + 1 :]
            accepted_only_from_another(bech32.encode(hrp, damaged, bech32.BECH32), payee)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    with pytest.raises(InvalidInvoice):
        decode(text)


@given(st.sampled_from(["lnbc", "lnbc1m", "lntb20u", "lnbcrt"]), st.lists(st.integers(0, 31), max_size=400).map(bytes))
def test_any_words(hrp: str, groups: bytes) -> None:
    accepted_only_from_another(bech32.encode(hrp, groups, bech32.BECH32), NODE.get_node_id())


def accepted_only_from_another(text: str, payee: NodeId) -> None:
    """Without an n field any words are somebody's, but never those of `payee`."""
    try:
        found = decode(text)
    except InvalidInvoice:
        return
    assert found.payee != payee


FIRST_HOP = ROUTE[0]


@pytest.mark.parametrize(
    ("changes", "what", "why"),
    [
        ({"description": None}, "description", "there must be either a description or the hash of one"),
        ({"description_hash": bytes(32)}, "description", "there must be either a description or the hash of one"),
        ({"description": "x" * 640}, "d field", "1024 groups, BOLT 11 allows 1023"),
        ({"payment_metadata": bytes(640)}, "m field", "1024 groups, BOLT 11 allows 1023"),
        ({"amount_msat": 0}, "amount", f"0, it may be 1 to {MAX_AMOUNT_MSAT}"),
        ({"amount_msat": MAX_AMOUNT_MSAT + 1}, "amount", f"{MAX_AMOUNT_MSAT + 1}, it may be 1 to {MAX_AMOUNT_MSAT}"),
        ({"timestamp": 1 << 35}, "timestamp", f"{1 << 35}, it may be 0 to {(1 << 35) - 1}"),
        ({"expiry_secs": -1}, "expiry", "-1, it may be 0 to 4294967295"),
        ({"min_final_cltv_expiry_delta": 1 << 16}, "min_final_cltv_expiry_delta", "65536, it may be 0 to 65535"),
        ({"route_hints": ((),)}, "route hint", "it has no hops"),
        ({"route_hints": ((FIRST_HOP,) * 13,)}, "r field", "1061 groups, BOLT 11 allows 1023"),
        (
            {"route_hints": ((msgspec.structs.replace(FIRST_HOP, fee_base_msat=1 << 32),),)},
            "fee_base_msat",
            "4294967296, it may be 0 to 4294967295",
        ),
        ({"fallbacks": (Fallback(0, bytes(21)),)}, "fallback", "21 bytes for version 0"),
        ({"fallbacks": (Fallback(19, bytes(20)),)}, "fallback", "20 bytes for version 19"),
        ({"fallbacks": (Fallback(-1, bytes(20)),)}, "fallback", "20 bytes for version -1"),
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, object], what: str, why: str) -> None:
    with pytest.raises(InvoiceRefused) as refused:
        sign(replace(BASE, **{"description": "x", **changes}), NODE)
    assert (refused.value.what, refused.value.why) == (what, why)


def test_the_longest_description() -> None:
    assert decode(sign(replace(BASE, description="x" * 639), NODE).text).description == "x" * 639


def test_a_text_too_long_or_in_bech32m_is_not_read() -> None:
    with pytest.raises(InvalidInvoice) as error:
        decode("lnbc1" + "q" * invoice.MAX_TEXT)
    assert error.value.what == "bech32"
    hrp, groups, _ = bech32.decode(VALID[0], 1000)
    with pytest.raises(InvalidInvoice) as error:
        decode(bech32.encode(hrp, groups, bech32.BECH32M))
    assert error.value.why == "the checksum is that of Bech32m"


def test_the_payment_secret_stays_out_of_texts() -> None:
    assert PAYMENT_SECRET.hex() not in repr(decode(VALID[0]))
    assert "payment_secret=<PaymentSecret of 32 bytes>" in repr(decode(VALID[0]))
