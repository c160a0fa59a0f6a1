"""A channel's signer with its keys in this process's memory."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from pyln_fast.sign.interfaces import EnforcementState, SignerRefused
from pyln_fast.tx import commitment as commitment_tx
from pyln_fast.tx.closing import sign_closing
from pyln_fast.tx.commitment import CommitmentSignatures
from pyln_fast.tx.keys import commitment_index, per_commitment_point, per_commitment_secret, public_key
from pyln_fast.tx.parameters import ChannelPublicKeys, ChannelTransactionParameters, Commitment
from pyln_fast.tx.transaction import Transaction
from pyln_fast.types import CommitmentNumber, PrivateKey, PublicKey, Secret, Signature


class ChannelSecrets(msgspec.Struct, frozen=True):
    """What BOLT 3 wants of each party of a channel."""

    funding_key: PrivateKey
    revocation_base_key: PrivateKey
    payment_key: PrivateKey
    delayed_payment_base_key: PrivateKey
    htlc_base_key: PrivateKey
    commitment_seed: Secret
    """The root of the per-commitment secrets, 32 bytes."""


class InMemorySigner(msgspec.Struct, frozen=True):
    """LDK's InMemorySigner: an `EcdsaChannelSigner`. Its value never changes; what moves is the EnforcementState."""

    channel_keys_id: bytes
    secrets: ChannelSecrets
    pubkeys: ChannelPublicKeys

    @classmethod
    def from_secrets(cls, channel_keys_id: bytes, secrets: ChannelSecrets) -> InMemorySigner:
        pubkeys = ChannelPublicKeys(
            funding_pubkey=public_key(secrets.funding_key),
            revocation_basepoint=public_key(secrets.revocation_base_key),
            payment_point=public_key(secrets.payment_key),
            delayed_payment_basepoint=public_key(secrets.delayed_payment_base_key),
            htlc_basepoint=public_key(secrets.htlc_base_key),
        )
        return cls(channel_keys_id, secrets, pubkeys)

    def get_per_commitment_point(self, number: CommitmentNumber) -> PublicKey:
        return _point(self.secrets.commitment_seed, number)

    def validate_holder_commitment(
        self,
        state: EnforcementState,
        params: ChannelTransactionParameters,
        commitment: Commitment,
        signature: Signature,
        htlc_signatures: tuple[Signature, ...],
    ) -> EnforcementState:
        """Keeps count. The signatures were verified by the caller, which this signer trusts as it trusts itself."""
        assert params.holder.pubkeys == self.pubkeys
        newest, number = state.next_holder_commitment - 1, commitment.number
        if number not in (newest, newest + 1):
            raise SignerRefused(f"take holder commitment {number}", f"the newest is {newest}")
        return msgspec.structs.replace(state, next_holder_commitment=CommitmentNumber(number + 1))

    def release_commitment_secret(
        self, state: EnforcementState, number: CommitmentNumber
    ) -> tuple[EnforcementState, Secret]:
        newest = state.next_holder_commitment - 1
        if number >= newest:
            raise SignerRefused(f"revoke holder commitment {number}", f"the newest is {newest}")
        lowest_unreleased = CommitmentNumber(max(state.lowest_unreleased, number + 1))
        return msgspec.structs.replace(state, lowest_unreleased=lowest_unreleased), self._secret(number)

    def sign_counterparty_commitment(
        self, params: ChannelTransactionParameters, commitment: Commitment
    ) -> CommitmentSignatures:
        assert params.holder.pubkeys == self.pubkeys
        return commitment_tx.sign(params, commitment, self.secrets.funding_key, self.secrets.htlc_base_key)

    def sign_holder_commitment(
        self,
        state: EnforcementState,
        params: ChannelTransactionParameters,
        commitment: Commitment,
        counterparty_signature: Signature,
    ) -> Transaction:
        assert params.holder.pubkeys == self.pubkeys
        number = commitment.number
        if number < state.lowest_unreleased:
            raise SignerRefused(f"sign holder commitment {number}", "its secret was released")
        if number >= state.next_holder_commitment:
            raise SignerRefused(f"sign holder commitment {number}", "it was never validated")
        assert commitment.per_commitment_point == self.get_per_commitment_point(CommitmentNumber(number))
        return commitment_tx.sign_holder(params, commitment, counterparty_signature, self.secrets.funding_key)

    def sign_closing_transaction(self, params: ChannelTransactionParameters, tx: Transaction) -> Signature:
        assert params.holder.pubkeys == self.pubkeys
        return sign_closing(params, tx, self.secrets.funding_key)

    def _secret(self, number: CommitmentNumber) -> Secret:
        return per_commitment_secret(self.secrets.commitment_seed, commitment_index(number))


# Every point is wanted three times: as the next one, for the commitment, and when a connection begins.
@lru_cache(maxsize=8192)
def _point(seed: Secret, number: CommitmentNumber) -> PublicKey:
    return per_commitment_point(per_commitment_secret(seed, commitment_index(number)))
