"""What may lie on a disk after a power cut: every name with what it leads to; written to a folder, and read from it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

# What systemd, and whoever made the disk, give to directories.
FOLDER_MODE: Final = 0o755


class SameAs(NamedTuple):
    """One more name of the file that is called *name* in the same image."""

    name: str


class Item(NamedTuple):
    """What a name leads to.

    :param content: a file's bytes, a symbolic link's target, None for a directory.
    :param mode: the permission bits; 0 for a link of either kind, which has none of its own.
    """

    content: bytes | str | SameAs | None
    mode: int = 0


# By the path below the root; a directory comes before what is in it, a file before its further names.
Image = Mapping[str, Item]


def item_of(image: Image, name: str) -> Item:
    """What *name* leads to in *image*, whichever of its names has it. Raises ``KeyError``."""
    item = image[name]
    return image[item.content.name] if isinstance(item.content, SameAs) else item


def write_image(root: Path, image: Image, parts: Sequence[str]) -> None:
    """Put *image* in place of the *parts* of the node in *root*."""
    for part in parts:
        _remove(root / part)
    for name, (content, mode) in image.items():
        path = root / name
        match content:
            case str():
                path.symlink_to(content)
                continue
            case SameAs(name=other):
                path.hardlink_to(root / other)
                continue
            case None:
                path.mkdir()
            case _:
                path.write_bytes(content)
        # Whatever this process's umask is.
        path.chmod(mode)


def read_image(root: Path, parts: Sequence[str]) -> Image:
    """What the *parts* of the node in *root* hold; what is neither file, directory nor link counts as an empty file."""
    image: dict[str, Item] = {}
    names: dict[int, str] = {}

    def read(path: Path, name: str) -> None:
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode):
            image[name] = Item(str(path.readlink()))
        elif stat.S_ISDIR(found.st_mode):
            image[name] = Item(None, mode)
            for each in sorted(path.iterdir()):
                read(each, f"{name}/{each.name}")
        elif found.st_ino in names:
            image[name] = Item(SameAs(names[found.st_ino]))
        else:
            names[found.st_ino] = name
            image[name] = Item(path.read_bytes() if stat.S_ISREG(found.st_mode) else b"", mode)

    for each in parts:
        read(root / each, each)
    return image


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with os.scandir(path) as entries:
            names = [each.name for each in entries]
        for each in names:
            _remove(path / each)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
