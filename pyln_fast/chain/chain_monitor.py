"""All monitors: which of them a block concerns, and what is watched for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping

from pyln_fast.chain import channel_monitor
from pyln_fast.chain.channel_monitor import MonitorAction, MonitorState, WatchOutpoint, WatchScript
from pyln_fast.chain.scanner import BlockHits, Hit, WatchSet
from pyln_fast.config import ANTI_REORG_DELAY
from pyln_fast.sign.interfaces import EcdsaChannelSigner, SignerRefused
from pyln_fast.tx.monitor_update import ChannelMonitorUpdate, NewMonitor
from pyln_fast.tx.transaction import parse
from pyln_fast.types import BlockHeight, ChannelId, Txid


class ChainMonitor:
    """The states are the caller's, who may take changes back; the indexes here only say where to look.

    An index may name too much (a channel that was taken back, a spend that a reorganisation undid), never too little:
    entries stay when states go back, and the state decides.
    """

    __slots__ = ("_by_txid", "_due", "_states", "_watch_set", "_watched")

    def __init__(self, states: MutableMapping[ChannelId, MonitorState], watch_set: WatchSet) -> None:
        self._states = states
        self._watch_set = watch_set
        self._by_txid: dict[Txid, dict[ChannelId, None]] = {}
        """Whose funding, or whose funding's spend, a transaction is. One transaction may fund many channels."""
        self._due: dict[BlockHeight, dict[ChannelId, None]] = {}
        """Whom to tell of the block at this height."""
        self._watched: dict[tuple[ChannelId, WatchOutpoint | WatchScript], None] = {}

    def load(self) -> list[MonitorAction]:
        """After the states were read: indexes and watches of every channel."""
        for state in self._states.values():
            self._watch(state.channel_id, channel_monitor.watches(state))
            self._index(state)
        return []

    def watch_channel(self, new: NewMonitor) -> list[MonitorAction]:
        assert new.channel_id not in self._states
        return self._take(channel_monitor.new_monitor(new))

    def update_channel(self, update: ChannelMonitorUpdate, signer: EcdsaChannelSigner) -> list[MonitorAction]:
        """Raises MonitorRefused; nothing has changed then."""
        return self._take(channel_monitor.update_monitor(self._states[update.channel_id], update, signer))

    def block_connected(self, hits: BlockHits, height: BlockHeight) -> list[MonitorAction]:
        actions: list[MonitorAction] = []
        for channel_id in self.concerned(hits, height):
            actions += self.block_connected_for(channel_id, hits, height)
        return actions

    def concerned(self, hits: BlockHits, height: BlockHeight) -> list[ChannelId]:
        """The channels that are to be told of the block."""
        found = {channel_id: None for hit in hits.hits for channel_id in self._concerned(hit)}
        found.update(dict.fromkeys(self._take_due(height)))
        return [channel_id for channel_id in found if channel_id in self._states]

    def block_connected_for(self, channel_id: ChannelId, hits: BlockHits, height: BlockHeight) -> list[MonitorAction]:
        """One channel alone, so that what goes wrong there does not keep the block from the others."""
        actions: list[MonitorAction] = []
        for hit in hits.hits:
            if channel_id in self._concerned(hit):
                actions += self._take(channel_monitor.transaction_seen(self._states[channel_id], hit, height))
        return actions + self._take(channel_monitor.best_block(self._states[channel_id], height))

    def blocks_disconnected(self, from_height: BlockHeight) -> list[MonitorAction]:
        """The blocks from this height on are gone. Looks at every monitor: it is rare."""
        actions: list[MonitorAction] = []
        for channel_id in list(self._states):
            actions += self.blocks_disconnected_for(channel_id, from_height)
        return actions

    def blocks_disconnected_for(self, channel_id: ChannelId, from_height: BlockHeight) -> list[MonitorAction]:
        return self._take(channel_monitor.block_disconnected(self._states[channel_id], from_height))

    def transactions_to_broadcast(
        self, signer_of: Callable[[bytes], EcdsaChannelSigner]
    ) -> list[tuple[ChannelId, tuple[bytes, ...]]]:
        """Of every channel that waits for a transaction of ours; `signer_of` takes a channel_keys_id.

        A signer that refuses is passed over, and asked again with the next call.
        """
        found: list[tuple[ChannelId, tuple[bytes, ...]]] = []
        for channel_id, state in self._states.items():
            if not channel_monitor.has_transactions_to_broadcast(state):
                continue
            try:
                raws = channel_monitor.transactions_to_broadcast(state, signer_of(state.channel_keys_id))
            except SignerRefused:
                continue
            found.append((channel_id, raws))
        return found

    def _take(self, result: channel_monitor.Result) -> list[MonitorAction]:
        """Keeps the new state, if it is one, and does the watching itself."""
        state, actions = result
        if self._states.get(state.channel_id) is not state:
            self._states[state.channel_id] = state
            self._index(state)
        watches = [action for action in actions if isinstance(action, WatchOutpoint | WatchScript)]
        self._watch(state.channel_id, watches)
        return [action for action in actions if not isinstance(action, WatchOutpoint | WatchScript)]

    def _index(self, state: MonitorState) -> None:
        channel_id, spend = state.channel_id, state.funding_spend
        self._by_txid.setdefault(state.parameters.funding_outpoint.txid, {})[channel_id] = None
        if spend is not None:
            self._by_txid.setdefault(spend.txid, {})[channel_id] = None
            if not spend.buried:
                self._due.setdefault(channel_monitor.burial_height(spend), {})[channel_id] = None

    def _watch(self, channel_id: ChannelId, watches: Iterable[WatchOutpoint | WatchScript]) -> None:
        """Once a channel, however often it is asked: the watch set counts."""
        for watch in watches:
            if (channel_id, watch) in self._watched:
                continue
            self._watched[channel_id, watch] = None
            if isinstance(watch, WatchOutpoint):
                self._watch_set.add_outpoint(watch.outpoint)
            else:
                self._watch_set.add_script(watch.script_pubkey)

    def _concerned(self, hit: Hit) -> list[ChannelId]:
        """In the order in which they were indexed."""
        found = dict(self._by_txid.get(hit.txid, {}))
        for tx_in in parse(hit.raw).inputs if hit.inputs else ():
            found.update(self._by_txid.get(tx_in.outpoint.txid, {}))
        return [channel_id for channel_id in found if channel_id in self._states]

    def _take_due(self, height: BlockHeight) -> list[ChannelId]:
        """Whoever is due at this height, or was and could not be told.

        Entries outlive their height a little: what followed from a block may be taken back, and the block come again.
        """
        due = sorted(when for when in self._due if when <= height)
        found = {channel_id: None for when in due for channel_id in self._due[when]}
        for when in due:
            if when + ANTI_REORG_DELAY < height and not any(map(self._waits, self._due[when])):
                del self._due[when]
        return list(found)

    def _waits(self, channel_id: ChannelId) -> bool:
        state = self._states.get(channel_id)
        return state is not None and state.funding_spend is not None and not state.funding_spend.buried
