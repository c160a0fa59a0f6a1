"""The channel of BOLT 3's appendices C and F, as our types have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pyln_fast._ext import _tx
from pyln_fast.tx.parameters import (
    ChannelParty,
    ChannelPublicKeys,
    ChannelTransactionParameters,
    Commitment,
    CommitmentHtlc,
    CommitmentSpec,
)
from pyln_fast.types import OutPoint, PrivateKey, PublicKey, Signature, txid_from_hex

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name: str) -> dict[str, Any]:
    return json.loads((VECTORS / name).read_text())


APPENDIX_C = load("bolt03-c-commitment.json")
APPENDIX_F = load("bolt03-f-anchors.json")
_PARAMS = APPENDIX_C["params"]
_INTERNAL = APPENDIX_C["internal"]


def key(text: str) -> PrivateKey:
    """The BOLT writes private keys with the 01 of a compressed WIF behind them."""
    return PrivateKey(bytes.fromhex(text)[:32])


def point(text: str) -> PublicKey:
    return PublicKey(bytes.fromhex(text))


LOCAL_FUNDING_KEY = key(_PARAMS["local_funding_privkey"])
REMOTE_FUNDING_KEY = key(_INTERNAL["remote_funding_privkey"])
# In these vectors htlc_basepoint = payment_basepoint on both sides.
LOCAL_HTLC_BASE_KEY = key(_INTERNAL["local_payment_basepoint_secret"])
REMOTE_HTLC_BASE_KEY = key(_INTERNAL["remote_payment_basepoint_secret"])
LOCAL_HTLC_KEY = key(_PARAMS["local_privkey"])
POINT = point(_INTERNAL["local_per_commitment_point"])
NUMBER = _PARAMS["commitment_number"]

LOCAL = ChannelPublicKeys(
    point(_PARAMS["local_funding_pubkey"]),
    # The vectors give no revocation basepoint of the local node: its own commitment needs none.
    point(_PARAMS["local_payment_basepoint"]),
    point(_PARAMS["local_payment_basepoint"]),
    point(_INTERNAL["local_delayed_payment_basepoint"]),
    point(_PARAMS["local_htlc_basepoint"]),
)
REMOTE = ChannelPublicKeys(
    point(_PARAMS["remote_funding_pubkey"]),
    point(_INTERNAL["remote_revocation_basepoint"]),
    point(_PARAMS["remote_payment_basepoint"]),
    point(_PARAMS["remote_payment_basepoint"]),
    point(_PARAMS["remote_htlc_basepoint"]),
)
FUNDING = OutPoint(txid_from_hex(_PARAMS["funding_tx_id"]), _PARAMS["funding_output_index"])


def parameters(anchors: bool, dust_limit_sat: int = 546) -> ChannelTransactionParameters:
    """The local node is the holder and the opener."""
    delay = _PARAMS["local_delay"]
    return ChannelTransactionParameters(
        FUNDING,
        _PARAMS["funding_amount_satoshi"],
        ChannelParty(LOCAL, dust_limit_sat, delay),
        ChannelParty(REMOTE, dust_limit_sat, delay),
        holder_is_opener=True,
        anchors=anchors,
    )


def mirrored(params: ChannelTransactionParameters) -> ChannelTransactionParameters:
    """The same channel as the other party sees it."""
    return ChannelTransactionParameters(
        params.funding_outpoint,
        params.channel_value_sat,
        params.counterparty,
        params.holder,
        holder_is_opener=not params.holder_is_opener,
        anchors=params.anchors,
    )


PREIMAGES = {htlc["htlc"]: bytes.fromhex(htlc["payment_preimage"]) for htlc in APPENDIX_C["htlcs"]}
HTLCS = {
    htlc["htlc"]: CommitmentHtlc(
        htlc["htlc"],
        htlc["direction"] == "local->remote",
        htlc["amount_msat"],
        _tx.sha256(bytes.fromhex(htlc["payment_preimage"])),
        htlc["expiry"],
    )
    for htlc in APPENDIX_C["htlcs"]
}


def compact(der: str) -> Signature:
    """A DER signature (no hash type behind it) as messages carry it."""
    raw = bytes.fromhex(der)
    assert raw[0] == 0x30
    assert raw[1] == len(raw) - 2
    r = raw[4 : 4 + raw[3]]
    s = raw[4 + raw[3] + 2 :]
    return Signature(b"".join(int.from_bytes(part, "big").to_bytes(32, "big") for part in (r, s)))


class HtlcCase(NamedTuple):
    counterparty_signature: Signature
    raw: bytes


class Case(NamedTuple):
    name: str
    params: ChannelTransactionParameters
    commitment: Commitment
    counterparty_signature: Signature
    raw: bytes
    htlcs: tuple[HtlcCase, ...]


def commitment(feerate: int, to_local_msat: int, to_remote_msat: int, htlc_ids: tuple[int, ...]) -> Commitment:
    htlcs = tuple(HTLCS[i] for i in htlc_ids)
    return Commitment(NUMBER, POINT, CommitmentSpec(feerate, to_local_msat, to_remote_msat, htlcs))


def _htlc_ids(name: str, used: bool) -> tuple[int, ...]:
    if not used:
        return ()
    return (1, 5, 6) if "same amount" in name else (0, 1, 2, 3, 4)


def _case_c(case: dict[str, Any]) -> Case:
    total_msat = case["to_local_msat"] + case["to_remote_msat"]
    ids = _htlc_ids(case["name"], total_msat != _PARAMS["funding_amount_satoshi"] * 1000)
    return Case(
        "static_remotekey: " + case["name"],
        parameters(anchors=False),
        commitment(case["local_feerate_per_kw"], case["to_local_msat"], case["to_remote_msat"], ids),
        compact(case["remote_signature"]),
        bytes.fromhex(case["commit_tx"]),
        tuple(HtlcCase(compact(h["remote_htlc_signature"]), bytes.fromhex(h["tx"])) for h in case["htlcs"]),
    )


def _case_f(case: dict[str, Any]) -> Case:
    ids = _htlc_ids(case["Name"], case["UseTestHtlcs"])
    return Case(
        "anchors: " + case["Name"],
        parameters(anchors=True, dust_limit_sat=case["DustLimitSatoshis"]),
        commitment(case["FeePerKw"], case["LocalBalance"], case["RemoteBalance"], ids),
        compact(case["RemoteSigHex"]),
        bytes.fromhex(case["ExpectedCommitmentTxHex"]),
        tuple(HtlcCase(compact(h["RemoteSigHex"]), bytes.fromhex(h["ResolutionTxHex"])) for h in case["HtlcDescs"]),
    )


CASES = tuple(map(_case_c, APPENDIX_C["cases"])) + tuple(map(_case_f, APPENDIX_F["cases"]))
