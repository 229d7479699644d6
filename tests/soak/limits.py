"""The limits at their full size: an image of 5 GB, a history of a million transitions, hours of events in a burst."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from tests.explored import Explored
from tests.limits import cases, test_cluster
from tests.limits.big_image import BigImage
from tests.limits.measured import Measured, measure
from tests.limits.test_images import MB, on_disk
from torcxd.daemon.statefile import LARGEST_HISTORY
from torcxd.sandbox.http_server import serve

NAME: Final = "limits"
HELP: Final = "an image of 5 GB, a history of a million transitions, a million watch events: all in little memory"
# All of it once takes 160 seconds.
SHARE: Final = 200.0

_IMAGE: Final = 5000 * MB
_TRANSITIONS: Final = 1_000_000
_EVENTS: Final = 1_000_000
# Seconds for what has begun to end by itself.
_GRACE: Final = 10.0
# MB. What the small ones take in `make test`, too.
_MOST: Final = 20.0

# Where the history lies: what is measured is memory and size, not how long a disk takes for a thousand fsyncs.
_MEMORY: Final = Path("/dev/shm")

# Gets an empty folder and the seconds that are left.
Check = Callable[[Path, float, Explored], Awaitable[list[str]]]


def run(budget: float, explored: Explored) -> list[str]:
    """Carry out the checks one by one, while there is time for another."""
    return trio.run(_run, budget, explored)


async def _run(budget: float, explored: Explored) -> list[str]:
    # The history comes last, as it can end early, and still say something.
    checks: dict[str, Check] = {"image": _image, "watch": _watch, "history": _history}
    violations: list[str] = []
    until = trio.current_time() + budget
    for done, (name, check) in enumerate(checks.items()):
        begun = trio.current_time()
        if begun > until:
            print(f"  the time is over: {done} of {len(checks)} checks were made", flush=True)
            break
        found: list[str] = []
        with tempfile.TemporaryDirectory(prefix="limits.") as directory, trio.move_on_at(until + _GRACE) as scope:
            found = await check(Path(directory), until - begun, explored)
        if scope.cancelled_caught:
            print(f"  {name} was not through when the time was over: {done} of {len(checks)} checks were", flush=True)
            break
        violations += [f"{each}; repeat it with `python -m tests.soak limits`" for each in found]
        print(f"  {name}: {len(found)} violations, {trio.current_time() - begun:.0f} s", flush=True)
    return violations


def _judge(what: str, measured: Measured) -> list[str]:
    print(f"  {what}: memory grew by {measured.grown:.1f} MB", flush=True)
    violations = []
    if measured.grown > _MOST:
        violations.append(f"{what} takes {measured.grown:.1f} MB of memory, more than {_MOST:g} MB")
    if measured.descriptors:
        violations.append(f"{what} leaves {measured.descriptors} descriptors open")
    return violations


async def _image(directory: Path, _: float, explored: Explored) -> list[str]:
    """5 GB are downloaded, hashed and named, in the memory of a small one and on the disk once."""
    free = shutil.disk_usage(directory).free
    size = min(_IMAGE, free // 2 // MB * MB)
    if size < _IMAGE:
        print(f"  the disk has room for {size // MB} of {_IMAGE // MB} MB only", flush=True)
    image = await trio.to_thread.run_sync(BigImage, size)
    async with serve(image.answer) as server:
        arguments = (f"{server.url}/image", image.digest, str(directory / "staging"), size)
        measured = await measure(cases.image, *arguments)
    violations = _judge(f"an image of {size // MB} MB", measured)
    if measured.result:
        violations.append(f"an image of {size // MB} MB is not fetched: {measured.result}")
    taken = on_disk(directory)
    if abs(taken - size) > size // 100:
        violations.append(f"an image of {size // MB} MB takes {taken // MB} MB on the disk")
    explored.count("limits", "MB of images", size // MB)
    return violations


async def _history(directory: Path, seconds: float, explored: Explored) -> list[str]:
    """A million transitions are recorded, or as many as there is time for."""
    memory = os.access(_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="limits.", dir=_MEMORY if memory else directory) as place:
        measured = await measure(cases.history, place, _TRANSITIONS, seconds)
    largest, made = measured.result
    if made < _TRANSITIONS:
        print(f"  the time is over: {made:,} of {_TRANSITIONS:,} transitions were recorded", flush=True)
    violations = _judge(f"a history of {made} transitions", measured)
    if largest > LARGEST_HISTORY + 1000:
        violations.append(f"a history of {made} transitions grew to {largest} bytes")
    explored.count("limits", "transitions recorded", made)
    return violations


async def _watch(_: Path, __: float, explored: Explored) -> list[str]:
    async with serve(test_cluster.burst(_EVENTS)) as server:
        measured = await measure(cases.watched, server.url, _EVENTS)
    violations = _judge(f"{_EVENTS} watch events", measured)
    if measured.result != [_EVENTS, str(_EVENTS)]:
        violations.append(
            f"of {_EVENTS} watch events {measured.result[0]} were seen, the last one {measured.result[1]}"
        )
    explored.count("limits", "watch events in a burst", _EVENTS)
    return violations
