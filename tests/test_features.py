import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyln_fast.features import (
    Feature,
    Features,
    InvalidFeatures,
    MissingDependency,
    MissingFeature,
    UnknownRequiredFeatures,
    channel_type,
    check_init,
    init_features,
    is_defined_channel_type,
    is_negotiated,
)

# BOLT 9's table: bits, name, contexts, dependencies; `-` where it names no context.
TABLE = """
0 option_data_loss_protect ASSUMED
4 option_upfront_shutdown_script IN
6 gossip_queries -
8 var_onion_optin ASSUMED
10 gossip_queries_ex IN
12 option_static_remotekey ASSUMED
14 payment_secret ASSUMED
16 basic_mpp IN9 payment_secret
18 option_support_large_channel IN
22 option_anchors INT
24 option_route_blinding IN9
26 option_shutdown_anysegwit IN
28 option_dual_fund IN
34 option_quiesce IN
36 option_attribution_data IN9
38 option_onion_messages IN
42 option_provide_storage IN
44 option_channel_type ASSUMED
46 option_scid_alias INT
48 option_payment_metadata 9
50 option_zeroconf INT option_scid_alias
60 option_simple_close IN option_shutdown_anysegwit
62 option_splice IN
"""


def test_the_table_is_bolt_9s() -> None:
    rows = [line.split() for line in TABLE.strip().splitlines()]
    assert [feature.bolt_name for feature in Feature] == [row[1] for row in rows]
    for feature, row in zip(Feature, rows):
        assert feature.value == int(row[0])
        assert feature.assumed == (row[2] == "ASSUMED")
        if re.fullmatch("[IN9T]+", row[2]):
            assert feature.contexts == row[2]
        assert [dependency.bolt_name for dependency in feature.dependencies] == row[3:]


@given(st.binary(max_size=20))
def test_decode_keeps_every_bit_and_drops_leading_zeros(raw: bytes) -> None:
    features = Features.decode(raw)
    assert features.encode() == raw.lstrip(b"\0")
    assert sum(1 << bit for bit in features.bits()) == int.from_bytes(raw, "big")
    assert Features.decode(b"\0" + raw) == features


def test_a_bit_is_odd_or_even_never_both() -> None:
    optional = Features().set_optional(Feature.OPTION_ANCHORS)
    assert optional.bits() == [23]
    assert optional.has(Feature.OPTION_ANCHORS)
    assert not optional.requires(Feature.OPTION_ANCHORS)
    required = optional.set_required(Feature.OPTION_ANCHORS)
    assert required.bits() == [22]
    assert required.requires(Feature.OPTION_ANCHORS)
    assert required.set_optional(Feature.OPTION_ANCHORS) == optional
    assert required.clear(Feature.OPTION_ANCHORS) == Features()
    # BOLT 9: a sender that sets both means the mandatory one.
    assert Features.decode(b"\xc0\0\0").requires(Feature.OPTION_ANCHORS)


def test_unknown_required_bits() -> None:
    features = Features.decode((1 << 100 | 1 << 101 | 1 << 2 | 1 << 3 | 1 << 22).to_bytes(13, "big"))
    assert features.unknown_required() == [2, 100]
    assert features.unsupported_required(Features()) == [2, 22, 100]
    assert features.unsupported_required(Features.of(optional=[Feature.OPTION_ANCHORS])) == [2, 100]


def test_what_bolt_9_assumes_is_neither_asked_for_nor_missed() -> None:
    ours = init_features(required=[Feature.PAYMENT_SECRET], optional=[Feature.BASIC_MPP])
    check_init(ours, Features())
    check_init(Features(), Features.of(required=[Feature.VAR_ONION_OPTIN, Feature.OPTION_CHANNEL_TYPE]))
    Features.of(optional=[Feature.BASIC_MPP]).check_dependencies()


def test_check_init() -> None:
    ours = init_features(required=[Feature.OPTION_ANCHORS], optional=[Feature.OPTION_QUIESCE])
    theirs = Features.of(optional=[Feature.OPTION_ANCHORS])
    check_init(ours, theirs)
    with pytest.raises(MissingFeature) as missing:
        check_init(ours, Features())
    assert missing.value.feature is Feature.OPTION_ANCHORS
    with pytest.raises(UnknownRequiredFeatures) as unknown:
        check_init(ours, theirs.set_required(Feature.OPTION_SPLICE))
    assert unknown.value.bits == [62]
    with pytest.raises(MissingDependency) as dependency:
        check_init(ours, theirs.set_optional(Feature.OPTION_ZEROCONF))
    assert (dependency.value.feature, dependency.value.dependency) == (
        Feature.OPTION_ZEROCONF,
        Feature.OPTION_SCID_ALIAS,
    )


def test_negotiated() -> None:
    anchors = Feature.OPTION_ANCHORS
    optional, required, none = Features.of(optional=[anchors]), Features.of(required=[anchors]), Features()
    assert is_negotiated(anchors, optional, optional)
    assert is_negotiated(anchors, optional, required)
    assert is_negotiated(anchors, required, none)
    assert not is_negotiated(anchors, optional, none)
    assert not is_negotiated(anchors, none, required)


def test_our_init_may_only_set_what_belongs_there() -> None:
    pair = [Feature.OPTION_SIMPLE_CLOSE, Feature.OPTION_SHUTDOWN_ANYSEGWIT]
    assert init_features(required=[Feature.VAR_ONION_OPTIN], optional=pair).bits() == [8, 27, 61]
    with pytest.raises(InvalidFeatures, match="option_simple_close is set without option_shutdown_anysegwit"):
        init_features(optional=pair[:1])
    with pytest.raises(InvalidFeatures, match="option_payment_metadata does not belong into init"):
        init_features(optional=[Feature.OPTION_PAYMENT_METADATA])


def test_channel_types() -> None:
    assert channel_type(anchors=False).encode().hex() == "1000"
    assert channel_type(anchors=True).encode().hex() == "401000"
    assert channel_type(anchors=True, scid_alias=True, zeroconf=True).bits() == [12, 22, 46, 50]
    assert is_defined_channel_type(channel_type(anchors=False, zeroconf=True))
    for undefined in (Features(), Features.of(required=[Feature.OPTION_ANCHORS]), Features.decode(b"\x20\x00")):
        assert not is_defined_channel_type(undefined)


def test_text_is_for_people() -> None:
    features = Features.of(required=[Feature.VAR_ONION_OPTIN], optional=[Feature.OPTION_ANCHORS])
    assert str(features) == "var_onion_optin (required), option_anchors"
    assert str(Features.decode(b"\x0c")) == "2 (required), 3"
    assert str(Features()) == "none"
