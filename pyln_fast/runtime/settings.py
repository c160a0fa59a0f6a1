"""What a node needs to be told before it starts, and the file that tells it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pyln_fast.config import InvalidConfig, UserConfig
from pyln_fast.errors import LocalError
from pyln_fast.persist.directory import StoreKind
from pyln_fast.runtime.chain_poller import POLL_SECONDS
from pyln_fast.types import Network, NodeId

DEFAULT_LISTEN = ("127.0.0.1", 9735)
"""BOLT 1's port, on loopback: a node that the world may call is a decision."""


class InvalidSettings(LocalError):
    """One line that names the file or the option."""


class CustomMessages(msgspec.Struct, frozen=True):
    """LDK's CustomMessageHandler: messages that no BOLT defines."""

    types: frozenset[int]
    """From 32768 on. A peer that sends another even one is disconnected (BOLT 1)."""
    handle: Callable[[NodeId, int, bytes], None]
    """(from whom, type, what follows the type). To be quick; what it raises is logged."""


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    data_dir: Path
    network: Network
    bitcoind_url: str
    bitcoind_cookie: Path | None = None
    bitcoind_user: str | None = None
    bitcoind_password: str | None = None
    listen: tuple[tuple[str, int], ...] = (DEFAULT_LISTEN,)
    config: UserConfig = UserConfig()
    custom_messages: CustomMessages | None = None
    store: StoreKind = StoreKind.SQLITE
    """What a data directory without a database gets. One that has a database of the other kind is refused."""
    poll_seconds: float = POLL_SECONDS
    """Between two looks at bitcoind's best block."""

    def __repr__(self) -> str:
        return f"<NodeSettings of {self.data_dir}>"


def store_kind(name: str) -> StoreKind:
    """Raises InvalidSettings."""
    try:
        return StoreKind(name)
    except ValueError:
        names = " or ".join(kind.value for kind in StoreKind)
        raise InvalidSettings(f"{name}: there is no such store; it is {names}") from None


def read_config(path: Path) -> UserConfig:
    """A TOML file whose sections and names are UserConfig's. Raises InvalidSettings."""
    try:
        with path.open("rb") as file:
            return to_config(tomllib.load(file))
    except OSError as error:
        raise InvalidSettings(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError, msgspec.ValidationError, InvalidConfig) as error:
        raise InvalidSettings(f"{path}: {error}") from None


def to_config(values: dict[str, Any]) -> UserConfig:
    """Raises msgspec.ValidationError, InvalidConfig."""
    return msgspec.convert(values, UserConfig)


def override(config: UserConfig, assignments: list[str]) -> UserConfig:
    """`section.name=value`, the value as TOML writes it. Raises InvalidSettings."""
    values = msgspec.to_builtins(config)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        *sections, last = name.strip().split(".")
        place = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or last not in place:
            raise InvalidSettings(f"{assignment}: there is no such setting")
        try:
            place[last] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError, LookupError):
            raise InvalidSettings(f"{assignment}: the value is not as TOML writes one") from None
    try:
        return to_config(values)
    except (msgspec.ValidationError, InvalidConfig) as error:
        raise InvalidSettings(str(error)) from None
