"""BOLT 3's commitment and HTLC transactions, step by step as the BOLT lists them. Curve arithmetic is coincurve's."""

from __future__ import annotations

from typing import Any, NamedTuple

from coincurve import PrivateKey, PublicKey

from tests.oracle import tx as oracle
from tests.oracle.tx import In, Out, Tx

ANCHOR_SAT = 330


def derive_public(basepoint: bytes, per_commitment_point: bytes) -> bytes:
    return PublicKey(basepoint).add(oracle.sha256(per_commitment_point + basepoint)).format()


def derive_private(base: bytes, per_commitment_point: bytes) -> bytes:
    basepoint = PrivateKey(base).public_key.format()
    return PrivateKey(base).add(oracle.sha256(per_commitment_point + basepoint)).secret


def derive_revocation(basepoint: bytes, per_commitment_point: bytes) -> bytes:
    first = PublicKey(basepoint).multiply(oracle.sha256(basepoint + per_commitment_point))
    second = PublicKey(per_commitment_point).multiply(oracle.sha256(per_commitment_point + basepoint))
    return PublicKey.combine_keys([first, second]).format()


class HtlcTx(NamedTuple):
    output_index: int
    htlc: Any
    tx: Tx
    witness_script: bytes
    counterparty_sighash: bytes


class Built(NamedTuple):
    tx: Tx
    raw: bytes
    txid: bytes
    sighash: bytes
    htlcs: tuple[HtlcTx, ...]
    indexes: dict[str, int]
    fee_sat: int


def htlc_fee(feerate: int, offered: bool, anchors: bool) -> int:
    if anchors:
        return 0
    return feerate * (663 if offered else 703) // 1000


def base_fee(feerate: int, untrimmed: int, anchors: bool) -> int:
    return feerate * ((1124 if anchors else 724) + 172 * untrimmed) // 1000


def build(params: Any, commitment: Any, broadcaster_is_holder: bool) -> Built:
    local, remote = (params.holder, params.counterparty)
    if not broadcaster_is_holder:
        local, remote = remote, local
    local_is_opener = params.holder_is_opener == broadcaster_is_holder
    spec, point = commitment.spec, commitment.per_commitment_point
    dust, feerate, anchors = local.dust_limit_sat, spec.feerate_per_kw, params.anchors

    revocation = derive_revocation(remote.pubkeys.revocation_basepoint, point)
    delayed = derive_public(local.pubkeys.delayed_payment_basepoint, point)
    local_htlc = derive_public(local.pubkeys.htlc_basepoint, point)
    remote_htlc = derive_public(remote.pubkeys.htlc_basepoint, point)
    to_local_script = oracle.to_local_script(revocation, local.to_self_delay, delayed)

    # 1. Input and locktime.
    payment_points = (local.pubkeys.payment_point, remote.pubkeys.payment_point)
    opener, accepter = payment_points if local_is_opener else reversed(payment_points)
    obscured = commitment.number ^ int.from_bytes(oracle.sha256(opener + accepter)[-6:], "big")
    funding = In(params.funding_outpoint.txid, params.funding_outpoint.vout, 0x80 << 24 | obscured >> 24)
    lock_time = 0x20 << 24 | obscured & 0xFFFFFF

    # 2. Trimmed HTLCs.
    untrimmed = [
        htlc for htlc in spec.htlcs if not htlc.amount_msat // 1000 - htlc_fee(feerate, htlc.offered, anchors) < dust
    ]
    # 3. The base fee and the anchors, from the funder.
    cost = base_fee(feerate, len(untrimmed), anchors) + (2 * ANCHOR_SAT if anchors else 0)
    to_local, to_remote = spec.to_broadcaster_msat // 1000, spec.to_countersignatory_msat // 1000
    if local_is_opener:
        to_local = max(0, to_local - cost)
    else:
        to_remote = max(0, to_remote - cost)

    # 4. and 5. HTLC outputs, each with its key for sorting.
    outputs: list[tuple[int, bytes, int, str, Any, bytes]] = []
    for htlc in untrimmed:
        if htlc.offered:
            code = oracle.offered_htlc_script(revocation, local_htlc, remote_htlc, htlc.payment_hash, anchors)
        else:
            code = oracle.received_htlc_script(
                revocation, local_htlc, remote_htlc, htlc.payment_hash, htlc.cltv_expiry, anchors
            )
        outputs.append((htlc.amount_msat // 1000, oracle.p2wsh(code), htlc.cltv_expiry, "htlc", htlc, code))
    # 6. and 7.
    if to_local >= dust:
        outputs.append((to_local, oracle.p2wsh(to_local_script), 0, "to_local", None, b""))
    if to_remote >= dust:
        payment = remote.pubkeys.payment_point
        program = oracle.p2wsh(oracle.to_remote_script(payment)) if anchors else oracle.p2wpkh(payment)
        outputs.append((to_remote, program, 0, "to_remote", None, b""))
    # 8.
    if anchors and (to_local >= dust or untrimmed):
        anchor = oracle.p2wsh(oracle.anchor_script(local.pubkeys.funding_pubkey))
        outputs.append((ANCHOR_SAT, anchor, 0, "to_local_anchor", None, b""))
    if anchors and (to_remote >= dust or untrimmed):
        anchor = oracle.p2wsh(oracle.anchor_script(remote.pubkeys.funding_pubkey))
        outputs.append((ANCHOR_SAT, anchor, 0, "to_remote_anchor", None, b""))
    # 9. BIP 69 + CLTV. (bytes compare as memcmp does, the shorter first.)
    outputs.sort(key=lambda entry: entry[:3])

    tx = Tx((funding,), tuple(Out(value, program) for value, program, *_ in outputs), lock_time)
    raw = oracle.serialize(tx)
    txid = oracle.sha256d(raw)
    htlcs = []
    for index, (value, _, _, kind, htlc, code) in enumerate(outputs):
        if kind != "htlc":
            continue
        second = Tx(
            (In(txid, index, 1 if anchors else 0),),
            (Out(value - htlc_fee(feerate, htlc.offered, anchors), oracle.p2wsh(to_local_script)),),
            htlc.cltv_expiry if htlc.offered else 0,
        )
        sighash_type = oracle.SINGLE | oracle.ANYONECANPAY if anchors else oracle.ALL
        htlcs.append(HtlcTx(index, htlc, second, code, oracle.sighash(second, 0, code, value, sighash_type)))
    funding_script = oracle.funding_script(local.pubkeys.funding_pubkey, remote.pubkeys.funding_pubkey)
    return Built(
        tx,
        raw,
        txid,
        oracle.sighash(tx, 0, funding_script, params.channel_value_sat, oracle.ALL),
        tuple(htlcs),
        {kind: index for index, (_, _, _, kind, _, _) in enumerate(outputs) if kind != "htlc"},
        params.channel_value_sat - sum(out.value_sat for out in tx.outputs),
    )


def sign(secret: bytes, message: bytes) -> bytes:
    """RFC 6979, compact."""
    return PrivateKey(secret).sign_recoverable(message, hasher=None)[:64]
