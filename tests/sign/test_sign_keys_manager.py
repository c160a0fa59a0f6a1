"""One seed, every key: the same after a restart, and nothing twice."""

import hashlib

import pytest

from pyln_fast.sign.bip32 import master_key, parse_path
from pyln_fast.sign.interfaces import EntropySource, NodeSigner, SignerProvider
from pyln_fast.sign.keys_manager import STATIC_PAYMENT_KEY_COUNT, KeysManager
from pyln_fast.tx.keys import ecdh, private_key_multiply, public_key, recover, verify_ecdsa
from pyln_fast.tx.scripts import p2wpkh
from pyln_fast.types import PrivateKey, Secret

SEED = Secret(bytes(range(32)))
OTHER = PrivateKey(b"\x09" * 32)


def keys(secs: int = 1_700_000_000, nanos: int = 5) -> KeysManager:
    return KeysManager(SEED, secs, nanos)


def test_it_is_what_ldk_calls_a_keys_manager() -> None:
    manager = keys()
    entropy: EntropySource = manager
    node: NodeSigner = manager
    provider: SignerProvider = manager
    assert len(entropy.get_secure_random_bytes()) == len(node.get_inbound_payment_key()) == 32
    assert provider.get_shutdown_scriptpubkey()[:2] == provider.get_destination_script(bytes(32))[:2] == b"\0\x14"


def test_keys_are_at_hardened_paths() -> None:
    master, manager = master_key(SEED), keys()
    assert manager.get_node_secret_key() == master.derive(parse_path("m/0'")).private_key
    assert manager.get_node_id() == public_key(manager.get_node_secret_key())
    assert manager.get_destination_script(bytes(32)) == p2wpkh(master.derive(parse_path("m/1'")).public_key)
    assert manager.get_shutdown_scriptpubkey() == p2wpkh(master.derive(parse_path("m/2'")).public_key)
    assert manager.get_inbound_payment_key() == master.derive(parse_path("m/5'")).private_key


def test_a_restart_changes_no_key() -> None:
    before, after = keys(), keys(1_800_000_000)
    keys_id = before.generate_channel_keys_id(False, 7)
    assert before.derive_channel_signer(keys_id) == after.derive_channel_signer(keys_id)
    assert before.get_node_id() == after.get_node_id()
    assert before.get_inbound_payment_key() == after.get_inbound_payment_key()


def test_random_bytes_never_repeat() -> None:
    """Within a run, and over runs that began at another time; a simulated run repeats exactly."""
    runs = [keys(), keys(1_700_000_001), keys(nanos=6)]
    drawn = [[run.get_secure_random_bytes() for _ in range(100)] for run in runs]
    assert len({value for values in drawn for value in values}) == 300
    again = keys()
    assert [again.get_secure_random_bytes() for _ in range(100)] == drawn[0]


def test_channel_keys_ids_never_repeat() -> None:
    manager = keys()
    ids = [manager.generate_channel_keys_id(inbound, 2**128 - 1) for inbound in (False, True)]
    assert ids == [
        bytes(4) + (5).to_bytes(4, "big") + (1_700_000_000).to_bytes(8, "big") + b"\xff" * 16,
        b"\0\0\0\1" + (5).to_bytes(4, "big") + (1_700_000_000).to_bytes(8, "big") + b"\xff" * 16,
    ]


def test_no_two_channels_share_a_secret() -> None:
    manager = keys()
    signers = [manager.derive_channel_signer(manager.generate_channel_keys_id(False, 0)) for _ in range(20)]
    assert [signer.channel_keys_id[:4] for signer in signers] == [number.to_bytes(4, "big") for number in range(20)]
    secrets = [
        getattr(signer.secrets, name)
        for signer in signers
        for name in signer.secrets.__struct_fields__
        if name != "payment_key"
    ]
    assert len(set(secrets)) == 20 * 5


def test_the_seed_alone_finds_what_was_paid_to_us() -> None:
    """`payment_key` is one of a fixed set, whatever the channel's id."""
    manager = keys()
    root = master_key(SEED).derive(parse_path("m/8'"))
    known = {root.hardened(index).private_key for index in range(STATIC_PAYMENT_KEY_COUNT)}
    used = {
        manager.derive_channel_signer(manager.generate_channel_keys_id(False, 0)).secrets.payment_key for _ in range(30)
    }
    assert used <= known
    assert len(used) > 20


def test_signatures() -> None:
    manager = keys()
    signature, recovery_id = manager.sign_invoice("lnbc", b"data")
    assert recover(signature, recovery_id, hashlib.sha256(b"lnbcdata").digest()) == manager.get_node_id()
    digest = hashlib.sha256(hashlib.sha256(b"gossip").digest()).digest()
    assert verify_ecdsa(manager.sign_gossip_message(b"gossip"), digest, manager.get_node_id())


def test_ecdh() -> None:
    manager, tweak = keys(), Secret(b"\x03" * 32)
    point = public_key(OTHER)
    assert manager.ecdh(point) == ecdh(OTHER, manager.get_node_id())
    assert manager.ecdh(point, tweak) == ecdh(private_key_multiply(OTHER, tweak), manager.get_node_id())
    with pytest.raises(ValueError):
        manager.ecdh(bytes(33))  # type: ignore[arg-type]


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="31 bytes, not 32"):
        KeysManager(Secret(bytes(31)), 0, 0)


def test_nothing_secret_in_its_text() -> None:
    manager = keys()
    text = repr(manager) + str(manager) + repr(manager.get_node_secret_key()) + repr(manager.get_secure_random_bytes())
    assert manager.get_node_secret_key().hex() not in text
    assert "<PrivateKey of 32 bytes><Secret of 32 bytes>" in text
