"""The miner's wallet: P2WPKH keys from a seed, coins found by their script, just enough to fund tests and demos."""

from __future__ import annotations

import hmac

from pyln_fast.errors import LocalError
from pyln_fast.testing.regtest import policy
from pyln_fast.testing.regtest.addresses import address_of_script
from pyln_fast.testing.regtest.chain import COINBASE_MATURITY, Chain, Coin
from pyln_fast.testing.regtest.mempool import Mempool
from pyln_fast.testing.regtest.policy import Policy
from pyln_fast.tx.keys import public_key, sign_ecdsa
from pyln_fast.tx.scripts import der_signature, p2wpkh
from pyln_fast.tx.transaction import (
    SEQUENCE_RBF,
    Transaction,
    TxInput,
    serialize,
    sighash_p2wpkh,
    with_witness,
)
from pyln_fast.types import OutPoint, PrivateKey, Sat, TxOut

_P2WPKH_INPUT_WEIGHT = 4 * 41 + 1 + 1 + 73 + 1 + 33
_OVERHEAD_WEIGHT = 4 * 10 + 2
_LOOK_AHEAD = 20


class InsufficientFunds(LocalError):
    """The faucet has less than it should send; `available_sat` is what it may spend now."""

    def __init__(self, wanted_sat: int, available_sat: int) -> None:
        super().__init__("Insufficient funds")
        self.wanted_sat = wanted_sat
        self.available_sat = available_sat


class Faucet:
    """Coins of one seed. It keeps nothing: what it owns is in the chain and in the mempool.

    Keys past the newest used one are recognised up to twenty ahead, as after a restart.
    """

    def __init__(self, seed: bytes, chain: Chain, mempool: Mempool, settings: Policy) -> None:
        self._seed = seed
        self._chain = chain
        self._mempool = mempool
        self._policy = settings
        self._keys: dict[bytes, PrivateKey] = {}
        self.own_script = self._script(0)
        """Takes the change, and what is mined for nobody else."""
        self._next = 1
        self.feerate_sat_per_vb = 2
        self._find_used()

    def new_script(self) -> bytes:
        """The scriptPubKey of a key that was not handed out before."""
        script = self._script(self._next)
        self._next += 1
        return script

    def new_address(self) -> str:
        address = address_of_script(self.new_script())
        assert address is not None, "P2WPKH has an address"
        return address

    def balance_sat(self) -> tuple[Sat, Sat, Sat]:
        """(spendable, unconfirmed from others: none is tracked, immature coinbases)."""
        spendable = sum(coin.output.value_sat for _, coin in self._spendable())
        immature = sum(coin.output.value_sat for coin in self._owned() if not self._is_mature(coin))
        return Sat(spendable), Sat(0), Sat(immature)

    def create(self, script_pubkey: bytes, amount_sat: int, feerate_sat_per_vb: int | None = None) -> bytes:
        """A signed transaction, not broadcast, that pays a script and returns the change. Raises InsufficientFunds."""
        feerate = self.feerate_sat_per_vb if feerate_sat_per_vb is None else feerate_sat_per_vb
        payment = TxOut(Sat(amount_sat), script_pubkey)
        weight = _OVERHEAD_WEIGHT + 4 * (9 + len(script_pubkey) + 9 + len(self.own_script))
        chosen: list[tuple[OutPoint, Coin]] = []
        total = 0
        candidates = self._spendable()
        for outpoint, coin in candidates:
            chosen.append((outpoint, coin))
            total += coin.output.value_sat
            weight += _P2WPKH_INPUT_WEIGHT
            if total >= amount_sat + (weight + 3) // 4 * feerate:
                break
        change = total - amount_sat - (weight + 3) // 4 * feerate
        if change < 0:
            raise InsufficientFunds(amount_sat, sum(coin.output.value_sat for _, coin in candidates))
        outputs = [payment]
        if change >= policy.dust_threshold_sat(self.own_script, self._policy):
            outputs.append(TxOut(Sat(change), self.own_script))
        inputs = tuple(TxInput(outpoint, b"", SEQUENCE_RBF, ()) for outpoint, _ in chosen)
        return self._sign(Transaction(2, inputs, tuple(outputs), 0), [coin for _, coin in chosen])

    def _sign(self, tx: Transaction, coins: list[Coin]) -> bytes:
        for index, coin in enumerate(coins):
            script, value = coin.output.script_pubkey, coin.output.value_sat
            secret = self._keys[script]
            public = public_key(secret)
            signature = sign_ecdsa(secret, sighash_p2wpkh(tx, index, public, value))
            tx = with_witness(tx, index, (der_signature(signature), public))
        return serialize(tx)

    def _script(self, index: int) -> bytes:
        secret = PrivateKey(hmac.digest(self._seed, b"pyln_fast regtest faucet %d" % index, "sha256"))
        script = p2wpkh(public_key(secret))
        self._keys[script] = secret
        return script

    def _find_used(self) -> None:
        used = {
            out.script_pubkey
            for block_hash in self._chain.active
            for tx in self._chain.blocks[block_hash].transactions
            for out in tx.outputs
        }
        index = 1
        while index < self._next + _LOOK_AHEAD:
            if self._script(index) in used:
                self._next = index + 1
            index += 1

    def _owned(self) -> list[Coin]:
        return [
            self._chain.coins[outpoint]
            for script in self._keys
            for outpoint in sorted(self._chain.coins_of_script.get(script, ()))
        ]

    def _is_mature(self, coin: Coin) -> bool:
        return not coin.coinbase or self._chain.height + 1 - coin.height >= COINBASE_MATURITY

    def _spendable(self) -> list[tuple[OutPoint, Coin]]:
        """Confirmed coins before unconfirmed change, each from the largest down, and of equal ones the oldest first.

        A reorganisation makes young coinbases immature again, and what spent one is then gone for good.
        """
        confirmed, change = [], []
        for script in self._keys:
            for outpoint in sorted(self._chain.coins_of_script.get(script, ())):
                coin = self._chain.coins[outpoint]
                if self._is_mature(coin) and outpoint not in self._mempool.spenders:
                    confirmed.append((outpoint, coin))
        for txid, entry in self._mempool.entries.items():
            for vout, out in enumerate(entry.tx.outputs):
                outpoint = OutPoint(txid, vout)
                if out.script_pubkey in self._keys and outpoint not in self._mempool.spenders:
                    change.append((outpoint, Coin(out, self._chain.height + 1, False)))

        def largest(item: tuple[OutPoint, Coin]) -> tuple[int, int]:
            return -item[1].output.value_sat, item[1].height

        return sorted(confirmed, key=largest) + sorted(change, key=largest)
