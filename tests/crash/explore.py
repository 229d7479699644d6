"""Goes through the moments of a journey, a node for each; each has to get where one gets that nobody disturbs."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Final

import trio

from tests.crash.journeys import JOURNEYS, Arrival
from tests.crash.server import WatchedServer
from tests.crash.watch import Moment, Strike
from tests.explored import Explored

# The nodes lie in memory: what is killed is the program, not the machine, and a run makes a hundred fsyncs.
MEMORY: Final = Path("/dev/shm")


@dataclass(slots=True)
class Explorer:
    """Explores one journey.

    :param builds: what breaks the program, in the journeys with a kill.
    :param known: the ends of journeys that nobody disturbed, by name: gone through once, where explorers share them.
    :ivar kills: how often it was killed at moments of each kind.
    :ivar calls: the same, by system call.
    :ivar points: how many journeys with a kill were gone through to their end.
    :ivar violations: what was wrong, one line each.
    """

    journey: str
    builds: tuple[str, ...] = ()
    known: dict[str, Arrival] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    points: int = 0
    violations: list[str] = field(default_factory=list)

    async def undisturbed(self, server: WatchedServer) -> Arrival:
        """The journey that nobody disturbs."""
        if self.journey not in self.known:
            server.builds = ()
            self.known[self.journey] = await self._travel(server, ())
        return self.known[self.journey]

    async def strike(self, server: WatchedServer, *strikes: Strike) -> bool:
        """The journey with a kill at each of *strikes*.

        :returns: whether all kills came: the journey was long enough.
        """
        server.builds = self.builds
        left: dict[str, str] | None = None
        try:
            left = (await self._travel(server, strikes)).left
        except Exception as error:
            problem = _words(error)
        assert server.watch is not None
        struck = server.watch.struck
        if left is not None:
            problem = _difference((await self.undisturbed(server)).left, left)
        if problem:
            self._violated(struck, problem)
        for each in struck:
            self.kills[each.kind] += 1
            self.calls[each.call.name] += 1
        self.points += bool(struck)
        return len(struck) == len(strikes)

    async def strike_everywhere(self, servers: Iterable[WatchedServer], goes_on: Callable[[Explorer], bool]) -> int:
        """The journey once for each of its moments, on all *servers* at the same time.

        :param goes_on: is asked before each; False ends it.
        :returns: how many moments there are; fewer have been gone through if it was ended.
        """
        arrival = await self.undisturbed(next(iter(servers)))
        last = len(arrival.watch.moments)
        await self._strike_at(servers, goes_on, scattered(last))
        # A journey that is cut can be a little longer than one that is not.
        while goes_on(self) and await self.strike(next(iter(servers)), last + 1):
            last += 1
        # Threads race: what is the n-th in one run need not be in another.
        missed = {each.kind for each in arrival.watch.moments} - set(self.kills)
        await self._strike_at(servers, goes_on, (f"{each} #1" for each in sorted(missed)))
        return last

    async def _strike_at(
        self, servers: Iterable[WatchedServer], goes_on: Callable[[Explorer], bool], strikes: Iterator[Strike]
    ) -> None:
        async def work(server: WatchedServer) -> None:
            for each in strikes:
                if not goes_on(self):
                    return
                await self.strike(server, each)

        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(work, server)

    def count(self, explored: Explored) -> None:
        """Tell *explored*."""
        what = f"crash points, {self.journey}"
        explored.count(what, "system calls", self.points)
        explored.count(what, "kinds of them", len(self.kills))

    def _violated(self, struck: Iterable[Moment], problem: str) -> None:
        moments = [str(each) for each in struck]
        repeat = " ".join(f"'{each}'" for each in moments)
        told = ", then ".join(moments) or "not killed"
        self.violations.append(f"{self.journey}, {told}: {problem}; python -m tests.crash {self.journey} {repeat}")

    async def _travel(self, server: WatchedServer, strikes: tuple[Strike, ...]) -> Arrival:
        with tempfile.TemporaryDirectory(prefix="torcxd-crash-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
            return await JOURNEYS[self.journey](server, Path(folder), strikes)


def spread(last: int, count: int) -> list[int]:
    """*count* numbers from 1 to *last*, evenly."""
    return [1 + (2 * each + 1) * last // (2 * count) for each in range(min(count, last))]


def scattered(last: int) -> Iterator[int]:
    """All numbers from 1 to *last*, in an order whose every beginning is spread over all of them."""
    # Steps of the golden ratio leave no wide gaps; that of a number without common divisors comes by each once.
    step = next(each for each in range(max(1, round(last * 0.618)), 2 * last + 1) if gcd(each, last) == 1)
    return (1 + each * step % last for each in range(last))


def _difference(wanted: dict[str, str], left: dict[str, str]) -> str:
    """How what is left differs from what is wanted, empty if it does not."""
    told = [f"{each} is left behind" for each in sorted(left.keys() - wanted.keys())]
    told += [f"{each} is not there" for each in sorted(wanted.keys() - left.keys())]
    told += [f"{each} is another" for each in sorted(wanted.keys() & left.keys()) if wanted[each] != left[each]]
    return "; ".join(told)


def _words(error: BaseException) -> str:
    """What an error says, as one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = str(error).strip() or type(error).__name__
    return " | ".join(line.strip() for line in said.splitlines())
