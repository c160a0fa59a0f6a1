"""A disk that remembers what was synced: from it one sees what any crash would leave of a filesystem database.

It records the calls that change files, and makes the directory anew as it is after a kill between any two of them
(everything that was written is there), or after a power failure (only what was synced is).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Mark = tuple[int, int]
Names = dict[str, tuple[bytes, bytes]]
"""By name: what is in the file, and what of it was synced."""

CALLS = ("open", "write", "pwrite", "ftruncate", "posix_fallocate", "fsync", "fdatasync", "replace", "rename", "unlink")


class Inode:
    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""

    def sync(self) -> None:
        self.synced = bytes(self.data)


class DiskRecorder:
    """Of one directory, from its making."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, Inode] = {}
        self._synced_names: dict[str, Inode] = {}
        self._renamed: dict[str, Inode] = {}
        """Not synced yet; a file system may keep a rename, and lose what was made before it."""
        self._unlinked: set[str] = set()
        """Not synced either; the removal may be on the disk although a rename before it is not."""
        self._open: dict[int, Inode | None] = {}
        self._points: list[tuple[Mark, str, tuple[Names, ...]]] = []
        self.mark: Mark = (0, 0)
        """What the test wants to know of a point: the least and the highest sequence that may be found."""

    @contextmanager
    def recording(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            yield
        self._note("the end")

    def images(self) -> Iterator[tuple[Mark, str, dict[str, bytes]]]:
        """The mark, the call before which it crashed, and the files that are found then: with or without the names and
        the contents that were not synced."""
        for mark, call, namings in self._points:
            for files in namings:
                for content in (0, 1):
                    yield mark, call, {name: contents[content] for name, contents in files.items()}

    def _note(self, call: str) -> None:
        def contents(names: dict[str, Inode]) -> Names:
            return {name: (bytes(inode.data), inode.synced) for name, inode in names.items()}

        removed = {name: inode for name, inode in self._synced_names.items() if name not in self._unlinked}
        namings = (self._names, self._synced_names, self._synced_names | self._renamed, removed)
        self._points.append((self.mark, call, tuple(contents(names) for names in namings)))

    def _wrapped(self, name: str, true: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            if name != "open":
                self._note(f"{name} {arguments[0]!r}")
            result = true(*arguments, **options)  # type: ignore[operator]
            if name == "open":
                self._opened(result, *arguments[:2])  # type: ignore[arg-type]
            else:
                getattr(self, f"_{name}")(result, *arguments)
            return result

        return call

    def _name(self, path: object) -> str | None:
        where = Path(os.fspath(path))  # type: ignore[call-overload]
        return where.name if where.parent == self._directory else None

    def _inode(self, descriptor: object) -> Inode:
        inode = self._open.get(descriptor)  # type: ignore[call-overload]
        return inode if inode is not None else Inode()

    # --- what each call does

    def _opened(self, descriptor: int, path: object, flags: int) -> None:
        name = self._name(path)
        self._open[descriptor] = None
        if name is not None:
            inode = self._names.setdefault(name, Inode()) if flags & os.O_CREAT else self._names[name]
            if flags & os.O_TRUNC:
                inode.data.clear()
            self._open[descriptor] = inode

    def _rename(self, result: None, source: object, target: object) -> None:
        old, new = self._name(source), self._name(target)
        if old is not None and new is not None:
            self._names[new] = self._renamed[new] = self._names.pop(old)

    _replace = _rename

    def _unlink(self, result: None, path: object) -> None:
        name = self._name(path)
        if name is not None:
            self._names.pop(name, None)
            self._unlinked.add(name)

    def _write(self, result: int, descriptor: int, data: bytes) -> None:
        self._inode(descriptor).data += data[:result]

    def _pwrite(self, result: int, descriptor: int, data: bytes, offset: int) -> None:
        inode = self._inode(descriptor)
        inode.data.extend(bytes(max(0, offset + result - len(inode.data))))
        inode.data[offset : offset + result] = data[:result]

    def _ftruncate(self, result: None, descriptor: int, length: int) -> None:
        inode = self._inode(descriptor)
        del inode.data[length:]
        inode.data.extend(bytes(length - len(inode.data)))

    def _posix_fallocate(self, result: None, descriptor: int, offset: int, length: int) -> None:
        inode = self._inode(descriptor)
        inode.data.extend(bytes(max(0, offset + length - len(inode.data))))

    def _fdatasync(self, result: None, descriptor: int) -> None:
        self._inode(descriptor).sync()

    def _fsync(self, result: None, descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), self._directory.stat()):
            self._synced_names = dict(self._names)
            self._renamed.clear()
            self._unlinked.clear()
        else:
            self._inode(descriptor).sync()
