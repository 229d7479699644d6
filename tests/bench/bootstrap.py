"""A bootstrap with an OS update and two images, beside its longest part and beside its parts one after the other."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from tests.bench.scale import Scale
from tests.bench.table import Of, Row, Target, Unit, interleaved
from torcxd.sandbox.sandbox import Plot, Sandbox, open_sandbox

# Times the longest part: what overlaps costs nothing, and the rest is little.
_LONGEST: Final = 1.2
# The state file, its history and gpg's keyring come on top of the images.
_WRITTEN: Final = 1.05


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run took.

    :param seconds: from its start to the arrival of its request for the reboot, or to its end if it made none.
    :param written: bytes sent to the disk until its end, as a multiple of the images' size.
    """

    seconds: float
    written: float


def measure(scale: Scale, directory: Path) -> tuple[list[Row], Path]:
    """All rows about the bootstrap, and the root folder of a node that has one behind it."""
    node = directory / "node"
    plot = Plot(update_seconds=scale.update, image_bytes=scale.small_image, rate=scale.rate)
    size = 2 * plot.image_bytes

    def bootstrap() -> tuple[_Run, float]:
        return trio.run(_bootstrap, _empty(node), plot, size)

    def sequential() -> tuple[_Run, float]:
        return trio.run(_sequential, _empty(directory / "sequential"), plot, size)

    mine, theirs = interleaved(scale.bootstraps, bootstrap, sequential)
    seconds = [run.seconds for run, _ in mine]
    label = f"{scale.small_image / 1e6:g} MB, {scale.rate / 1e6:g} MB/s each, OS update of {scale.update:g} s"
    rows = [
        Row(
            f"Bootstrap until the reboot: two images of {label}",
            Unit.SECONDS,
            seconds,
            "its longest part alone",
            [longest for _, longest in theirs],
            Target(Of.RATIO, _LONGEST),
        ),
        Row(
            "Bootstrap until the reboot",
            Unit.SECONDS,
            seconds,
            "its parts one after the other",
            [run.seconds for run, _ in theirs],
        ),
        Row(
            "Bootstrap with the run after the reboot, which publishes",
            Unit.SECONDS,
            [run.seconds + after for run, after in mine],
            "its longest part alone",
            [longest for _, longest in theirs],
        ),
        Row(
            "Written to disk by it until the reboot",
            Unit.TIMES_ITS_SIZE,
            [run.written for run, _ in mine],
            "its parts one after the other",
            [run.written for run, _ in theirs],
            Target(Of.FIGURE, _WRITTEN),
        ),
    ]
    return rows, node


def _empty(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


async def _bootstrap(root: Path, plot: Plot, size: int) -> tuple[_Run, float]:
    """``torcxd bootstrap``: until it asks for the reboot and was ended for it; and the seconds of the run after it."""
    async with open_sandbox(root, plot) as box:
        clock = _Clock.start()
        _expect(await box.bootstrap("--verbose=error"), None)
        run = clock.stop(size, asked=_reboot_asked(box))
        await box.reboot()
        clock = _Clock.start()
        _expect(await box.bootstrap("--verbose=error"), 0)
        return run, clock.stop(size).seconds


async def _sequential(root: Path, plot: Plot, size: int) -> tuple[_Run, float]:
    """The parts one after the other; and the seconds of the longest."""
    async with open_sandbox(root, plot) as box:
        clock = _Clock.start()
        parts = await _parts(box)
        return clock.stop(size, asked=_reboot_asked(box)), max(parts.values())


async def _parts(box: Sandbox) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.sequential", f"--root={box.root}", *box.flags]
    done = await trio.run_process(command, capture_stdout=True, env=box.process_environment)
    parts: dict[str, float] = json.loads(done.stdout)
    return parts


def _reboot_asked(box: Sandbox) -> float:
    # What the stand-ins do with it, and how the program ends, is not the bootstrap's.
    (at,) = (each["at"] for each in box.records.entries if each["member"] == "Reboot")
    return float(at)


def _expect(found: int | None, wanted: int | None) -> None:
    if found != wanted:
        raise RuntimeError(f"the bootstrap ended with {found} instead of {wanted}")


@dataclass(frozen=True, slots=True)
class _Clock:
    """Takes the time, and what this process and all that it waited for have written; proc(5)."""

    begun: float
    written: int

    @classmethod
    def start(cls) -> _Clock:
        return cls(time.time(), _written())

    def stop(self, size: int, *, asked: float | None = None) -> _Run:
        return _Run((asked or time.time()) - self.begun, (_written() - self.written) / size)


def _written() -> int:
    found = re.search(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1])
