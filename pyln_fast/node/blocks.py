"""Blocks reach every channel, whatever goes wrong in one of them.

A monitor that cannot take a block is reported and told again, with every block and every minute, until it takes it;
what it missed is durable. The others go on: their claims have deadlines.
"""

from __future__ import annotations

from collections.abc import Callable

from pyln_fast.chain.channel_monitor import MonitorAction
from pyln_fast.chain.scanner import BlockHits
from pyln_fast.channel.commands import NewBlock
from pyln_fast.node.core import Core
from pyln_fast.node.state import MissedBlock, MissedBlocks
from pyln_fast.types import BlockHeight, ChannelId

Unit = Callable[[Callable[[], None]], None]
Complain = Callable[[str, Exception], None]


class Blocks:
    """`unit` runs a function as one input of the node, `complain` reports."""

    def __init__(self, core: Core, unit: Unit, complain: Complain) -> None:
        self._core = core
        self._unit = unit
        self._complain = complain

    def connected(self, hits: BlockHits, height: BlockHeight) -> None:
        self.retry()
        for channel_id in self._core.monitors.concerned(hits, height):
            self._tell(channel_id, MissedBlock(height, hits))
        for channel_id in list(self._core.state.channels):
            self._try(channel_id, lambda: self._new_block(channel_id))  # noqa: B023

    def disconnected(self, from_height: BlockHeight) -> None:
        self.retry()
        for channel_id in list(self._core.state.monitors):
            self._tell(channel_id, MissedBlock(from_height, None))

    def retry(self) -> None:
        """What was missed, in its order."""
        for channel_id, missed in list(self._core.state.missed_blocks.items()):
            for position, block in enumerate(missed.blocks):
                if not self._try(channel_id, lambda: self._take(channel_id, block)):  # noqa: B023
                    self._unit(lambda: self._keep(channel_id, missed.blocks[position:]))  # noqa: B023
                    break
            else:
                self._unit(lambda: self._keep(channel_id, ()))  # noqa: B023

    def _tell(self, channel_id: ChannelId, block: MissedBlock) -> None:
        missed = self._core.state.missed_blocks.get(channel_id)
        before = missed.blocks if missed is not None else ()
        if before or not self._try(channel_id, lambda: self._take(channel_id, block)):
            self._unit(lambda: self._keep(channel_id, (*before, block)))

    def _take(self, channel_id: ChannelId, block: MissedBlock) -> None:
        monitors = self._core.monitors
        actions: list[MonitorAction]
        if block.hits is None:
            actions = monitors.blocks_disconnected_for(channel_id, block.height)
        else:
            actions = monitors.block_connected_for(channel_id, block.hits, block.height)
        self._core.perform_monitor_actions(actions)

    def _keep(self, channel_id: ChannelId, blocks: tuple[MissedBlock, ...]) -> None:
        missed = self._core.state.missed_blocks
        if blocks:
            missed[channel_id] = MissedBlocks(blocks)
        elif channel_id in missed:
            del missed[channel_id]

    def _new_block(self, channel_id: ChannelId) -> None:
        if channel_id in self._core.state.channels:
            self._core.execute(channel_id, NewBlock())

    def _try(self, channel_id: ChannelId, function: Callable[[], None]) -> bool:
        try:
            self._unit(function)
        except Exception as error:
            self._complain(f"channel {channel_id.hex()}: a block was not taken, it will be given again", error)
            return False
        return True
