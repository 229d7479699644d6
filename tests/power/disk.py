"""A disk that may lose power: what of a run is durable at a moment, and what else may be on it afterwards.

The model is that of the literature on crash consistency (ALICE, OSDI 2014; B3 and CrashMonkey, OSDI 2018), and as
strict as POSIX allows, which promises next to nothing:

- fsync(2) of a file makes its content and mode durable, but not its name; fsync(2) of a directory makes its entries and
  mode durable, but neither those of a directory in it nor anybody's content. sync(2) makes everything durable.
- Of the rest, each change of a directory's entries is on the disk or not, independently of every other, in whatever
  order they were made. A rename within a directory is one change; one between two is two.
- A file that was written to since its last fsync has its old content, the new one, as many zeros, or a part of the new
  one, the first or the last, with or without zeros for the rest; what was appended may be zeros, or half of it there.
- A file or directory whose mode was changed since its last fsync has the old one or the new one. Owners do not change.

ext4 and its like promise more: there, changes of directories become durable in their order. Such images are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Final

from tests.power.image import FOLDER_MODE, Image, Item, SameAs, read_image
from tests.power.inodes import Change, Entry, File, Folder, Link
from tests.power.record import Call

# Of so few changes each subset is an image of its own; of more, those in which one, or all but one, is missing.
_ALL_SUBSETS: Final = 5


class Disk:
    """The disk of a node; everything that is on it at the beginning is durable.

    :param root: the folder that stands for ``/``; what happens elsewhere is no concern of this disk.
    :param parts: the folders in it that are on the disk.
    """

    def __init__(self, root: Path, parts: Sequence[str]) -> None:
        self._root = str(root)
        self._parts = tuple(parts)
        self._pending: list[Change] = []
        # All that there ever was, whatever it is called now.
        self._inodes: list[File | Folder] = []
        self._top = Folder(FOLDER_MODE)
        for part in parts:
            (root / part).mkdir(parents=True, exist_ok=True)
        for name, item in read_image(root, parts).items():
            parent = self._entry(tuple(name.split("/")[:-1]))
            assert isinstance(parent, Folder)
            parent.entries[name.rpartition("/")[2]] = self._new(item)
        self._sync()

    def _new(self, item: Item) -> Entry:
        match item.content:
            case str() as target:
                return Link(target)
            case SameAs(name=name):
                entry = self._entry(tuple(name.split("/")))
                assert isinstance(entry, File)
                return entry
            case data:
                inode = Folder(item.mode) if data is None else File(item.mode, data)
                self._inodes.append(inode)
                return inode

    # What happens to it.

    def apply(self, call: Call) -> bool:
        """Do what *call* did. Returns whether it concerned this disk."""
        if call.name == "sync":
            self._sync()
            return True
        parts = [self._parse(each) for each in call.paths]
        if not parts or any(each is None for each in parts):
            if any(parts):
                raise AssertionError(f"{call} leads off the disk")
            return False
        paths = [each for each in parts if each is not None]
        match call.name:
            case "open":
                return self._open(paths[0], call.flags, call.number)
            case "lseek":
                if isinstance(file := self._entry(paths[0]), File):
                    file.position = call.number
                return False
            case "write":
                file = self._file(paths[0])
                position = len(file.data) if file.appends else file.position
                file.write(position, call.data)
                file.position = position + len(call.data)
            case "pwrite64":
                self._file(paths[0]).write(call.number, call.data)
            case "truncate":
                file = self._file(paths[0])
                file.data = file.data[: call.number].ljust(call.number, b"\0")
            case "fsync":
                self._fsync(self._entry(paths[0]))
            case "syncfs":
                self._sync()
            case "rename":
                self._rename(*paths)
            case "link":
                self._change(paths[1], self._entry(paths[0]))
            case "symlink":
                self._change(paths[0], Link(call.data.decode()))
            case "mkdir":
                self._change(paths[0], self._new(Item(None, call.number)))
            case "chmod":
                entry = self._entry(paths[0])
                if isinstance(entry, File | Folder):
                    entry.mode = call.number
            case "unlink" | "rmdir" | "unlinkat":
                self._change(paths[0], None)
            case _:
                raise AssertionError(f"nobody knows what {call.name} does to a disk")
        return True

    def _parse(self, path: str) -> tuple[str, ...] | None:
        """The path below the root as names, None for one that is not on this disk."""
        path = path.removesuffix(" (deleted)")
        if not path.startswith(self._root + "/"):
            return None
        names = tuple(path.removeprefix(self._root + "/").split("/"))
        return names if names[0] in self._parts else None

    def _entry(self, names: tuple[str, ...]) -> Entry | None:
        entry: Entry | None = self._top
        for name in names:
            entry = entry.entries.get(name) if isinstance(entry, Folder) else None
        return entry

    def _file(self, names: tuple[str, ...]) -> File:
        entry = self._entry(names)
        if isinstance(entry, File):
            return entry
        # Without a name: whatever is written to it, nobody finds it again.
        return File(0)

    def _change(self, names: tuple[str, ...], entry: Entry | None) -> None:
        self._changed(names[:-1], ((names[-1], entry),))

    def _changed(self, folder: tuple[str, ...], names: tuple[tuple[str, Entry | None], ...]) -> None:
        parent = self._entry(folder)
        assert isinstance(parent, Folder), folder
        change = Change(parent, names)
        change.enter(parent.entries)
        self._pending.append(change)

    def _open(self, names: tuple[str, ...], flags: frozenset[str], mode: int) -> bool:
        file = self._entry(names)
        created = file is None and "O_CREAT" in flags
        if created:
            file = self._new(Item(b"", mode))
            self._change(names, file)
        if not isinstance(file, File):
            return False
        file.position, file.appends = 0, "O_APPEND" in flags
        emptied = "O_TRUNC" in flags and bool(file.data)
        if emptied:
            file.data = b""
        return created or emptied

    def _rename(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        entry = self._entry(source)
        if self._entry(target) is entry:
            return
        if source[:-1] == target[:-1]:
            self._changed(source[:-1], ((source[-1], None), (target[-1], entry)))
        else:
            self._change(target, entry)
            self._change(source, None)

    def _fsync(self, entry: Entry | None) -> None:
        if isinstance(entry, File | Folder):
            entry.sync()
            self._pending = [each for each in self._pending if each.folder is not entry]

    def _sync(self) -> None:
        for each in (self._top, *self._inodes):
            each.sync()
        self._pending.clear()

    # What may be left of it.

    def image(self) -> Image:
        """The disk as it is now."""
        return dict(self._walk(self._pending, {}))

    def images(self) -> Iterator[Image]:
        """What the disk may hold after a power cut at this moment; the same image may come twice."""
        changed = [each for each in self._inodes if each.now != each.synced]
        new: dict[File | Folder, Item] = {}
        old = {each: each.synced for each in changed}
        for changes in _subsets(self._pending):
            yield dict(self._walk(changes, new))
            if changed:
                yield dict(self._walk(changes, old))
        for inode in changed:
            for item in inode.found():
                for others in (new, old):
                    yield dict(self._walk(self._pending, {**others, inode: item}))

    def _walk(self, changes: Sequence[Change], items: Mapping[File | Folder, Item]) -> Iterator[tuple[str, Item]]:
        """The image with those of the pending changes, and those items for the inodes that are named."""
        entered: dict[int, dict[str, Entry]] = {}
        for each in changes:
            each.enter(entered.setdefault(id(each.folder), dict(each.folder.durable)))
        named: dict[File, str] = {}

        def walk(path: str, entry: Entry) -> Iterator[tuple[str, Item]]:
            match entry:
                case File() if entry in named:
                    yield path, Item(SameAs(named[entry]))
                case File():
                    named[entry] = path
                    yield path, items.get(entry, entry.now)
                case Link():
                    yield path, Item(entry.target)
                case Folder():
                    yield path, items.get(entry, entry.now)
                    for name, each in sorted(entered.get(id(entry), entry.durable).items()):
                        yield from walk(f"{path}/{name}", each)

        for part in self._parts:
            yield from walk(part, self._top.entries[part])


def _subsets(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Those of *changes* that may have reached the disk, each subset in their order."""
    count = len(changes)
    if count <= _ALL_SUBSETS:
        yield from chain.from_iterable(combinations(changes, each) for each in range(count + 1))
        return
    yield from (changes[:each] for each in range(count + 1))
    yield from combinations(changes, 1)
    yield from combinations(changes, count - 1)
