"""What lies on a disk at one moment, and what of it is durable: by inode number, so that hard links stay hard links."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Entries = dict[str, int]


@dataclass(frozen=True, slots=True)
class Thing:
    """What an inode is: a folder's entries, a link's target, or a file's content."""

    mode: int
    content: bytes | str | Entries
    modified: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a folder's entries: what its names lead to, None for nothing. A rename in a folder is one."""

    folder: int
    names: tuple[tuple[str, int | None], ...]

    def made_in(self, entries: Entries) -> Entries:
        """*entries* with it."""
        gone = {name for name, inode in self.names if inode is None}
        found = {name: inode for name, inode in self.names if inode is not None}
        return {name: inode for name, inode in {**entries, **found}.items() if name not in gone}


@dataclass(slots=True)
class Remembered:
    """What is durable, and which names are not.

    :ivar files: the durable contents.
    :ivar folders: the durable entries.
    :ivar changes: those of entries that are not durable, as they came.
    """

    files: dict[int, Thing] = field(default_factory=dict)
    folders: dict[int, Entries] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    _seen: dict[int, Entries] = field(default_factory=dict)

    @classmethod
    def all_of(cls, image: Image) -> Remembered:
        """Everything in *image* is durable."""
        files = {inode: each for inode, each in image.things.items() if not isinstance(each.content, dict)}
        folders = {inode: each.content for inode, each in image.things.items() if isinstance(each.content, dict)}
        return cls(files, folders, [], dict(folders))

    def copied(self) -> Remembered:
        """As it is now."""
        return Remembered(dict(self.files), dict(self.folders), list(self.changes), dict(self._seen))

    def look(self, folder: int, entries: Entries) -> None:
        """*folder* has these *entries* now."""
        before = self._seen.get(folder, {})
        if before == entries:
            return
        names = [each for each in {**before, **entries} if before.get(each) != entries.get(each)]
        self.changes.append(Change(folder, tuple((each, entries.get(each)) for each in names)))
        self._seen[folder] = entries

    def settle_folder(self, folder: int, entries: Entries) -> None:
        """The entries of *folder* are durable: these."""
        self.folders[folder] = self._seen[folder] = entries
        self.changes = [each for each in self.changes if each.folder != folder]

    def settle_name(self, folder: int, name: str, inode: int | None) -> None:
        """One name in *folder* is durable, and leads to *inode*."""
        made = Change(folder, ((name, inode),))
        for known in (self.folders, self._seen):
            known[folder] = made.made_in(known.get(folder, {}))
        others = [
            Change(each.folder, tuple(pair for pair in each.names if each.folder != folder or pair[0] != name))
            for each in self.changes
        ]
        self.changes = [each for each in others if each.names]

    def renumbered(self, numbers: Mapping[int, int]) -> Remembered:
        """The same where inodes have other *numbers*; those that are left out keep theirs, which nobody has anew."""

        def entries(old: Entries) -> Entries:
            return {name: numbers.get(inode, inode) for name, inode in old.items()}

        return Remembered(
            {numbers.get(inode, inode): each for inode, each in self.files.items()},
            {numbers.get(inode, inode): entries(each) for inode, each in self.folders.items()},
            [
                Change(
                    numbers.get(each.folder, each.folder),
                    tuple((name, None if inode is None else numbers.get(inode, inode)) for name, inode in each.names),
                )
                for each in self.changes
            ],
            {numbers.get(inode, inode): entries(each) for inode, each in self._seen.items()},
        )


@dataclass(frozen=True, slots=True)
class Image:
    """All that lies on the disk at one moment, and what of it is durable."""

    root: int
    things: dict[int, Thing]
    known: Remembered


def entries_of(folder: str | Path | int) -> Entries:
    """The names in *folder*, in order, and the inodes that they lead to."""
    with os.scandir(folder) as found:
        return {each.name: each.inode() for each in sorted(found, key=lambda each: each.name)}


def collect(path: Path, things: dict[int, Thing]) -> int:
    """Add *path* and all below it to *things*; returns its inode."""
    found = path.lstat()
    inode = found.st_ino
    if inode in things:
        return inode
    if stat.S_ISDIR(found.st_mode):
        entries = entries_of(path)
        things[inode] = Thing(found.st_mode, entries)
        for each in entries:
            collect(path / each, things)
    elif stat.S_ISLNK(found.st_mode):
        things[inode] = Thing(found.st_mode, str(path.readlink()))
    else:
        things[inode] = Thing(found.st_mode, path.read_bytes(), found.st_mtime_ns)
    return inode


def build(path: Path, inode: int, things: Mapping[int, Thing], made: dict[int, Path]) -> None:
    """Make *path* what *inode* is in *things*, with all below it; *made* gets a path for each inode."""
    if inode in made:
        os.link(made[inode], path)
        return
    made[inode] = path
    thing = things[inode]
    match thing.content:
        case dict() as entries:
            path.mkdir()
            for name, each in entries.items():
                build(path / name, each, things, made)
            path.chmod(stat.S_IMODE(thing.mode))
        case str() as target:
            path.symlink_to(target)
        case bytes() as content:
            path.write_bytes(content)
            path.chmod(stat.S_IMODE(thing.mode))
            os.utime(path, ns=(thing.modified, thing.modified))
