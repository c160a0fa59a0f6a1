"""What a node asks of whoever holds its keys. Embedders may bring their own; `KeysManager` is ours.

Every method is synchronous. A signer that cannot or will not sign raises `SignerRefused`: nothing has changed, and the
caller may ask again later. No method hands out a key of a channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from pyln_fast.errors import LocalError
from pyln_fast.types import CommitmentNumber, NodeId, PublicKey, Secret, Signature

if TYPE_CHECKING:
    from pyln_fast.tx.commitment import CommitmentSignatures
    from pyln_fast.tx.parameters import ChannelPublicKeys, ChannelTransactionParameters, Commitment
    from pyln_fast.tx.transaction import Transaction


class SignerRefused(LocalError):
    """The signer did not do it: a rule forbids it, or it cannot now. Nothing has changed."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"the signer refused to {what}: {why}")
        self.what = what
        self.why = why


class EnforcementState(msgspec.Struct, frozen=True, array_like=True):
    """How far the holder's commitments have moved: what a signer's rules need to know.

    The channel keeps it in its own record and hands it in, so that it is exactly as durable as the channel, and a
    handler that raises has moved nothing. A signer on another machine keeps its own and compares.
    """

    next_holder_commitment: CommitmentNumber = CommitmentNumber(0)
    """The number after the newest commitment that `validate_holder_commitment` took."""
    lowest_unreleased: CommitmentNumber = CommitmentNumber(0)
    """Every secret below it may have left the signer: those commitments are never signed again."""


class EntropySource(Protocol):
    def get_secure_random_bytes(self) -> Secret:
        """32 bytes that nobody else can guess, different at each call."""
        ...


class NodeSigner(Protocol):
    """What needs the node's own key."""

    def get_node_id(self) -> NodeId: ...

    def ecdh(self, point: PublicKey, tweak: Secret | None = None) -> Secret:
        """SHA-256 of the compressed product of the node's key (times `tweak`) and `point`: 32 bytes.

        Raises ValueError if `point` is not on the curve.
        """
        ...

    def sign_invoice(self, hrp: str, data: bytes) -> tuple[Signature, int]:
        """BOLT 11: a signature of SHA-256(hrp ‖ data) and its recovery id.

        `data` are the invoice's 5-bit groups before the signature, packed into bytes and padded with zero bits. It is
        not hashed yet, so that a signer can read what it signs.
        """
        ...

    def sign_gossip_message(self, data: bytes) -> Signature:
        """BOLT 7: a signature of the double SHA-256 of `data`, which is the message after its type and signatures."""
        ...

    def get_inbound_payment_key(self) -> Secret:
        """32 bytes from which every invoice's secrets come: the same at each call and each start."""
        ...


class ChannelSigner(Protocol):
    """The holder's secrets of one channel. Commitment numbers count up from 0 (BOLT 3)."""

    @property
    def channel_keys_id(self) -> bytes:
        """32 bytes by which `SignerProvider.derive_channel_signer` finds this signer again."""
        ...

    @property
    def pubkeys(self) -> ChannelPublicKeys: ...

    def get_per_commitment_point(self, number: CommitmentNumber) -> PublicKey: ...

    def validate_holder_commitment(
        self,
        state: EnforcementState,
        params: ChannelTransactionParameters,
        commitment: Commitment,
        signature: Signature,
        htlc_signatures: tuple[Signature, ...],
    ) -> EnforcementState:
        """Takes the holder's newest commitment, whose signatures the caller has verified.

        `commitment.number` is the next one, or the newest again (a retransmission, a second funding).
        """
        ...

    def release_commitment_secret(
        self, state: EnforcementState, number: CommitmentNumber
    ) -> tuple[EnforcementState, Secret]:
        """Revokes the holder's commitment `number`: the secret for `revoke_and_ack`, and the state that remembers it.

        Refused unless a later commitment was validated. May be asked again for the same number.
        """
        ...


class EcdsaChannelSigner(ChannelSigner, Protocol):
    """Signs the transactions of one channel."""

    def sign_counterparty_commitment(
        self, params: ChannelTransactionParameters, commitment: Commitment
    ) -> CommitmentSignatures:
        """What `commitment_signed` carries, for the counterparty's commitment."""
        ...

    def sign_holder_commitment(
        self,
        state: EnforcementState,
        params: ChannelTransactionParameters,
        commitment: Commitment,
        counterparty_signature: Signature,
    ) -> Transaction:
        """The holder's commitment ready for broadcast. Refused if it was never validated or its secret was released."""
        ...

    def sign_closing_transaction(self, params: ChannelTransactionParameters, tx: Transaction) -> Signature:
        """The holder's signature for a cooperative close (`closing_signed`)."""
        ...


class SignerProvider(Protocol):
    def generate_channel_keys_id(self, inbound: bool, user_channel_id: int) -> bytes:
        """32 bytes that name the keys of a new channel: different at each call, over restarts too."""
        ...

    def derive_channel_signer(self, channel_keys_id: bytes) -> EcdsaChannelSigner: ...

    def get_destination_script(self, channel_keys_id: bytes) -> bytes:
        """Where claimed outputs of a channel go: a script_pubkey of ours."""
        ...

    def get_shutdown_scriptpubkey(self) -> bytes:
        """Where a cooperative close pays us: a script_pubkey that BOLT 2 allows."""
        ...
