"""The simulated node's disk: a real folder in memory that can be frozen, filled, and lose what was not made durable."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.simulation.world.network import OWNER, WORLD
from torcxd.addons.partial import PartialFile
from torcxd.errors import from_os_error

Entries = dict[str, int]


@dataclass(frozen=True, slots=True)
class Thing:
    """What an inode is: a folder's entries, a link's target, or a file's content."""

    mode: int
    content: bytes | str | Entries
    modified: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """All that lies on the disk at one moment, by inode number, so that hard links stay hard links."""

    root: int
    things: dict[int, Thing]


@dataclass(slots=True)
class Disk:
    """The disk below *root*.

    What was there at the last :meth:`settle` is durable, and since then what was fsynced: a file's content, a folder's
    entries.

    :ivar full: nothing can be written.
    """

    root: Path
    full: bool = False
    _files: dict[int, Thing] = field(default_factory=dict)
    _folders: dict[int, Entries] = field(default_factory=dict)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Watch what is made durable, and fail what is written to a full disk, while the block runs."""
        append = PartialFile.append

        def checked_append(partial: PartialFile, pieces: Any) -> None:
            if self.full:
                raise from_os_error(_no_space(), "write", partial._path)
            append(partial, pieces)

        with ExitStack() as stack:
            stack.enter_context(patch.object(os, "fsync", self._fsync))
            stack.enter_context(patch.object(os, "sync", self.settle))
            stack.enter_context(patch.object(PartialFile, "append", checked_append))
            for module, name in ((tempfile, "mkstemp"), (os, "link"), (os, "mkdir")):
                stack.enter_context(patch.object(module, name, self._unless_full(getattr(module, name))))
            yield

    def _unless_full(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any, **named: Any) -> Any:
            # The world's own writing is not what is tested.
            if self.full and OWNER.get() != WORLD:
                raise _no_space()
            return function(*arguments, **named)

        return checked

    def _fsync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            self._folders[found.st_ino] = _entries(descriptor)
        else:
            content = Path(f"/proc/self/fd/{descriptor}").read_bytes()
            self._files[found.st_ino] = Thing(found.st_mode, content, found.st_mtime_ns)

    def freeze(self) -> Image:
        """What is on the disk now."""
        things: dict[int, Thing] = {}
        return Image(_collect(self.root, things), things)

    def restore(self, image: Image) -> None:
        """Bring the disk back to *image*."""
        full, self.full = self.full, False
        for each in self.root.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()
        made: dict[int, Path] = {}
        entries = image.things[image.root].content
        assert isinstance(entries, dict)
        for name, inode in entries.items():
            _build(self.root / name, inode, image.things, made)
        # The same things have other inodes now; that something was not durable yet is forgotten with them.
        self.settle()
        self.full = full

    def settle(self) -> None:
        """All that is there is durable now."""
        image = self.freeze()
        self._files = {inode: each for inode, each in image.things.items() if isinstance(each.content, bytes)}
        self._folders = {inode: each.content for inode, each in image.things.items() if isinstance(each.content, dict)}

    def lose_power(self, chance: random.Random) -> None:
        """Of all that was not made durable, some is gone: contents, and entries of folders."""
        now = self.freeze()
        things: dict[int, Thing] = {}
        self._decide(now.root, now, things, chance)
        self.restore(Image(now.root, things))

    def _decide(self, inode: int, now: Image, things: dict[int, Thing], chance: random.Random) -> None:
        present = now.things.get(inode)
        durable = self._folders.get(inode)
        if (present is not None and isinstance(present.content, dict)) or durable is not None:
            entries = present.content if present is not None and isinstance(present.content, dict) else {}
            before = durable if durable is not None else {}
            kept: Entries = {}
            for name in sorted({*entries, *before}):
                old, new = before.get(name), entries.get(name)
                chosen = new if old == new or chance.random() < 0.5 else old
                if chosen is not None:
                    kept[name] = chosen
                    self._decide(chosen, now, things, chance)
            things[inode] = Thing(present.mode if present is not None else 0o40755, kept)
            return
        saved = self._files.get(inode)
        if present is None or (saved is not None and saved.content == present.content):
            things[inode] = saved or Thing(0o100644, b"")
        elif isinstance(present.content, bytes):
            torn = present.content[: chance.randrange(len(present.content) + 1)]
            options = (present.content, torn, saved.content if saved is not None else b"")
            things[inode] = Thing(present.mode, chance.choice(options), present.modified)
        else:
            things[inode] = present


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _entries(folder: Path | int) -> Entries:
    with os.scandir(folder) as found:
        return {each.name: each.inode() for each in sorted(found, key=lambda each: each.name)}


def _collect(path: Path, things: dict[int, Thing]) -> int:
    found = path.lstat()
    inode = found.st_ino
    if inode in things:
        return inode
    if stat.S_ISDIR(found.st_mode):
        entries = _entries(path)
        things[inode] = Thing(found.st_mode, entries)
        for each in entries:
            _collect(path / each, things)
    elif stat.S_ISLNK(found.st_mode):
        things[inode] = Thing(found.st_mode, str(path.readlink()))
    else:
        things[inode] = Thing(found.st_mode, path.read_bytes(), found.st_mtime_ns)
    return inode


def _build(path: Path, inode: int, things: dict[int, Thing], made: dict[int, Path]) -> None:
    if inode in made:
        os.link(made[inode], path)
        return
    thing = things[inode]
    match thing.content:
        case dict() as entries:
            path.mkdir()
            for name, each in entries.items():
                _build(path / name, each, things, made)
            path.chmod(stat.S_IMODE(thing.mode))
        case str() as target:
            path.symlink_to(target)
        case bytes() as content:
            path.write_bytes(content)
            path.chmod(stat.S_IMODE(thing.mode))
            os.utime(path, ns=(thing.modified, thing.modified))
            made[inode] = path
