"""Power cuts at every moment of a node's life: every disk image is judged as it comes up, and taken to the end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import trio

from tests.explored import Explored
from tests.integration.bootstrap.conftest import MEMORY
from tests.integration.bootstrap.program import fork_server
from tests.power.alike import Alikes, Watch, watching
from tests.power.cuts import Cut, spread
from tests.power.runs import RUNS, Run

NAME: Final = "power"
HELP: Final = "power cuts: every disk that may be left comes up well, and the node gets to the end"
# Fourteen thousand images come up in 10 ms each; a third of them goes to the end, in a quarter of a second of processor
# time each. Where that is too much, some from all over are taken, and it is told how many.
SHARE: Final = 880.0
# As many as keep two processors busy: a node and its peers wait for each other.
_AT_ONCE: Final = 3
# Of the images that another one stands for so many go all the way nevertheless: one in fifty.
_ONE_IN: Final = 50
# Seconds between two lines of progress.
_TELL_EVERY: Final = 60.0


@dataclass(slots=True)
class Report:
    """What became of the images of one run.

    :ivar up: how many came up and were judged.
    :ivar restarts: how many went all the way to the end.
    :ivar alike: for how many others one of those stands (:mod:`tests.power.alike`).
    :ivar again: how many of the latter went all the way nevertheless.
    :ivar seconds: how long all that took, with the recording.
    """

    label: str
    moments: int = 0
    images: int = 0
    up: int = 0
    restarts: int = 0
    alike: int = 0
    again: int = 0
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    @property
    def through(self) -> int:
        return self.restarts - self.again + self.alike

    def __str__(self) -> str:
        return (
            f"{self.label}: {self.moments} moments; of {self.images} images {self.up} come up, {self.through} get to "
            f"the end, by {self.restarts} restarts in {self.seconds:.0f} s, {len(self.violations)} violations"
        )


def run(budget: float, explored: Explored) -> list[str]:
    """Judge the images as they come up, and take them to the end, for as long as *budget* seconds last."""
    violations: list[str] = []
    end = time.monotonic() + budget
    # Processes of their own, each with a node and its peers: one has never more than one processor's worth.
    with ProcessPoolExecutor(_AT_ONCE, mp_context=get_context("spawn")) as pool:
        # Those that take longest first, so that none is left alone at the end.
        runs = [pool.submit(_explore, each, len(RUNS) - at, end) for at, each in enumerate(reversed(RUNS))]
        for future in as_completed(runs):
            report = future.result()
            print(f"  {report}", flush=True)
            explored.count("power loss", "moments", report.moments)
            explored.count("power loss", "disk images", report.up)
            explored.count("power loss", "images that get to the end", report.through)
            explored.count("power loss", "restarts to the end", report.restarts)
            violations += dict.fromkeys(report.violations)
    return violations


def _explore(label: str, left: int, end: float) -> Report:
    """Take the images of one run to the end.

    :param left: how many runs are not begun, this one included: they share the time until *end*.
    """
    report = Report(label)
    until = report.began + (end - report.began) * min(1, _AT_ONCE / left)
    with (
        tempfile.TemporaryDirectory(prefix="soak-power-", dir=MEMORY) as name,
        fork_server(Path(name), module="tests.power.forkserver") as server,
        watching(Path(name)) as watch,
    ):

        async def explore() -> None:
            async with RUNS[label](Path(name), server, label) as recorded:
                await _restart_all(recorded, watch, report, until)

        trio.run(explore)
    return report


async def _restart_all(recorded: Run, watch: Watch, report: Report, until: float) -> None:
    report.moments, report.images = recorded.moments, len(recorded.cuts)
    report.violations = recorded.restarts.violations
    recorded.restarts.watched_by(watch)
    alikes = Alikes()
    for cut in _while_there_is_time(recorded.cuts, report, until):
        alike = alikes.has(cut)
        report.alike += alike
        all_the_way = not alike or report.alike % _ONE_IN == 0
        await recorded.restart(cut, to_the_end=all_the_way)
        report.seconds = time.monotonic() - report.began
        report.up += 1
        report.restarts += all_the_way
        report.again += all_the_way and alike
        if all_the_way:
            alikes.add(cut, watch.sight())


def _while_there_is_time(cuts: list[Cut], report: Report, until: float) -> Iterator[Cut]:
    """Some cuts from all over, or all of them; now and then it is told how far that got, and what is new."""
    told, known = time.monotonic(), len(report.violations)
    for cut in spread(cuts):
        now = time.monotonic()
        if now >= until:
            return
        for each in report.violations[known:]:
            print(f"  {each}", flush=True)
        known = len(report.violations)
        if now - told >= _TELL_EVERY:
            told = now
            print(f"  … {report}", flush=True)
        yield cut
