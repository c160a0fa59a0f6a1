"""Every key of a node out of one seed of 32 bytes."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from pyln_fast.sign.bip32 import CURVE_ORDER, master_key
from pyln_fast.sign.in_memory_signer import ChannelSecrets, InMemorySigner
from pyln_fast.tx.keys import ecdh, private_key_multiply, public_key, sign_ecdsa, sign_recoverable
from pyln_fast.tx.scripts import p2wpkh
from pyln_fast.types import NodeId, PrivateKey, PublicKey, Secret, Signature

# Children of the master key, all hardened. The first three are LDK's, so that the same seed is the same node.
_NODE_KEY = 0
_DESTINATION_KEY = 1
_SHUTDOWN_KEY = 2
_CHANNEL_MASTER_KEY = 3
_INBOUND_PAYMENT_KEY = 5
_STATIC_PAYMENT_KEY = 8

STATIC_PAYMENT_KEY_COUNT = 1000
"""The payment keys of all channels are among so few that the seed alone finds what counterparties' closes paid us."""

_CACHED_SIGNERS = 16384
"""A signer is asked for with every commitment and takes 140 µs to derive; one is about 2 kB."""


class KeysManager:
    """An `EntropySource`, `NodeSigner` and `SignerProvider`.

    `starting_time_secs` and `starting_time_nanos` need not be a time, but must never be the same for two objects made
    from the same seed: random bytes and the names of channels' keys would repeat. The seed is durable before this.
    """

    __slots__ = (
        "_channel_index",
        "_channel_master",
        "_destination_script",
        "_entropy_index",
        "_entropy_key",
        "_inbound_payment_key",
        "_node_id",
        "_node_secret",
        "_shutdown_script",
        "_signer",
        "_started",
        "_static_payment",
    )

    def __init__(self, seed: Secret, starting_time_secs: int, starting_time_nanos: int) -> None:
        if len(seed) != 32:
            raise ValueError(f"the seed has {len(seed)} bytes, not 32")
        master = master_key(seed)
        self._node_secret = master.hardened(_NODE_KEY).private_key
        self._node_id = NodeId(public_key(self._node_secret))
        self._destination_script = p2wpkh(master.hardened(_DESTINATION_KEY).public_key)
        self._shutdown_script = p2wpkh(master.hardened(_SHUTDOWN_KEY).public_key)
        self._channel_master = master.hardened(_CHANNEL_MASTER_KEY)
        self._inbound_payment_key = Secret(master.hardened(_INBOUND_PAYMENT_KEY).private_key)
        self._static_payment = master.hardened(_STATIC_PAYMENT_KEY)
        self._started = starting_time_nanos.to_bytes(4, "big") + starting_time_secs.to_bytes(8, "big")
        self._entropy_key = _prf(seed, b"entropy" + self._started)
        self._entropy_index = 0
        self._channel_index = 0
        self._signer = lru_cache(maxsize=_CACHED_SIGNERS)(self._derive_channel_signer)

    def get_secure_random_bytes(self) -> Secret:
        """A stream of the seed and the starting time: the core has no randomness of its own."""
        self._entropy_index += 1
        return _prf(self._entropy_key, self._entropy_index.to_bytes(8, "big"))

    def get_node_secret_key(self) -> PrivateKey:
        """For the transport (BOLT 8) and the onions' batch peeling, which need the key itself."""
        return self._node_secret

    def get_node_id(self) -> NodeId:
        return self._node_id

    def ecdh(self, point: PublicKey, tweak: Secret | None = None) -> Secret:
        secret = self._node_secret if tweak is None else private_key_multiply(self._node_secret, tweak)
        return Secret(ecdh(secret, point))

    def sign_invoice(self, hrp: str, data: bytes) -> tuple[Signature, int]:
        return sign_recoverable(self._node_secret, hashlib.sha256(hrp.encode() + data).digest())

    def sign_gossip_message(self, data: bytes) -> Signature:
        return sign_ecdsa(self._node_secret, hashlib.sha256(hashlib.sha256(data).digest()).digest())

    def get_inbound_payment_key(self) -> Secret:
        return self._inbound_payment_key

    def generate_channel_keys_id(self, inbound: bool, user_channel_id: int) -> bytes:
        """A counter, the starting time and `user_channel_id` (below 2^128): 4 + 12 + 16 bytes."""
        index = self._channel_index
        assert index < 1 << 32, "2^32 channels since the start"
        self._channel_index += 1
        return index.to_bytes(4, "big") + self._started + user_channel_id.to_bytes(16, "big")

    def derive_channel_signer(self, channel_keys_id: bytes) -> InMemorySigner:
        """The same id gives the same keys. Only the channel master key is secret; the id makes them unique."""
        return self._signer(channel_keys_id)

    def get_destination_script(self, channel_keys_id: bytes) -> bytes:
        return self._destination_script

    def get_shutdown_scriptpubkey(self) -> bytes:
        return self._shutdown_script

    def _derive_channel_signer(self, channel_keys_id: bytes) -> InMemorySigner:
        assert len(channel_keys_id) == 32
        root = _prf(self._channel_master.private_key, channel_keys_id)
        return InMemorySigner.from_secrets(
            channel_keys_id,
            ChannelSecrets(
                funding_key=_scalar(root, b"funding"),
                revocation_base_key=_scalar(root, b"revocation"),
                payment_key=self._payment_key(root),
                delayed_payment_base_key=_scalar(root, b"delayed payment"),
                htlc_base_key=_scalar(root, b"htlc"),
                commitment_seed=_prf(root, b"commitment seed"),
            ),
        )

    def _payment_key(self, root: Secret) -> PrivateKey:
        index = int.from_bytes(_prf(root, b"payment")[:8], "big") % STATIC_PAYMENT_KEY_COUNT
        return self._static_payment.hardened(index).private_key


def _prf(key: bytes, data: bytes) -> Secret:
    return Secret(hmac.digest(key, data, hashlib.sha256))


def _scalar(root: Secret, label: bytes) -> PrivateKey:
    key = _prf(root, label)
    assert 0 < int.from_bytes(key, "big") < CURVE_ORDER, "one chance in 2^128"
    return PrivateKey(key)
