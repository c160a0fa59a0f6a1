"""UserConfig from a file and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyln_fast.config import ChannelConfig, FixedLimitMsat, UserConfig
from pyln_fast.runtime.settings import InvalidSettings, override, read_config
from pyln_fast.types import Blocks, Msat

FILE = """
accept_forwards_to_priv_channels = true
[channel_config]
cltv_expiry_delta = 100
max_dust_htlc_exposure = { type = "FixedLimitMsat", limit_msat = 5000 }
"""


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    channel = ChannelConfig(cltv_expiry_delta=Blocks(100), max_dust_htlc_exposure=FixedLimitMsat(Msat(5000)))
    assert read_config(path) == UserConfig(accept_forwards_to_priv_channels=True, channel_config=channel)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no_such = 1", "Object contains unknown field `no_such`"),
        ("accept_inbound_channels = 1", "Expected `bool`, got `int` - at `$.accept_inbound_channels`"),
        ("[channel_handshake_config]\nour_to_self_delay = 1", "our_to_self_delay is 1, and must be from 144 to 65535"),
        ("=", "Invalid statement (at line 1, column 1)"),
    ],
)
def test_a_file_that_cannot_be_meant(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: {why}")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'a = "\xff"', "'utf-8' codec can't decode byte 0xff in position 5: invalid start byte"),
        (b"a = " + b"[" * 5000, "maximum recursion depth exceeded"),
        (b"a = " + b"9" * 5000, "Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=["not UTF-8", "nested", "number"],
)
def test_a_file_that_python_cannot_read(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with pytest.raises(InvalidSettings) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: {why}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as error:
        read_config(tmp_path / "config.toml")
    assert str(error.value) == f"{tmp_path}/config.toml: No such file or directory"


def test_overrides() -> None:
    config = override(
        UserConfig(), ["accept_forwards_to_priv_channels=true", "channel_config.forwarding_fee_base_msat = 7"]
    )
    assert config == UserConfig(
        accept_forwards_to_priv_channels=True, channel_config=ChannelConfig(forwarding_fee_base_msat=Msat(7))
    )


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ("nothing", "nothing: there is no such setting"),
        ("channel_config.no_such=1", "channel_config.no_such=1: there is no such setting"),
        ("accept_inbound_channels.deeper=1", "accept_inbound_channels.deeper=1: there is no such setting"),
        ("accept_inbound_channels=yes", "accept_inbound_channels=yes: the value is not as TOML writes one"),
        pytest.param("x=" + "[" * 5000, "x=" + "[" * 5000 + ": there is no such setting", id="x=[[[…"),
        pytest.param(
            "accept_inbound_channels=" + "[" * 5000,
            "accept_inbound_channels=" + "[" * 5000 + ": the value is not as TOML writes one",
            id="[[[…",
        ),
        ("accept_inbound_channels=2", "Expected `bool`, got `int` - at `$.accept_inbound_channels`"),
    ],
)
def test_overrides_that_cannot_be_meant(assignment: str, why: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        override(UserConfig(), [assignment])
    assert str(error.value) == why
