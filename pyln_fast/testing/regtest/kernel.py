"""libbitcoinkernel: the consensus rules. Everything that this package knows of `pbk` is in this file.

The kernel's chain state lives in memory. What is kept are the raw blocks (block_store.py): after a restart, and for
`invalidateblock`, which the kernel does not have, a new chain state is fed with them (110 blocks take 10 ms).
"""

from __future__ import annotations

import ctypes
import re
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

try:
    import pbk
    from pbk.capi.library import BITCOINKERNEL_LIB
    from pbk.script import PrecomputedTransactionData
except ImportError as error:
    raise ImportError("pyln_fast.testing.regtest needs py-bitcoinkernel: pip install 'pyln-fast[regtest]'") from error

from pyln_fast.testing.regtest.errors import BlockRejected
from pyln_fast.types import BlockHash, TxOut

_ALL_CONSENSUS_FLAGS = pbk.ScriptVerificationFlags(sum(pbk.ScriptVerificationFlags))
MAX_MONEY_SAT = 21_000_000 * 100_000_000
_BLOCK_CHECKED = re.compile(r"BlockChecked: block hash=([0-9a-f]{64}) state=(.+)")
_reasons: dict[str, str] = {}
_log_connections: list[pbk.LoggingConnection] = []


def _read_log_line(line: str) -> None:
    found = _BLOCK_CHECKED.search(line)
    if found and found.group(2).strip() != "Valid":
        _reasons[found.group(1)] = found.group(2).strip()


def _rejection(block_hash: str) -> BlockRejected:
    reason, _, details = _reasons.pop(block_hash, "duplicate-invalid").partition(", ")
    return BlockRejected(reason, details)


def _listen_to_log() -> None:
    """The kernel gives reasons nowhere but in its log, which is one for the whole process."""
    if not _log_connections:
        pbk.enable_log_category(pbk.LogCategory.VALIDATION)
        _log_connections.append(pbk.LoggingConnection(_read_log_line))


def _set_clock(now: int) -> None:
    """The kernel refuses blocks more than two hours ahead of its clock, which is one for the whole process.

    The function is exported under its C++ name only. Without it, `setmocktime` reaches two hours ahead.
    """
    try:
        function = BITCOINKERNEL_LIB._Z11SetMockTimel
    except AttributeError:
        return
    function(ctypes.c_int64(now))


class Kernel:
    """One regtest chain state. Close it: its threads and its directory live until then."""

    def __init__(self, directory: Path | None) -> None:
        """`directory`: its own, emptied first (17 MB that a SIGKILL leaves behind); None: one in the system's /tmp."""
        _listen_to_log()
        if directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="pyln-fast-kernel-"))
        else:
            shutil.rmtree(directory, ignore_errors=True)
            self._directory = directory
        # Also for a node that nobody closes.
        self._remove_directory = weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._invalid: set[str] = set()
        callbacks = pbk.ValidationInterfaceCallbacks(block_checked=self._block_checked)
        context = pbk.make_context(pbk.ChainType.REGTEST, callbacks)
        options = pbk.ChainstateManagerOptions(context, str(self._directory), str(self._directory / "blocks"))
        options.update_block_tree_db_in_memory(True)
        options.update_chainstate_db_in_memory(True)
        options.set_worker_threads_num(0)
        self._manager: pbk.ChainstateManager | None = pbk.ChainstateManager(options)
        self._manager.import_blocks([])

    def _block_checked(self, user_data: object, block: pbk.Block, state: pbk.BlockValidationState) -> None:
        if state.validation_mode != pbk.ValidationMode.VALID:
            self._invalid.add(str(block.block_hash))

    def process_block(self, raw: bytes, now: int) -> bool:
        """Checks a block and, if it has the most work, makes it the tip. False: it was known already.

        `now`: seconds since 1970, the clock to judge its time by. Raises BlockRejected.
        """
        assert self._manager is not None, "the kernel is closed"
        try:
            block = pbk.Block(raw)
        except RuntimeError:
            raise BlockRejected("Block decode failed") from None
        block_hash = str(block.block_hash)
        _set_clock(now)
        try:
            new = self._manager.process_block(block)
        except pbk.ProcessBlockException:
            raise _rejection(block_hash) from None
        finally:
            _set_clock(0)
        if block_hash in self._invalid:
            raise _rejection(block_hash)
        return bool(new)

    def height(self) -> int:
        assert self._manager is not None, "the kernel is closed"
        return int(self._manager.get_active_chain().height)

    def block_hash_at(self, height: int) -> BlockHash:
        assert self._manager is not None, "the kernel is closed"
        chain = self._manager.get_active_chain()
        return BlockHash(bytes(chain.block_tree_entries[height].block_hash))

    def genesis(self) -> bytes:
        """The raw genesis block."""
        assert self._manager is not None, "the kernel is closed"
        entry = self._manager.get_active_chain().block_tree_entries[0]
        return bytes(self._manager.blocks[entry])

    def close(self) -> None:
        if self._manager is not None:
            self._manager.__exit__(None, None, None)
            self._manager = None
            self._remove_directory()


def transactions_of_block(raw: bytes) -> tuple[bytes, ...]:
    """The raw transactions of a raw block. Raises BlockRejected if it cannot be parsed."""
    try:
        block = pbk.Block(raw)
    except RuntimeError:
        raise BlockRejected("Block decode failed") from None
    return tuple(bytes(tx) for tx in block.transactions)


def unreadable_reason(raw_tx: bytes) -> str | None:
    """Why a transaction that can be read can be in no block, in Core's words; None: it cannot be read.

    For what `pyln_fast.tx.transaction.parse` refuses for its content.
    """
    try:
        tx = pbk.Transaction(raw_tx)
    except RuntimeError:
        return None
    if bytes(tx) != raw_tx or not len(tx.inputs):
        return None
    amounts = [output.amount for output in tx.outputs]
    if not amounts:
        return "bad-txns-vout-empty"
    if min(amounts) < 0:
        return "bad-txns-vout-negative"
    return "bad-txns-vout-toolarge" if max(amounts) > MAX_MONEY_SAT else "bad-txns-oversize"


class InputVerifier:
    """All consensus rules, taproot's among them, for the scripts of a transaction's inputs.

    `spent` holds one output for each input, in their order; the transaction must parse.
    """

    def __init__(self, raw_tx: bytes, spent: Sequence[TxOut]) -> None:
        self._tx = pbk.Transaction(raw_tx)
        # A wrong number of spent outputs, or a wrong index, aborts the process inside the kernel.
        assert len(spent) == len(self._tx.inputs), "one spent output for each input"
        self._spent = [pbk.TransactionOutput(pbk.ScriptPubkey(out.script_pubkey), out.value_sat) for out in spent]
        self._data = PrecomputedTransactionData(self._tx, self._spent)

    def is_valid(self, index: int) -> bool:
        assert 0 <= index < len(self._spent), "an input of this transaction"
        out = self._spent[index]
        return bool(out.script_pubkey.verify(out.amount, self._tx, self._data, index, _ALL_CONSENSUS_FLAGS))
