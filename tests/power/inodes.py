"""What is on a disk that may lose power: files, links and directories, each as it is now and as it is durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from tests.power.image import Item

_BLOCK: Final = 4096


@dataclass(slots=True, eq=False)
class File:
    """A file's content and mode now, and as of its last fsync."""

    mode: int
    data: bytes = b""
    durable: bytes = b""
    durable_mode: int = field(init=False)
    position: int = 0
    appends: bool = False

    def __post_init__(self) -> None:
        self.durable_mode = self.mode

    @property
    def now(self) -> Item:
        return Item(self.data, self.mode)

    @property
    def synced(self) -> Item:
        return Item(self.durable, self.durable_mode)

    def write(self, position: int, data: bytes) -> None:
        before = self.data[:position].ljust(position, b"\0")
        self.data = before + data + self.data[position + len(data) :]

    def sync(self) -> None:
        self.durable, self.durable_mode = self.data, self.mode

    def found(self) -> tuple[Item, ...]:
        """What may be found in it after a power cut, the new content first."""
        contents = _torn(self.durable, self.data) if self.data != self.durable else (self.data,)
        return tuple(
            dict.fromkeys(
                (
                    *(Item(each, self.mode) for each in contents),
                    Item(self.data, self.durable_mode),
                    Item(self.durable, self.durable_mode),
                )
            )
        )


@dataclass(slots=True, eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclass(slots=True, eq=False)
class Folder:
    """A directory's entries and mode now, and as of its last fsync."""

    mode: int
    entries: dict[str, Entry] = field(default_factory=dict)
    durable: dict[str, Entry] = field(default_factory=dict)
    durable_mode: int = field(init=False)

    def __post_init__(self) -> None:
        self.durable_mode = self.mode

    @property
    def now(self) -> Item:
        return Item(None, self.mode)

    @property
    def synced(self) -> Item:
        return Item(None, self.durable_mode)

    def sync(self) -> None:
        self.durable, self.durable_mode = dict(self.entries), self.mode

    def found(self) -> tuple[Item, ...]:
        """What it may be after a power cut, but for its entries."""
        return tuple(dict.fromkeys((self.now, self.synced)))


Entry = File | Link | Folder


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a directory that is not durable: what its names lead to, None for nothing."""

    folder: Folder
    names: tuple[tuple[str, Entry | None], ...]

    def enter(self, entries: dict[str, Entry]) -> None:
        """Make it in *entries*, which are those of its folder at some time."""
        for name, entry in self.names:
            if entry is None:
                entries.pop(name, None)
            else:
                entries[name] = entry


# A file is looked at again at each moment until it is durable.
@lru_cache(maxsize=64)
def _torn(old: bytes, new: bytes) -> tuple[bytes, ...]:
    """What may be found in a file that is being changed from one content to another."""
    size = len(new)
    half = size // 2 // _BLOCK * _BLOCK or size // 2
    # What both begin with is there as far as the file reaches: it was not written again.
    same = next(
        (at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), size)
    )
    middle = same + (size - same) // 2
    return (
        new,
        old,
        bytes(size),
        new[:half],
        new[:half] + bytes(size - half),
        bytes(half) + new[half:],
        new[:same] + bytes(size - same),
        new[:middle],
        b"",
    )
