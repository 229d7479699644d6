"""A disk that may lose power: what of a run is durable at a moment, and what else may be on it afterwards.

The model is that of the literature on crash consistency (ALICE, OSDI 2014; B3 and CrashMonkey, OSDI 2018), and as
strict as POSIX allows, which promises next to nothing:

- fsync(2) of a file makes its content durable, but not its name; fsync(2) of a directory makes its entries durable,
  but neither those of a directory in it nor anybody's content. sync(2) makes everything durable.
- Of the rest, each change of a directory's entries is on the disk or not, independently of every other, in whatever
  order they were made. A rename within a directory is one change; one between two is two.
- A file that was written to since its last fsync has its old content, the new one, as many zeros, or the first part of
  the new one with or without zeros behind it.

ext4 and its like promise more: there, changes of directories become durable in their order. Such images are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from typing import Final

from tests.power.record import Call

# Of so few changes each subset is an image of its own; of more, those in which one, or all but one, is missing.
_ALL_SUBSETS: Final = 5
_BLOCK: Final = 4096

# What lies at a path: a file's content, a symbolic link's target, or None for a directory.
Content = bytes | str | None
Image = Mapping[str, Content]


@dataclass(slots=True, eq=False)
class File:
    """A file's content now, and as of its last fsync."""

    data: bytes = b""
    durable: bytes = b""
    position: int = 0
    appends: bool = False

    def contents(self) -> tuple[bytes, ...]:
        """What may be found in it after a power cut, the new content first."""
        if self.data == self.durable:
            return (self.data,)
        size = len(self.data)
        half = size // 2 // _BLOCK * _BLOCK or size // 2
        torn = self.data[:half]
        return tuple(dict.fromkeys((self.data, self.durable, bytes(size), torn, torn + bytes(size - half), b"")))


@dataclass(slots=True, eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclass(slots=True, eq=False)
class Folder:
    """A directory's entries now, and as of its last fsync."""

    entries: dict[str, Entry] = field(default_factory=dict)
    durable: dict[str, Entry] = field(default_factory=dict)


Entry = File | Link | Folder


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a directory that is not durable: what its names lead to, None for nothing."""

    folder: Folder
    names: tuple[tuple[str, Entry | None], ...]


class Disk:
    """The disk of a node; everything that is on it at the beginning is durable.

    :param root: the folder that stands for ``/``; what happens elsewhere is no concern of this disk.
    :param parts: the folders in it that are on the disk.
    """

    def __init__(self, root: Path, parts: Sequence[str]) -> None:
        self._root = str(root)
        self._parts = tuple(parts)
        self._pending: list[Change] = []
        self._files: list[File] = []
        inodes: dict[int, Entry] = {}
        top = Folder()
        for part in parts:
            path = root / part
            path.mkdir(parents=True, exist_ok=True)
            top.entries[part] = self._read(path, inodes)
        top.durable = dict(top.entries)
        self._top = top

    def _read(self, path: Path, inodes: dict[int, Entry]) -> Entry:
        found = path.lstat()
        if found.st_ino in inodes:
            return inodes[found.st_ino]
        entry: Entry
        if path.is_symlink():
            entry = Link(str(path.readlink()))
        elif path.is_dir():
            entries = {each.name: self._read(each, inodes) for each in sorted(path.iterdir())}
            entry = Folder(entries, dict(entries))
        else:
            data = path.read_bytes() if path.is_file() else b""
            entry = File(data, data)
            self._files.append(entry)
        inodes[found.st_ino] = entry
        return entry

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
                return self._open(paths[0], call.flags)
            case "lseek":
                if isinstance(file := self._entry(paths[0]), File):
                    file.position = call.number
                return False
            case "write":
                file = self._file(paths[0])
                position = len(file.data) if file.appends else file.position
                _write(file, position, call.data)
                file.position = position + len(call.data)
            case "pwrite64":
                _write(self._file(paths[0]), call.number, call.data)
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
                self._change(paths[0], Folder())
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
        return File()

    def _change(self, names: tuple[str, ...], entry: Entry | None) -> None:
        self._changed(names[:-1], ((names[-1], entry),))

    def _changed(self, folder: tuple[str, ...], names: tuple[tuple[str, Entry | None], ...]) -> None:
        parent = self._entry(folder)
        assert isinstance(parent, Folder), folder
        change = Change(parent, names)
        _enter(parent.entries, change)
        self._pending.append(change)

    def _open(self, names: tuple[str, ...], flags: frozenset[str]) -> bool:
        file = self._entry(names)
        created = file is None and "O_CREAT" in flags
        if created:
            file = File()
            self._files.append(file)
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
        if isinstance(entry, File):
            entry.durable = entry.data
        elif isinstance(entry, Folder):
            entry.durable = dict(entry.entries)
            self._pending = [each for each in self._pending if each.folder is not entry]

    def _sync(self) -> None:
        for file in self._files:
            file.durable = file.data
        for each in self._pending:
            each.folder.durable = dict(each.folder.entries)
        self._pending.clear()

    # What may be left of it.

    def image(self) -> Image:
        """The disk as it is now."""
        return dict(self._walk(self._pending, {}))

    def images(self) -> Iterator[Image]:
        """What the disk may hold after a power cut at this moment; the same image may come twice."""
        written = [each for each in self._files if each.data != each.durable]
        new: dict[File, bytes] = {}
        old = {each: each.durable for each in written}
        for changes in _subsets(self._pending):
            yield dict(self._walk(changes, new))
            if written:
                yield dict(self._walk(changes, old))
        for file in written:
            for content in file.contents():
                for others in (new, old):
                    yield dict(self._walk(self._pending, {**others, file: content}))

    def _walk(self, changes: Sequence[Change], contents: Mapping[File, bytes]) -> Iterator[tuple[str, Content]]:
        """The image with those of the pending changes, and that content in the files that are named."""
        entered: dict[int, dict[str, Entry]] = {}
        for each in changes:
            _enter(entered.setdefault(id(each.folder), dict(each.folder.durable)), each)

        def walk(path: str, entry: Entry) -> Iterator[tuple[str, Content]]:
            match entry:
                case File():
                    yield path, contents.get(entry, entry.data)
                case Link():
                    yield path, entry.target
                case Folder():
                    yield path, None
                    for name, each in entered.get(id(entry), entry.durable).items():
                        yield from walk(f"{path}/{name}", each)

        for part in self._parts:
            yield from walk(part, self._top.entries[part])


def _write(file: File, position: int, data: bytes) -> None:
    before = file.data[:position].ljust(position, b"\0")
    file.data = before + data + file.data[position + len(data) :]


def _enter(entries: dict[str, Entry], change: Change) -> None:
    for name, entry in change.names:
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry


def _subsets(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Those of *changes* that may have reached the disk, each subset in their order."""
    count = len(changes)
    if count <= _ALL_SUBSETS:
        yield from chain.from_iterable(combinations(changes, each) for each in range(count + 1))
        return
    yield from (changes[:each] for each in range(count + 1))
    yield from combinations(changes, 1)
    yield from combinations(changes, count - 1)


def write_image(root: Path, image: Image, parts: Sequence[str]) -> None:
    """Put *image* in place of the *parts* of the node in *root*."""
    for part in parts:
        _remove(root / part)
    for name, content in image.items():
        path = root / name
        if content is None:
            path.mkdir(mode=0o700 if path.name in _PRIVATE else 0o755, parents=True, exist_ok=True)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


# Directories that are of no use to the program unless they are its own alone.
_PRIVATE: Final = frozenset({"torcxd-staging", "gnupg"})


def _remove(path: Path) -> None:
    for each in sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else ():
        _remove(each)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
