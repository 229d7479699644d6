"""The simulated node's disk: a real folder in memory that can be frozen, filled, and lose what was not made durable.

What a power cut leaves follows the model of ``tests/power``, which tries everything that POSIX allows after a few runs:
here one of it happens, chosen by the seed, in the middle of everything else that a story has. What is durable was
fsynced: a file's content, a folder's entries. Of the other changes of names any may be missing, in whatever order they
were made; contents that are not durable are the former, torn, or zeros.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.simulation.world.image import Change, Image, Remembered, Thing, build, collect, entries_of
from tests.simulation.world.sockets import OWNER, WORLD
from torcxd.addons.partial import PartialFile
from torcxd.errors import from_os_error


@dataclass(slots=True)
class Disk:
    """The disk below *root*.

    :param fired: counts what happens to it.
    :ivar full: nothing can be written.
    """

    root: Path
    fired: Counter[str] = field(default_factory=Counter)
    full: bool = False
    _known: Remembered = field(default_factory=Remembered)
    _left: int = 0
    _reached: Callable[[], None] | None = None

    # What the program does to it.

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Watch what happens on the disk and what is made durable, while the block runs."""
        with ExitStack() as stack:

            def put(owner: Any, name: str, replacement: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
                stack.enter_context(patch.object(owner, name, replacement(getattr(owner, name))))

            for name in ("link", "mkdir", "symlink"):
                put(os, name, lambda function: self._watched(function, fills=True))
            for name in ("rename", "unlink", "rmdir"):
                put(os, name, lambda function: self._watched(function, fills=False))
            for name in ("write", "ftruncate"):
                put(os, name, self._written)
            put(os, "open", self._opened)
            put(os, "fsync", lambda _: self._fsync)
            put(os, "sync", lambda _: self._sync)
            put(PartialFile, "append", self._appended)
            yield

    def after(self, calls: int, act: Callable[[], None] | None) -> None:
        """Call *act* right before the program's so many-th operation from now; None takes that back."""
        self._left, self._reached = calls, act

    def awaits(self, act: Callable[[], None]) -> bool:
        """Whether *act* is still to be called."""
        return self._reached == act

    def _begin(self, path: str, *, fills: bool) -> None:
        """An operation on *path* is about to happen. The world's own are not what is tested.

        /run is in memory, which neither a full disk nor a power cut has anything to do with.
        """
        if OWNER.get() == WORLD or path.startswith(f"{self.root}/run/"):
            return
        if self._reached is not None:
            self._left -= 1
            if self._left <= 0:
                reached, self._reached = self._reached, None
                reached()
        if fills and self.full:
            self.fired["disk: write refused"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _watched(self, function: Callable[..., Any], *, fills: bool) -> Callable[..., Any]:
        """*function* changes the folder that its last argument names something in, and that of the first."""

        def checked(*paths: Any, dir_fd: int | None = None, **named: Any) -> Any:
            names = [os.fspath(each) for each in paths if not isinstance(each, int)]
            self._begin(names[-1], fills=fills)
            if dir_fd is not None:
                named["dir_fd"] = dir_fd
            try:
                return function(*paths, **named)
            finally:
                # All folders before any change is noted: a rename between two is seen in both.
                for folder in dict.fromkeys(map(os.path.dirname, names)):
                    self._look(folder if dir_fd is None else os.path.join(f"/proc/self/fd/{dir_fd}", folder))

        return checked

    def _opened(self, function: Callable[..., int]) -> Callable[..., int]:
        def checked(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if not flags & (os.O_CREAT | os.O_TRUNC) or not os.fspath(path).startswith(str(self.root)):
                return function(path, flags, *arguments, **named)
            self._begin(os.fspath(path), fills=bool(flags & os.O_CREAT) and not os.path.lexists(path))
            try:
                return function(path, flags, *arguments, **named)
            finally:
                self._look(os.path.dirname(os.fspath(path)))

        return checked

    def _written(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(descriptor: int, what: Any) -> Any:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            self._begin(_path_of(descriptor), fills=isinstance(what, bytes) and is_file)
            return function(descriptor, what)

        return checked

    def _appended(self, function: Callable[..., None]) -> Callable[..., None]:
        def checked(partial: PartialFile, pieces: Any) -> None:
            try:
                self._begin(str(partial._path), fills=True)
            except OSError as error:
                raise from_os_error(error, "write", partial._path) from error
            function(partial, pieces)

        return checked

    # What is durable.

    def _look(self, folder: str) -> None:
        """Note what has changed in *folder* since somebody looked at it last."""
        try:
            entries, inode = entries_of(folder), os.stat(folder).st_ino
        except OSError:
            # It is gone, or never was.
            return
        self._known.look(inode, entries)

    def _fsync(self, descriptor: int) -> None:
        self._begin(_path_of(descriptor), fills=False)
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            self._known.settle_folder(found.st_ino, entries_of(descriptor))
        else:
            content = Path(f"/proc/self/fd/{descriptor}").read_bytes()
            self._known.files[found.st_ino] = Thing(found.st_mode, content, found.st_mtime_ns)

    def _sync(self) -> None:
        self._begin(str(self.root), fills=False)
        self.settle()

    def settle(self, path: Path | None = None) -> None:
        """All that is there is durable now; with *path*, what is there, or that nothing is."""
        if path is None:
            self._known = Remembered.all_of(self.freeze())
            return
        for each in (path, *path.parents):
            if each == self.root:
                break
            found = each.lstat() if each.exists() else None
            if found is not None and stat.S_ISREG(found.st_mode):
                self._known.files[found.st_ino] = Thing(found.st_mode, each.read_bytes(), found.st_mtime_ns)
            self._known.settle_name(each.parent.stat().st_ino, each.name, found and found.st_ino)

    # Images of it.

    def freeze(self) -> Image:
        """What is on the disk now, and what of it is durable."""
        things: dict[int, Thing] = {}
        return Image(collect(self.root, things), things, self._known.copied())

    def restore(self, image: Image) -> None:
        """Bring the disk back to *image*."""
        now = self.freeze()
        if (now.root, now.things) == (image.root, image.things):
            self._known = image.known
            return
        held = self.full, OWNER.set(WORLD)
        self.full = False
        for each in self.root.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()
        made: dict[int, Path] = {image.root: self.root}
        entries = image.things[image.root].content
        assert isinstance(entries, dict)
        for name, inode in entries.items():
            build(self.root / name, inode, image.things, made)
        # The same things have other inodes now.
        self._known = image.known.renumbered({inode: path.lstat().st_ino for inode, path in made.items()})
        self.full = held[0]
        OWNER.reset(held[1])

    def after_power_cut(self, chance: random.Random) -> Image:
        """What is left of it when the power fails now: of all that is not durable, some."""
        now = self.freeze()
        known = now.known
        for inode, thing in now.things.items():
            if isinstance(thing.content, dict):
                known.look(inode, thing.content)
        folders = dict(known.folders)
        for change in _kept(known.changes, chance):
            folders[change.folder] = change.made_in(folders.get(change.folder, {}))
        things: dict[int, Thing] = {}

        def decide(inode: int) -> None:
            if inode in things:
                return
            present, saved = now.things.get(inode), known.files.get(inode)
            if inode in folders or (present is not None and isinstance(present.content, dict)):
                entries = folders.get(inode, {})
                things[inode] = Thing(present.mode if present else 0o40700, entries)
                for each in entries.values():
                    decide(each)
            elif present is not None and isinstance(present.content, bytes):
                durable = saved.content if saved is not None and isinstance(saved.content, bytes) else b""
                content = chance.choice(_contents(present.content, durable, chance))
                things[inode] = Thing(present.mode, content, present.modified)
            else:
                things[inode] = present or saved or Thing(0o100600, b"")

        decide(now.root)
        if things != now.things:
            self.fired["power: something lost"] += 1
        image = Image(now.root, things, Remembered())
        return Image(now.root, things, Remembered.all_of(image))


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _kept(changes: list[Change], chance: random.Random) -> list[Change]:
    """Those that are on the disk: all, none, the first of them, or any."""
    match chance.randrange(4):
        case 0:
            return []
        case 1:
            return changes[: chance.randrange(len(changes) + 1)]
        case 2:
            return [each for each in changes if chance.random() < 0.5]
    # Names are all there: what is lost is content.
    return changes


def _contents(written: bytes, durable: bytes, chance: random.Random) -> tuple[bytes, ...]:
    """What may be found in a file that was written to since its last fsync."""
    if written == durable:
        return (written,)
    size = len(written)
    part = chance.randrange(size + 1)
    return (written, durable, bytes(size), written[:part], written[:part] + bytes(size - part), b"")
