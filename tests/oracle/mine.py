"""Makes blocks that a header check accepts, by trying nonces: two on average on regtest."""

from __future__ import annotations

from tests.oracle.block import merkle_root, sha256d

REGTEST_GENESIS = bytes.fromhex("0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206")[::-1]
REGTEST_BITS = 0x207FFFFF


def mine_header(prev_hash: bytes, root: bytes = bytes(32), bits: int = REGTEST_BITS, time: int = 0) -> bytes:
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa * 256 ** (size - 3)
    start = (4).to_bytes(4, "little") + prev_hash + root + time.to_bytes(4, "little") + bits.to_bytes(4, "little")
    for nonce in range(2**32):
        header = start + nonce.to_bytes(4, "little")
        if int.from_bytes(sha256d(header), "little") <= target:
            return header
    raise AssertionError("no nonce")


def coinbase(tag: bytes, script_pubkey: bytes = b"\x51") -> bytes:
    script_sig = bytes([len(tag)]) + tag
    spends = bytes(32) + b"\xff" * 4 + bytes([len(script_sig)]) + script_sig + b"\xff" * 4
    pays = (50 * 10**8).to_bytes(8, "little") + bytes([len(script_pubkey)]) + script_pubkey
    return (2).to_bytes(4, "little") + b"\x01" + spends + b"\x01" + pays + bytes(4)


def mine_block(prev_hash: bytes, tag: bytes, *txs: bytes, bits: int = REGTEST_BITS) -> bytes:
    """Up to 252 transactions without witnesses, and a coinbase that the tag makes unique."""
    all_txs = [coinbase(tag), *txs]
    root = merkle_root([sha256d(tx) for tx in all_txs])
    assert root is not None
    return mine_header(prev_hash, root, bits) + bytes([len(all_txs)]) + b"".join(all_txs)
