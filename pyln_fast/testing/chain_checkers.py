"""What must hold of the coins: in the wallets, in the fundings and in the cooperative closes.

Looked at when nothing is under way. Together with the sums of the channels' balances nothing is left in which a satoshi
could get lost: what a wallet had is in the wallet, in a channel, or was a fee that is not too high.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyln_fast.channel.state import ChannelData, Offline, Syncing, WaitForFundingConfirmed
from pyln_fast.testing.invariants import InvariantBroken
from pyln_fast.tx.transaction import Transaction, weight
from pyln_fast.types import BlockHash, OutPoint, Sat
from pyln_fast.wallet.keys import Branch
from pyln_fast.wallet.ledger import GAP_LIMIT
from pyln_fast.wallet.utxos import KEY_INDEXES, TRANSACTIONS, UTXOS, WalletUtxo, outpoint_of

if TYPE_CHECKING:
    from pyln_fast.testing.sim_node import SimNode
    from pyln_fast.testing.sim_world import SimWorld

LEAST_FEERATE = 253
LARGEST_FEERATE = 4000
"""Sat per kw, of the estimates: what a funding or a close may pay."""
CHANGE_SAT = 1400
"""Change that costs more to spend than it is worth, by the largest feerate, is left to the miner."""


class ChainCheckers:
    """Of one simulation."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self._tips: dict[str, BlockHash] = {}

    def quiescent(self, node: SimNode, channels: Iterable[ChannelData]) -> None:
        """`channels`: the last durable record of each that ever was. Raises InvariantBroken."""
        if not node.is_synced:
            return
        self._wallet(node)
        for data in channels:
            self._funding(node, data)
            self._close(node, data)

    def turn_ended(self, node: SimNode) -> None:
        """At the tip a node knows where each funding is."""
        tip = node.node.locator.block_hash
        if self._tips.get(node.name) == tip or not node.is_synced:
            return
        self._tips[node.name] = tip
        for state in node.node.core.state.channels.values():
            funding = state.data.funding
            height = self._world.chain.height_of(funding.outpoint.txid)
            if funding.height != height:
                raise InvariantBroken("fundings", f"{node.name}: in block {height}, it says {funding.height}")

    def entered(self, node: SimNode, before: object | None, state: object) -> None:
        """Nobody says that a channel is ready before its funding is deep enough (BOLT 2, channel_ready)."""
        data: ChannelData = state.data  # type: ignore[attr-defined]
        if not isinstance(_inner(before), WaitForFundingConfirmed) or isinstance(
            _inner(state), WaitForFundingConfirmed
        ):
            return
        said_ready = data.holder_shutdown_script is None and type(_inner(state)).__name__ != "Closing"
        if not said_ready or data.funding.height is None:
            return
        depth = node.highest_block - data.funding.height + 1
        if depth < data.params.minimum_depth:
            raise InvariantBroken("deep enough", f"{node.name} uses a channel at {depth} confirmations")

    # --- the wallet

    def _wallet(self, node: SimNode) -> None:
        """On its disk are the coins of the chain that are its own, each with its value, and no others."""
        chain = self._world.chain
        scripts = self._scripts(node)
        coins = {
            OutPoint(entry.txid, vout): output.value_sat
            for entry in chain.confirmed()
            for vout, output in enumerate(entry.tx.outputs)
            if output.script_pubkey in scripts
        }
        there = {outpoint: value for outpoint, value in coins.items() if not self._is_spent(outpoint)}
        stored = {outpoint: utxo.value_sat for outpoint, utxo in self._stored(node) if utxo.height is not None}
        if stored != there:
            lost, invented = there.keys() - stored.keys(), stored.keys() - there.keys()
            raise InvariantBroken(
                "wallet", f"{node.name} lacks {len(lost)} coins, has {len(invented)} that are not there"
            )

    def _is_spent(self, outpoint: OutPoint) -> bool:
        spender = self._world.chain.spender(outpoint)
        return spender is not None and self._world.chain.height_of(spender) is not None

    @staticmethod
    def _scripts(node: SimNode) -> dict[bytes, Branch]:
        return {
            node.wallet_script(index, branch): branch
            for branch in Branch
            for index in range(_next_index(node, branch) + GAP_LIMIT)
        }

    @staticmethod
    def _stored(node: SimNode) -> Iterable[tuple[OutPoint, WalletUtxo]]:
        """The coins that no transaction in a block has spent."""
        for key, value in node.disk.tables.get(UTXOS.name, {}).items():
            utxo = UTXOS.decode(value)
            raw = None if utxo.spent_by is None else node.disk.read(TRANSACTIONS.name, utxo.spent_by)
            if raw is None or TRANSACTIONS.decode(raw).height is None:
                yield outpoint_of(key), utxo

    # --- channels

    def _funding(self, node: SimNode, data: ChannelData) -> None:
        """What it is worth, and what it cost."""
        chain, outpoint = self._world.chain, data.funding.outpoint
        entry = chain.transaction(outpoint.txid)
        if entry is None:
            return
        if entry.tx.outputs[outpoint.vout].value_sat != data.params.channel_value_sat:
            raise InvariantBroken("fundings", f"{node.name}: a funding output is not worth its channel")
        if data.params.holder_is_opener and data.funding.raw is not None:
            self._fee(node, "a funding", entry.tx, 0)

    def _close(self, node: SimNode, data: ChannelData) -> None:
        """Who closes together gets what he has; the fee is the opener's, and not too high (BOLT 2, BOLT 3)."""
        spender = self._world.chain.spender(data.funding.outpoint)
        script = data.holder_shutdown_script
        entry = None if spender is None else self._world.chain.transaction(spender)
        if entry is None or script is None or is_commitment(entry.tx):
            return
        mine = data.commitments.to_holder_msat // 1000
        fee = 0
        if data.params.holder_is_opener:
            fee = self._fee(node, "a close", entry.tx, data.config.force_close_avoidance_max_fee_satoshis)
        got = sum(output.value_sat for output in entry.tx.outputs if output.script_pubkey == script)
        dust = max(data.params.holder.dust_limit_sat, data.params.counterparty.dust_limit_sat)
        if got < mine - fee and (got or mine - fee >= dust):
            raise InvariantBroken(
                "closes", f"{node.name} got {got} of {mine} sat, less a fee of {fee} if it is its own"
            )

    def _fee(self, node: SimNode, what: str, tx: Transaction, more: Sat | int) -> int:
        """In sat. Raises InvariantBroken if nobody would mine it, or if it is more than any estimate asks for."""
        fee = sum(self._value(tx_in.outpoint) for tx_in in tx.inputs) - sum(out.value_sat for out in tx.outputs)
        least, most = LEAST_FEERATE * weight(tx) // 1000 - 4, LARGEST_FEERATE * weight(tx) // 1000 + more + CHANGE_SAT
        if not least <= fee <= most:
            raise InvariantBroken("fees", f"{node.name} pays {fee} sat for {what}, not {least} to {most}")
        return fee

    def _value(self, outpoint: OutPoint) -> int:
        entry = self._world.chain.transaction(outpoint.txid)
        assert entry is not None
        return entry.tx.outputs[outpoint.vout].value_sat


def _inner(state: object | None) -> object | None:
    return state.inner if isinstance(state, Offline | Syncing) else state


def _next_index(node: SimNode, branch: Branch) -> int:
    raw = node.disk.read(KEY_INDEXES.name, bytes((branch,)))
    return 0 if raw is None else KEY_INDEXES.decode(raw).next_index


def is_commitment(tx: Transaction) -> bool:
    """By the mark of its number (BOLT 3)."""
    return tx.lock_time >> 24 == 0x20 and tx.inputs[0].sequence >> 24 == 0x80
