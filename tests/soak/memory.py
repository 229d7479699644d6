"""The real daemon for some minutes of real time, with something happening all along: its memory has to be flat."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import trio

from tests.bench.serving import memory, serving, until_state
from tests.explored import Explored
from tests.integration.daemon.bench import Service
from torcxd.sandbox.update_engine import Step

NAME: Final = "memory"
HELP: Final = "the daemon in real time; its memory and descriptors stay flat"
# As long as its memory takes to settle, twice over.
SHARE: Final = 300.0
# How often it is looked at.
SAMPLES: Final = 15
# What the memory of the last third of the run may be above that of the middle third. The first is for warming up: trio
# keeps up to a thousand deadlines that are over, urllib its last URLs, and the allocator what it once needed.
_GROWTH: Final = 1.02


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon at one moment; memory in megabytes."""

    rss: float
    pss: float
    descriptors: int
    threads: int
    history: int
    rounds: int


def take(node: Service, pid: int, rounds: int) -> Sample:
    """What the kernel and the disk say now."""
    rss, pss = memory(pid)
    count = {each: len(list(Path(f"/proc/{pid}/{each}").iterdir())) for each in ("fd", "task")}
    return Sample(rss, pss, count["fd"], count["task"], node.box.node.layout.history_file.stat().st_size, rounds)


async def disturb(node: Service) -> None:
    """One round: an update comes, the operator asks and is answered, the update goes; peers are lost and come back."""
    await node.announce()
    await until_state(node, "staged")
    await node.install()
    await until_state(node, "reboot-pending")
    node.ask()
    await node.until_answered()
    node.withdraw()
    node.box.api.watches.end_all()
    node.box.api.store.compact()
    # What update_engine shows is what it was told; that nothing waits for the reboot any more, it has to be told, too.
    node.box.node.pending = None
    await node.box.update_engine.show(Step("IDLE"))
    await until_state(node, "done")
    await node.box.restart(node.box.update_engine)
    await node.box.update_engine.show(Step("IDLE"))


async def soak(directory: Path, seconds: float, samples: int) -> list[Sample]:
    """Run the daemon for so long; *samples* are taken on the way."""
    taken: list[Sample] = []
    rounds = 0
    async with serving(directory) as (node, pid), trio.open_nursery() as nursery:

        async def keep_disturbing() -> None:
            nonlocal rounds
            while True:
                await disturb(node)
                rounds += 1

        nursery.start_soon(keep_disturbing)
        print("  time   rounds      RSS      PSS  fds  threads  history", flush=True)
        for number in range(1, samples + 1):
            await trio.sleep(seconds / samples)
            taken.append(sample := take(node, pid, rounds))
            print(
                f"{number * seconds / samples:5.0f} s {rounds:7} {sample.rss:5.1f} MB {sample.pss:5.1f} MB "
                f"{sample.descriptors:4} {sample.threads:8} {sample.history / 1000:5.0f} kB",
                flush=True,
            )
        nursery.cancel_scope.cancel()
    return taken


def run(budget: float, explored: Explored) -> list[str]:
    """Run the daemon for *budget* seconds, and judge what it took."""
    with tempfile.TemporaryDirectory(prefix="soak.") as directory:
        taken = trio.run(soak, Path(directory) / "node", budget, SAMPLES)
    third = len(taken) // 3
    first, middle, last = taken[:third], taken[third : 2 * third], taken[2 * third :]
    before, after = (median(each.rss for each in part) for part in (middle, last))
    opened, open_now = (median(each.descriptors for each in part) for part in (first, last))
    explored.count("memory", "rounds", taken[-1].rounds)
    violations = []
    if after > before * _GROWTH:
        violations.append(f"the daemon's memory grows: {before:.1f} MB, then {after:.1f} MB")
    # A round has some open for a moment; what is left open each time is hundreds in the end.
    if open_now > opened + 5:
        violations.append(f"the daemon leaves descriptors open: {opened:.0f}, then {open_now:.0f}")
    return violations
