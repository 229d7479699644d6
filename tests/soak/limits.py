"""The limits at their full size: an image of 5 GB, a history of a million transitions, hours of events in a burst."""

from __future__ import annotations

import shutil
import tempfile
import time
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
# All of it takes three minutes on two idle processors.
SHARE: Final = 240.0

_IMAGE: Final = 5000 * MB
_TRANSITIONS: Final = 1_000_000
_EVENTS: Final = 1_000_000
# MB. What the small ones take in `make test`, too.
_MOST: Final = 20.0

Check = Callable[[Path, Explored], Awaitable[list[str]]]


def run(budget: float, explored: Explored) -> list[str]:
    """Carry out the checks one by one, while there is time for another."""
    return trio.run(_run, budget, explored)


async def _run(budget: float, explored: Explored) -> list[str]:
    checks: dict[str, Check] = {"image": _image, "history": _history, "watch": _watch}
    violations: list[str] = []
    begun = time.monotonic()
    for done, (name, check) in enumerate(checks.items()):
        if time.monotonic() - begun > budget:
            print(f"  the time is over: {done} of {len(checks)} checks were made", flush=True)
            break
        with tempfile.TemporaryDirectory(prefix="limits.") as directory:
            found = await check(Path(directory), explored)
        violations += [f"{each}; repeat it with `python -m tests.soak limits`" for each in found]
        print(f"  {name}: {len(found)} violations, {time.monotonic() - begun:.0f} s", flush=True)
    return violations


def _judge(what: str, measured: Measured) -> list[str]:
    print(f"  {what}: memory grew by {measured.grown:.1f} MB", flush=True)
    violations = []
    if measured.grown > _MOST:
        violations.append(f"{what} takes {measured.grown:.1f} MB of memory, more than {_MOST:g} MB")
    if measured.descriptors:
        violations.append(f"{what} leaves {measured.descriptors} descriptors open")
    return violations


async def _image(directory: Path, explored: Explored) -> list[str]:
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


async def _history(directory: Path, explored: Explored) -> list[str]:
    measured = await measure(cases.history, str(directory), _TRANSITIONS)
    violations = _judge(f"a history of {_TRANSITIONS} transitions", measured)
    if measured.result > LARGEST_HISTORY + 1000:
        violations.append(f"a history of {_TRANSITIONS} transitions grew to {measured.result} bytes")
    explored.count("limits", "transitions recorded", _TRANSITIONS)
    return violations


async def _watch(_: Path, explored: Explored) -> list[str]:
    async with serve(test_cluster.burst(_EVENTS)) as server:
        measured = await measure(cases.watched, server.url, _EVENTS)
    violations = _judge(f"{_EVENTS} watch events", measured)
    if measured.result != [_EVENTS, str(_EVENTS)]:
        violations.append(
            f"of {_EVENTS} watch events {measured.result[0]} were seen, the last one {measured.result[1]}"
        )
    explored.count("limits", "watch events in a burst", _EVENTS)
    return violations
