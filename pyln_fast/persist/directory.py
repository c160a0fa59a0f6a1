"""The directory of a database: who may read it, who has it open, and the disk space kept for bad times."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from pyln_fast.errors import DecodeError
from pyln_fast.persist.kv_store import (
    DatabaseDamaged,
    DatabaseLocked,
    DatabaseUnwritable,
    DiskFull,
    StoreError,
    WrongStore,
)


class StoreKind(Enum):
    SQLITE = "sqlite"
    FILESYSTEM = "filesystem"

    @property
    def file(self) -> str:
        """The file by which one knows the database."""
        return {StoreKind.SQLITE: "node.db", StoreKind.FILESYSTEM: "manifest"}[self]


TAIL = "tail"
LOCK = "lock"
RESERVE = "reserve"

RESERVE_BYTES = 64 << 20
"""What a full disk leaves us: closing every channel of a large node writes less than this."""
LOW_SPACE_BYTES = 256 << 20
"""With less than this free, beside the reserve, no new HTLCs are taken."""
WRITE_MARGIN_BYTES = 4 << 20
"""Less than this free, beside four times what is to be written, and a write might fail."""


def os_error(path: Path, error: OSError) -> StoreError:
    """What a failed call to the system means here."""
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(path, f"the disk is full: {why}")
    return DatabaseUnwritable(path, f"it cannot be written: {why}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the system and of decoding become StoreErrors."""
    try:
        yield
    except DecodeError as error:
        raise DatabaseDamaged(path, str(error)) from error
    except OSError as error:
        raise os_error(path, error) from error


def prepare(directory: Path) -> None:
    """Make the directory if need be, for its owner only. Raises DatabaseUnwritable."""
    try:
        made = [each for each in (directory, *directory.parents) if not each.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in made:
            sync_directory(each.parent)
        if directory.stat().st_mode & 0o777 != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise os_error(directory, error) from None


def create_private(path: Path) -> None:
    """An empty file for its owner only; one that exists is narrowed. Raises DatabaseUnwritable."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if path.stat().st_mode & 0o777 != 0o600:
            path.chmod(0o600)
    except OSError as error:
        raise os_error(path, error) from None


def kind_of(directory: Path) -> StoreKind | None:
    """Which database is there; None if there is none."""
    return next((kind for kind in StoreKind if (directory / kind.file).exists()), None)


def refuse_other_kind(directory: Path, kind: StoreKind) -> None:
    """Never a fresh database beside an old one. Raises WrongStore."""
    for other in StoreKind:
        if other is not kind and (directory / other.file).exists():
            raise WrongStore(
                directory,
                f"it holds a database of the {other.value} store, not of the {kind.value} store",
            )


def replace_file(path: Path, data: bytes) -> None:
    """The whole file or the one before, whatever happens; durable when it returns. Raises OSError."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(f"{new.name} was written in part")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DirectoryLock:
    """Held until closed, or until the process ends however it ends. Raises DatabaseLocked, DatabaseUnwritable."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        create_private(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            if error.errno == errno.EWOULDBLOCK:
                raise DatabaseLocked(directory, f"another process has it open (process {holder})") from None
            raise os_error(path, error) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except OSError:
            pass  # the number is for people only

    def close(self) -> None:
        os.close(self._descriptor)


class DiskReserve:
    """A file of allocated blocks, given up when the disk is full so that what must be written still can be."""

    def __init__(self, directory: Path, reserve_bytes: int, low_space_bytes: int) -> None:
        self._path = directory / RESERVE
        self._directory = directory
        self._bytes = reserve_bytes
        self._low = low_space_bytes
        self.held = False
        if self._allocated() or self.free_bytes() >= reserve_bytes + WRITE_MARGIN_BYTES:
            self._take()

    @property
    def low_space(self) -> bool:
        return not self.held or self.free_bytes() < self._low

    def free_bytes(self) -> int:
        """What this process may still allocate, without the reserve."""
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize

    def take_again(self) -> None:
        """Allocate a reserve that was given up, if the disk then still would not be low."""
        if not self.held and self.free_bytes() >= self._bytes + max(self._low, WRITE_MARGIN_BYTES):
            self._take()

    def _take(self) -> None:
        try:
            create_private(self._path)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.posix_fallocate(descriptor, 0, max(self._bytes, 1))
            finally:
                os.close(descriptor)
            self.held = True
        except (OSError, StoreError):
            self.release()

    def keep_up(self, write_bytes: int) -> None:
        """Before a write: if it might not fit, give the reserve up."""
        if self.held and self.free_bytes() < WRITE_MARGIN_BYTES + 4 * write_bytes:
            self.release()

    def has_room(self, write_bytes: int) -> bool:
        """For what can wait: it must not make the disk low."""
        return self.free_bytes() >= write_bytes + max(self._low, WRITE_MARGIN_BYTES)

    def release(self) -> None:
        self.held = False
        self._path.unlink(missing_ok=True)

    def _allocated(self) -> bool:
        try:
            return self._path.stat().st_size >= self._bytes
        except OSError:
            return False
