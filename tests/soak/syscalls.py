"""The program is killed at each of its system calls, one journey for each; then twice in each, at random."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from tests.crash.explore import Explorer
from tests.crash.journeys import JOURNEYS, Arrival
from tests.crash.server import WatchedServer, watched_server
from tests.explored import Explored

NAME: Final = "syscalls"
HELP: Final = "the program is killed at every system call that changes the disk or tells a peer something"
# About half of the moments: all of them, 2,292, took 2,052 s. For these, and then for two kills, HOURS gives more.
SHARE: Final = 1080.0
# As many as keep two processors busy: a journey waits for its own processes half of the time.
_AT_ONCE: Final = 3
# Seconds between two lines of progress.
_TELL_EVERY: Final = 30.0
# What the journeys with two kills are drawn by.
_SEED: Final = 1


def run(budget: float, explored: Explored) -> list[str]:
    """Go through all moments of all journeys, then through pairs of them until *budget* seconds are used up."""
    return trio.run(_run, budget, explored)


async def _run(budget: float, explored: Explored) -> list[str]:
    violations = []
    end = trio.current_time() + budget
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, watched_server(Path(directory)) as server:
        servers = [server, *(server.another() for _ in range(_AT_ONCE - 1))]
        known: dict[str, Arrival] = {}
        explorers = [Explorer(each, known=known) for each in JOURNEYS]
        lengths = [len((await each.undisturbed(server)).watch.moments) for each in explorers]
        for number, explorer in enumerate(explorers):
            # What is left goes to the journeys that are left, by their lengths: a short budget sees something of all.
            share = (end - trio.current_time()) * lengths[number] / sum(lengths[number:])
            through = await _every_moment(explorer, servers, trio.current_time() + share)
            if through:
                violations += _never_killed_at(explorer, set(await _kinds(explorer, server)))
            explorer.count(explored)
            violations += explorer.violations
        for explorer, length in zip(explorers, lengths, strict=True):
            share = (end - trio.current_time()) * length / sum(lengths[explorers.index(explorer) :])
            violations += await _pairs(
                Explorer(explorer.journey, known=known), length, servers, trio.current_time() + share, explored
            )
    return violations


async def _every_moment(explorer: Explorer, servers: list[WatchedServer], end: float) -> bool:
    """Kill at each moment once; returns whether there was time for all."""
    goes_on = _until(end, f"{explorer.journey}: killed at")
    moments = await explorer.strike_everywhere(servers, goes_on)
    told = ", ".join(f"{count} {name}" for name, count in explorer.calls.most_common())
    print(f"{explorer.journey}: killed at {explorer.points} of {moments} moments: {told}", flush=True)
    for kind, count in sorted(explorer.kills.items()):
        print(f"  {count:4} {kind}", flush=True)
    return goes_on(explorer)


async def _pairs(
    explorer: Explorer, length: int, servers: list[WatchedServer], end: float, explored: Explored
) -> list[str]:
    """Kill at some moment, and once more while the next run recovers from that."""
    goes_on = _until(end, f"{explorer.journey}: killed twice")
    draw = random.Random(f"{_SEED} {explorer.journey}")

    async def work(server: WatchedServer) -> None:
        while goes_on(explorer):
            # What is to be recovered is soon behind a start: most of the second kills come early.
            await explorer.strike(server, draw.randint(1, length), 1 + int(length * draw.random() ** 2))

    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(work, server)
    explored.count(f"crash points, {explorer.journey}", "pairs of system calls", explorer.points)
    return explorer.violations


def _until(end: float, what: str) -> Callable[[Explorer], bool]:
    """Whether there is time left; asked often, it tells now and then how far it got, and what is new at once."""
    told = trio.current_time()
    known = 0

    def goes_on(explorer: Explorer) -> bool:
        nonlocal told, known
        now = trio.current_time()
        for each in explorer.violations[known:]:
            print(each, flush=True)
        known = len(explorer.violations)
        if now - told >= _TELL_EVERY:
            told = now
            print(f"{what} {explorer.points}, {known} violations", flush=True)
        return now < end

    return goes_on


async def _kinds(explorer: Explorer, server: WatchedServer) -> list[str]:
    return [each.kind for each in (await explorer.undisturbed(server)).watch.moments]


def _never_killed_at(explorer: Explorer, kinds: set[str]) -> list[str]:
    return [f"{explorer.journey} was never killed at: {each}" for each in sorted(kinds - set(explorer.kills))]
