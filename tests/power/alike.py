"""Images that are alike to all who look at them: one of them goes all the way, and stands for the others.

What a killed process left half written is never looked into: a temporary file is removed by its name, the lock's file
is emptied before it is written to. A power cut leaves such a file in many forms, and so many images of which the
program, and the judge, see no difference.

Nobody guesses which files these are: each restart is watched. An image is alike to one that went all the way if

- the world around it is the same; both have the same names, and under each the same kind of file, with the same mode,
  link and further names; and
- of each file that was read on that way, by whoever it was, the content is the same; and
- of each file whose size may have been asked for on that way, the size is the same.

A process is made by its code and by what it reads. One that starts from an alike image reads the same first, hence does
the same next, reads the same next, and so on: by induction up to the end, where the judge reads the same. (But for the
order in which threads and messages come, which no two restarts from one and the same image have in common either.)

Reading is told by the kernel: a file's access time is set to 1970, and is later as soon as anybody has read any of it,
or tried to. Sizes are told by the program's processes (:mod:`tests.power.sizes`); gpg does not tell, but it is given
nothing but its home, of which all sizes count. The judge asks for the sizes of what it reads only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.integration.bootstrap.program import Preparation
from tests.power.cuts import Cut, World
from tests.power.image import Image
from tests.power.sizes import NUMBER

# Where other programs than torcxd look: nobody knows of which files there they ask the size.
_OTHERS: Final = "var/lib/torcxd/gnupg/"


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of an image on the way to the end.

    :param contents: of the files that were read.
    :param sizes: of the files that were not, but whose size may have been asked for.
    """

    contents: Mapping[str, bytes]
    sizes: Mapping[str, int]

    def is_of(self, image: Image) -> bool:
        """Whether *image*, which has the same names, would have been the same sight."""
        files = {name: item.content for name, item in image.items() if isinstance(item.content, bytes)}
        return all(files[name] == each for name, each in self.contents.items()) and all(
            len(files[name]) == each for name, each in self.sizes.items()
        )


@dataclass(slots=True)
class Alikes:
    """What was seen of the images of one run that went all the way."""

    _sights: dict[object, list[Sight]] = field(default_factory=dict)

    def has(self, cut: Cut) -> bool:
        """Whether an image that is alike to the one of *cut* went all the way."""
        return any(each.is_of(cut.image) for each in self._sights.get(_shape(cut.world, cut.image), ()))

    def add(self, cut: Cut, sight: Sight) -> None:
        """The image of *cut* went all the way, and this was seen of it."""
        self._sights.setdefault(_shape(cut.world, cut.image), []).append(sight)


def _shape(world: World, image: Image) -> object:
    """All of it but what is in the files."""
    return world, frozenset(
        (name, item.mode, isinstance(item.content, bytes) or item.content) for name, item in image.items()
    )


@dataclass(slots=True)
class Watch:
    """Watches one restart.

    :param notes: an open file, to which the program's processes note the inodes that they ask for.
    """

    notes: int
    _image: Image = field(default_factory=dict)
    # Descriptors, by which a file is known whatever becomes of its name; its number is not given away meanwhile.
    _files: dict[str, int] = field(default_factory=dict)

    @property
    def preparation(self) -> Preparation:
        """What makes a process of the program note."""
        return Preparation("tests.power.sizes:note_sizes", (self.notes,))

    def begin(self, root: Path, image: Image) -> None:
        """*image* has just been written to the node in *root*."""
        self.end()
        os.ftruncate(self.notes, 0)
        self._image = image
        for name, item in image.items():
            if isinstance(item.content, bytes):
                self._files[name] = _unread(root / name)

    def end(self) -> None:
        """Watch no more."""
        while self._files:
            os.close(self._files.popitem()[1])

    def sight(self) -> Sight:
        """What was seen since the beginning."""
        told = os.pread(self.notes, os.fstat(self.notes).st_size, 0)
        asked = {int.from_bytes(told[at : at + NUMBER]) for at in range(0, len(told), NUMBER)}
        contents: dict[str, bytes] = {}
        sizes: dict[str, int] = {}
        for name, descriptor in self._files.items():
            found = os.fstat(descriptor)
            content = self._image[name].content
            assert isinstance(content, bytes)
            if found.st_atime_ns:
                contents[name] = content
            elif found.st_ino in asked or name.startswith(_OTHERS):
                sizes[name] = len(content)
        return Sight(contents, sizes)


def _unread(path: Path) -> int:
    """A descriptor of the file *path*, whose access time says that nobody has read it."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """A watch for the nodes in *folder*.

    :raises AssertionError: the file system does not keep access times (mounted ``noatime``): reads would go unnoticed.
    """
    probe = folder / "probe"
    probe.write_bytes(b"")
    descriptor = _unread(probe)
    probe.read_bytes()
    assert os.fstat(descriptor).st_atime_ns, f"{folder} does not tell that a file in it was read: it needs relatime"
    os.close(descriptor)
    notes = os.open(folder / "notes", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    watch = Watch(notes)
    try:
        yield watch
    finally:
        watch.end()
        os.close(notes)
