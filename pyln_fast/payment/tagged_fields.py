"""The tagged fields of one invoice, and what each kind must be (BOLT 11, Tagged Fields, Requirements)."""

from __future__ import annotations

from pyln_fast.features import Feature, Features, MissingDependency
from pyln_fast.payment.invoice_fields import InvalidInvoice, decode_minimal, split_fields
from pyln_fast.tx import bech32
from pyln_fast.tx.keys import is_valid_public_key
from pyln_fast.types import NodeId, PublicKey

_KNOWN_BITS = frozenset(feature.value for feature in Feature if "9" in feature.contexts)
_FIXED_GROUPS = {"p": 52, "s": 52, "h": 52, "n": 53}


class UnknownInvoiceFeatures(InvalidInvoice):
    """The payee requires what we do not know."""

    def __init__(self, bits: tuple[int, ...]) -> None:
        super().__init__("9 field", f"required features that we do not know: {', '.join(map(str, bits))}")
        self.bits = bits


class TaggedFields:
    """The tagged fields of one invoice by letter, in their order."""

    def __init__(self, groups: bytes) -> None:
        self._found: dict[str, list[bytes]] = {}
        self._wrong_length: dict[str, int] = {}
        for letter, data in split_fields(groups):
            if len(data) == _FIXED_GROUPS.get(letter, len(data)):
                self._found.setdefault(letter, []).append(data)
            else:
                # BOLT 11's example "fields which must be ignored": one of a wrong length is no field.
                self._wrong_length[letter] = len(data)

    def all(self, letter: str) -> list[bytes]:
        return self._found.get(letter, [])

    def only(self, letter: str) -> bytes | None:
        found = self.all(letter)
        if len(found) > 1:
            raise InvalidInvoice(f"{letter} field", f"there are {len(found)}, at most one is allowed")
        if not found and letter in self._wrong_length:
            raise InvalidInvoice(f"{letter} field", f"{self._wrong_length[letter]} groups, not {_FIXED_GROUPS[letter]}")
        return found[0] if found else None

    def required(self, letter: str) -> bytes:
        data = self.only(letter)
        if data is None:
            raise InvalidInvoice(f"{letter} field", "missing")
        return bech32.to_bytes(data)

    def number(self, letter: str, default: int, largest: int) -> int:
        found = self.all(letter)
        if not found:
            return default
        value = decode_minimal(letter, found[0])
        if value > largest:
            raise InvalidInvoice(f"{letter} field", f"{value}, at most {largest} makes sense")
        return value

    def payee(self) -> NodeId | None:
        found = self.all("n")
        if not found:
            return None
        point = bech32.to_bytes(found[0])
        if not is_valid_public_key(point):
            raise InvalidInvoice("n field", f"{point.hex()} is no public key")
        return NodeId(PublicKey(point))

    def description(self) -> str | None:
        data = self.only("d")
        if data is None:
            return None
        try:
            return bech32.to_bytes(data).decode()
        except UnicodeDecodeError:
            raise InvalidInvoice("d field", "not UTF-8") from None

    def description_hash(self) -> bytes | None:
        data = self.only("h") if self.all("h") or not self.all("d") else None
        if (data is None) == (not self.all("d")):
            raise InvalidInvoice("description", "there must be either a d field or an h field")
        return None if data is None else bech32.to_bytes(data)

    def features(self) -> Features:
        found = self.all("9")
        vector = decode_minimal("9", found[0]) if found else 0
        features = Features.decode(vector.to_bytes(len(found[0]) if found else 0, "big"))
        unknown = tuple(bit for bit in features.bits() if bit % 2 == 0 and bit not in _KNOWN_BITS)
        if unknown:
            raise UnknownInvoiceFeatures(unknown)
        try:
            features.check_dependencies()
        except MissingDependency as error:
            raise InvalidInvoice("9 field", str(error)) from None
        return features

    def payment_metadata(self) -> bytes | None:
        found = self.all("m")
        return bech32.to_bytes(found[0]) if found else None
