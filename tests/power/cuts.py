"""Every power cut of a run that is worth trying: a disk image that may come of it, and what others knew by then."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from unittest import mock

from tests.power.disk import Disk
from tests.power.image import FOLDER_MODE, Image
from tests.power.record import Call, Moment, Recording
from torcxd.sandbox import systemd1
from torcxd.sandbox.sandbox import Sandbox

# What of the node lies on its disk and is written: the rest is the OS image's, or in memory.
PARTS: Final = ("etc", "var")
# What the program removes before it looks at it.
_LITTER: Final = re.compile(r"/gnupg/(signature|importing)-")

INSTALLED: Final = "the OS update is installed"
PROMISED: Final = "somebody was told that the node may reboot"


@dataclass(frozen=True, slots=True)
class World:
    """What the outside relies on.

    :param installed: the next boot brings the new OS version.
    :param promised: somebody was told that the next boot's set is complete (I3).
    """

    installed: bool = False
    promised: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """One disk image, and the world around it.

    :param after: the last thing that happened.
    :param lost: what it has otherwise than the disk had at that moment: with *after*, what it takes to see one again.
    """

    image: Image
    world: World
    after: str
    lost: str


def find_cuts(disk: Disk, recording: Recording, world: World) -> tuple[list[Cut], int]:
    """All distinct cuts of a recording that began with *disk* and *world*, and the number of moments to cut at."""
    cuts: list[Cut] = []
    seen: set[tuple[frozenset[object], World]] = set()
    moments = 0

    def look(after: str) -> None:
        nonlocal moments
        moments += 1
        whole = disk.image()
        for image in disk.images():
            key = (frozenset(image.items()), world)
            if key not in seen:
                seen.add(key)
                cuts.append(Cut(image, world, after, _lost(whole, image)))

    look("nothing")
    for event in recording.events():
        match event:
            case Moment(what=what):
                world = replace(world, installed=True) if what == INSTALLED else replace(world, promised=True)
                look(what)
            case Call() if disk.apply(event):
                look(" ".join((event.name, *(f"…{each[-50:]}" for each in event.paths))))
    return cuts, moments


def _lost(whole: Image, image: Image) -> str:
    """How *image* differs from what was written, for people."""
    told = []
    for name in sorted({*whole, *image}):
        if name not in image:
            told.append(f"no {name}")
        elif name not in whole:
            told.append(f"{name} again")
        elif image[name] != whole[name]:
            content, mode = image[name]
            size = len(content) if isinstance(content, bytes | str) else 0
            zeros = isinstance(content, bytes) and size and not any(content)
            what = (
                f"mode {mode:o}" if content == whole[name].content else f"{size} {'zeros' if zeros else 'other bytes'}"
            )
            told.append(f"{name} with {what}")
    return ", ".join(told) or "nothing"


def spread(cuts: Sequence[Cut]) -> Iterator[Cut]:
    """All of them, so that the first few are from all over the run: who stops early has seen something of each part.

    Those come last whose image another one has, too, but for the litter in gpg's home.
    """
    seen: set[object] = set()
    distinct: list[Cut] = []
    similar: list[Cut] = []
    for cut in cuts:
        image = ((name, content) for name, content in cut.image.items() if not _LITTER.search(name))
        key = (frozenset(image), cut.world)
        (similar if key in seen else distinct).append(cut)
        seen.add(key)
    for each in (distinct, similar):
        yield from (each[index] for index in _scattered(len(each)))


def _scattered(count: int) -> Iterator[int]:
    """Each number below *count* once: the bits of a counter from the last to the first, as van der Corput has it."""
    bits = max(1, (count - 1).bit_length())
    for number in range(1 << bits):
        index = int(f"{number:0{bits}b}"[::-1], 2)
        if index < count:
            yield index


@contextmanager
def listening(box: Sandbox, recording: Recording) -> Iterator[None]:
    """Note for the length of the block what happens around the node: installed updates, requests, links of systemd."""
    link, requested, installed = systemd1._link, Sandbox.reboot_requested, box.update_engine._on_installed
    assert installed is not None

    def note_link(path: Path, target: Path) -> None:
        for each in reversed(path.parents):
            if not each.exists():
                recording.add("mkdir", str(each), number=FOLDER_MODE)
        if path.is_symlink():
            recording.add("unlink", str(path))
        link(path, target)
        recording.add("symlink", str(path), data=str(target).encode())

    async def note_request(self: Sandbox) -> None:
        recording.note(PROMISED)
        await requested(self)

    def note_installed(version: str) -> None:
        installed(version)
        recording.note(INSTALLED)

    with (
        mock.patch.object(systemd1, "_link", note_link),
        mock.patch.object(Sandbox, "reboot_requested", note_request),
        mock.patch.object(box.update_engine, "_on_installed", note_installed),
    ):
        yield
