from pyln_fast.types import (
    BlockHeight,
    Network,
    OutPoint,
    PaymentPreimage,
    Txid,
    channel_id_v1,
    short_channel_id,
    short_channel_id_str,
    txid_from_hex,
    txid_hex,
)


def test_a_secret_never_shows_in_text() -> None:
    preimage = PaymentPreimage(b"\xab" * 32)
    assert repr(preimage) == str(preimage) == f"{preimage}" == "<PaymentPreimage of 32 bytes>"


def test_channel_id_takes_the_output_index_into_its_last_two_bytes() -> None:
    txid = Txid(bytes(range(32)))
    assert channel_id_v1(OutPoint(txid, 0x0102)) == bytes(range(30)) + bytes([0x1E ^ 0x01, 0x1F ^ 0x02])


def test_short_channel_id() -> None:
    scid = short_channel_id(BlockHeight(539268), 845, 1)
    assert short_channel_id_str(scid) == "539268x845x1"


def test_txids_are_written_in_reverse() -> None:
    text = "00" * 31 + "ff"
    assert txid_from_hex(text) == b"\xff" + bytes(31)
    assert txid_hex(txid_from_hex(text)) == text


def test_chain_hash_is_in_wire_order() -> None:
    # BOLT 0, chain_hash of mainnet.
    assert Network.MAINNET.chain_hash.hex() == "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000"
