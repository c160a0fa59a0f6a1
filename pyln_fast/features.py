"""Feature bits (BOLT 9): what a node, a channel or an invoice offers, and what it requires.

A feature is a pair of bits: even means required, odd optional. A `Features` value is one vector of bits; channel types
are such vectors too (BOLT 2, Defined Channel Types).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec

from pyln_fast.errors import Consequence, LocalError, RemoteError


class Feature(Enum):
    """BOLT 9's names; the value is the even bit."""

    OPTION_DATA_LOSS_PROTECT = 0
    OPTION_UPFRONT_SHUTDOWN_SCRIPT = 4
    GOSSIP_QUERIES = 6
    VAR_ONION_OPTIN = 8
    GOSSIP_QUERIES_EX = 10
    OPTION_STATIC_REMOTEKEY = 12
    PAYMENT_SECRET = 14
    BASIC_MPP = 16
    OPTION_SUPPORT_LARGE_CHANNEL = 18
    OPTION_ANCHORS = 22
    OPTION_ROUTE_BLINDING = 24
    OPTION_SHUTDOWN_ANYSEGWIT = 26
    OPTION_DUAL_FUND = 28
    OPTION_QUIESCE = 34
    OPTION_ATTRIBUTION_DATA = 36
    OPTION_ONION_MESSAGES = 38
    OPTION_PROVIDE_STORAGE = 42
    OPTION_CHANNEL_TYPE = 44
    OPTION_SCID_ALIAS = 46
    OPTION_PAYMENT_METADATA = 48
    OPTION_ZEROCONF = 50
    OPTION_SIMPLE_CLOSE = 60
    OPTION_SPLICE = 62

    @property
    def bolt_name(self) -> str:
        return self.name.lower()

    @property
    def assumed(self) -> bool:
        """BOLT 9: every node has it, whether or not it sets the bits."""
        return self in _ASSUMED

    @property
    def contexts(self) -> str:
        """Where BOLT 9 lets it be set: I init, N node_announcement, 9 invoice, T channel type."""
        return _CONTEXTS[self]

    @property
    def dependencies(self) -> tuple[Feature, ...]:
        return _DEPENDENCIES.get(self, ())


class UnknownRequiredFeatures(RemoteError):
    """BOLT 1, The init Message: a peer that requires what we do not know cannot be talked to."""

    consequence = Consequence.DISCONNECT

    def __init__(self, bits: list[int]) -> None:
        super().__init__(f"required feature bits {bits} are not supported here")
        self.bits = bits


class MissingDependency(RemoteError):
    consequence = Consequence.DISCONNECT

    def __init__(self, feature: Feature, dependency: Feature) -> None:
        super().__init__(f"{feature.bolt_name} is set without {dependency.bolt_name}")
        self.feature = feature
        self.dependency = dependency


class MissingFeature(RemoteError):
    """We require a feature that the peer does not offer."""

    consequence = Consequence.DISCONNECT

    def __init__(self, feature: Feature) -> None:
        super().__init__(f"{feature.bolt_name} is required here, and the peer does not offer it")
        self.feature = feature


class InvalidFeatures(LocalError):
    """A list of features that we may not set as it is."""


class Features(msgspec.Struct, frozen=True, array_like=True):
    """A vector of feature bits. `raw` is its shortest big-endian form, so that equal vectors compare equal."""

    raw: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Features:
        """Any bytes are features; leading zeros mean nothing."""
        return cls(data.lstrip(b"\0"))

    @classmethod
    def of(cls, *, required: Iterable[Feature] = (), optional: Iterable[Feature] = ()) -> Features:
        bits = 0
        for feature in optional:
            bits |= 2 << feature.value
        for feature in required:
            bits = bits & ~(2 << feature.value) | 1 << feature.value
        return _of_int(bits)

    def encode(self) -> bytes:
        return self.raw

    def __or__(self, other: Features) -> Features:
        """BOLT 1: `globalfeatures` and `features` of init are one vector."""
        return _of_int(self._int | other._int)

    @property
    def _int(self) -> int:
        return int.from_bytes(self.raw, "big")

    def has(self, feature: Feature) -> bool:
        """Offered: its odd or its even bit is set."""
        return self._int >> feature.value & 3 != 0

    def requires(self, feature: Feature) -> bool:
        # BOLT 9: with both bits set the feature counts as mandatory.
        return self._int >> feature.value & 1 != 0

    def set_optional(self, feature: Feature) -> Features:
        return _of_int(self._int & ~(1 << feature.value) | 2 << feature.value)

    def set_required(self, feature: Feature) -> Features:
        return _of_int(self._int & ~(2 << feature.value) | 1 << feature.value)

    def clear(self, feature: Feature) -> Features:
        return _of_int(self._int & ~(3 << feature.value))

    def bits(self) -> list[int]:
        value = self._int
        return [bit for bit in range(value.bit_length()) if value >> bit & 1]

    def unknown_required(self) -> list[int]:
        """Even bits that BOLT 9 does not define."""
        return [bit for bit in self.bits() if bit % 2 == 0 and bit not in _KNOWN]

    def unsupported_required(self, ours: Features) -> list[int]:
        """Even bits that we cannot serve: unknown to BOLT 9, or known and not offered by us."""
        return [
            bit
            for bit in self.bits()
            if bit % 2 == 0 and (bit not in _KNOWN or not (ours.has(_KNOWN[bit]) or _KNOWN[bit].assumed))
        ]

    def check_dependencies(self) -> None:
        """Raises MissingDependency. What BOLT 9 assumes of every node is never missing."""
        for feature in Feature:
            for dependency in feature.dependencies if self.has(feature) else ():
                if not (self.has(dependency) or dependency.assumed):
                    raise MissingDependency(feature, dependency)

    def __str__(self) -> str:
        names = []
        for bit in self.bits():
            feature = _KNOWN.get(bit & ~1)
            names.append(f"{feature.bolt_name if feature else bit}{'' if bit % 2 else ' (required)'}")
        return ", ".join(names) or "none"


def init_features(*, required: Iterable[Feature] = (), optional: Iterable[Feature] = ()) -> Features:
    """What our `init` sets. Raises InvalidFeatures where BOLT 9 does not let a feature stand there, or stand alone."""
    features = Features.of(required=required, optional=optional)
    for feature in Feature:
        if features.has(feature) and "I" not in feature.contexts:
            raise InvalidFeatures(f"{feature.bolt_name} does not belong into init")
    try:
        features.check_dependencies()
    except MissingDependency as error:
        raise InvalidFeatures(str(error)) from None
    return features


def check_init(ours: Features, theirs: Features) -> None:
    """Whether both can talk. Raises UnknownRequiredFeatures, MissingDependency or MissingFeature."""
    unsupported = theirs.unsupported_required(ours)
    if unsupported:
        raise UnknownRequiredFeatures(unsupported)
    theirs.check_dependencies()
    for feature in Feature:
        if ours.requires(feature) and not (theirs.has(feature) or feature.assumed):
            raise MissingFeature(feature)


def is_negotiated(feature: Feature, ours: Features, theirs: Features) -> bool:
    """BOLT 1: both offer it, or we require it (they would not have stayed otherwise)."""
    return ours.requires(feature) or (ours.has(feature) and theirs.has(feature))


def channel_type(*, anchors: bool, scid_alias: bool = False, zeroconf: bool = False) -> Features:
    """BOLT 2, Defined Channel Types."""
    features = {Feature.OPTION_STATIC_REMOTEKEY}
    if anchors:
        features.add(Feature.OPTION_ANCHORS)
    if scid_alias:
        features.add(Feature.OPTION_SCID_ALIAS)
    if zeroconf:
        features.add(Feature.OPTION_ZEROCONF)
    return Features.of(required=features)


def is_defined_channel_type(features: Features) -> bool:
    return features in _CHANNEL_TYPES


def _of_int(bits: int) -> Features:
    return Features(bits.to_bytes((bits.bit_length() + 7) // 8, "big"))


_KNOWN = {feature.value: feature for feature in Feature}
_ASSUMED = frozenset(
    {
        Feature.OPTION_DATA_LOSS_PROTECT,
        Feature.VAR_ONION_OPTIN,
        Feature.OPTION_STATIC_REMOTEKEY,
        Feature.PAYMENT_SECRET,
        Feature.OPTION_CHANNEL_TYPE,
    }
)
# The table has no contexts for what is assumed, and none for gossip_queries: here stand those of the revisions in which
# these bits were introduced, since today's peers still set them there and some look for them.
_CONTEXTS = {
    Feature.OPTION_DATA_LOSS_PROTECT: "IN",
    Feature.OPTION_UPFRONT_SHUTDOWN_SCRIPT: "IN",
    Feature.GOSSIP_QUERIES: "IN",
    Feature.VAR_ONION_OPTIN: "IN9",
    Feature.GOSSIP_QUERIES_EX: "IN",
    Feature.OPTION_STATIC_REMOTEKEY: "INT",
    Feature.PAYMENT_SECRET: "IN9",
    Feature.BASIC_MPP: "IN9",
    Feature.OPTION_SUPPORT_LARGE_CHANNEL: "IN",
    Feature.OPTION_ANCHORS: "INT",
    Feature.OPTION_ROUTE_BLINDING: "IN9",
    Feature.OPTION_SHUTDOWN_ANYSEGWIT: "IN",
    Feature.OPTION_DUAL_FUND: "IN",
    Feature.OPTION_QUIESCE: "IN",
    Feature.OPTION_ATTRIBUTION_DATA: "IN9",
    Feature.OPTION_ONION_MESSAGES: "IN",
    Feature.OPTION_PROVIDE_STORAGE: "IN",
    Feature.OPTION_CHANNEL_TYPE: "IN",
    Feature.OPTION_SCID_ALIAS: "INT",
    Feature.OPTION_PAYMENT_METADATA: "9",
    Feature.OPTION_ZEROCONF: "INT",
    Feature.OPTION_SIMPLE_CLOSE: "IN",
    Feature.OPTION_SPLICE: "IN",
}
_DEPENDENCIES = {
    Feature.BASIC_MPP: (Feature.PAYMENT_SECRET,),
    Feature.OPTION_ZEROCONF: (Feature.OPTION_SCID_ALIAS,),
    Feature.OPTION_SIMPLE_CLOSE: (Feature.OPTION_SHUTDOWN_ANYSEGWIT,),
}
_CHANNEL_TYPES = tuple(
    channel_type(anchors=anchors, scid_alias=scid_alias, zeroconf=zeroconf)
    for anchors in (False, True)
    for scid_alias in (False, True)
    for zeroconf in (False, True)
)
