"""The graph that is explored: what can happen to a process in the worlds that it may be in, and what comes of it.

A process may crash, be cut off, and be started again after each step, and the node may boot at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.happenings import Report, boots, happenings, reports
from tests.model.relations import Relation, Table, Worlds
from tests.model.scopes import Scope
from tests.model.shell import AtWork, at_work, outcomes
from tests.model.steps import FINISHED, Complain, Process, Steps
from tests.model.verdicts import Goal, boot_violation, goal, stuck, world_violations
from tests.model.world import World
from torcxd.lifecycle.chart import Chart
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.snapshot import Snapshot


class State(NamedTuple):
    """A node of the graph: a process and its world, by number."""

    process: int
    world: int


class Wrong(NamedTuple):
    """Something that must not be.

    :param state: where it came from, None where that is nowhere.
    :param label: what happened there.
    """

    what: str
    state: State | None
    label: str


class Move(NamedTuple):
    """Something that happens to a process, in many worlds at once.

    :param label: for people.
    :param benign: whether it happens where nothing goes wrong; or the worlds in which it does.
    :param counted: whether it is one of the boots that :attr:`Scope.most_boots` bounds.
    :param process: what the process is after it.
    :param table: the world after by the world before; None where the world stays as it is.
    :param worlds: the worlds after it.
    :param times: in how many of the worlds before it can happen.
    """

    label: str
    benign: bool | Set[int]
    counted: bool
    process: int
    table: Table | None
    worlds: Set[int]
    times: int


class Heard(NamedTuple):
    """What a process is told.

    :param where: the worlds in which it is the truth.
    :param process: what the process is after it.
    """

    label: str
    where: Set[int]
    process: int


# The kinds of what is tabulated, each with all that it depends on besides the world before.
_Happening = tuple[str, bool]
_Boot = tuple[str, bool, bool, bool]
_Outcome = tuple[str, bool, Event | None, bool]


@dataclass(slots=True)
class Model:
    """The graph of one command in one scope. It grows as it is looked at.

    :param watches: as of :class:`Steps`.
    :ivar wrongs: what was found to be wrong, in the order in which it was found: to be taken away by who tells of it.
    """

    chart: Chart
    scope: Scope
    watches: bool = False
    wrongs: list[Wrong] = field(default_factory=list)
    steps: Steps = field(init=False)
    worlds: Worlds = field(init=False)
    _reports: tuple[Report, ...] = field(init=False)
    _happenings: Relation[_Happening] = field(init=False)
    _boots: dict[bool, Relation[_Boot]] = field(init=False)
    _outcomes: dict[AtWork, Relation[_Outcome]] = field(default_factory=dict)
    _heard: dict[int, tuple[Heard, ...]] = field(default_factory=dict)
    _goals: dict[Goal, tuple[set[int], set[int]]] = field(default_factory=dict)
    # Whom to blame for what is found wrong with a world: the process that is looked at.
    _process: int = -1

    def __post_init__(self) -> None:
        self.steps = Steps(self.chart, self.scope, self.watches)
        self._reports = tuple(reports(self.scope)) if self.scope.policy.attends else ()
        self.worlds = Worlds(each.true for each in self._reports)
        self._happenings = Relation(self._happen)
        self._boots = {each: self._relation_of_boots(each) for each in (False, True)}

    def begin(self) -> State | None:
        """Where everything begins; None where that fails."""
        process = self.steps.start(None, lambda what: self.wrongs.append(Wrong(what, None, "")))
        return None if process is None else State(process, self.worlds.number(World(marks=self.scope.marks)))

    def moves(self, number: int, worlds: Set[int], *, benign: bool = False) -> Iterator[Move]:
        """All that can happen to the process *number* in *worlds*.

        :param benign: only what happens where nothing goes wrong.
        """
        yield from self.around(number, worlds, benign=benign)
        yield from self.within(number, worlds, benign=benign)
        for each in self._hears(number, worlds, benign) if benign else self.heard(number, worlds):
            yield Move(each.label, each.where, False, each.process, None, worlds, len(worlds))

    def around(self, number: int, worlds: Set[int], *, benign: bool = False) -> Iterator[Move]:
        """What the world does by itself, of which the process takes no notice."""
        if self.steps.processes[number].work == FINISHED:
            return
        self._happenings.meet(worlds)
        for (label, is_benign), table in self._happenings.tables.items():
            if (is_benign or not benign) and (found := _apply(table, worlds)):
                yield Move(label, is_benign, False, number, table, *found)

    def within(self, number: int, worlds: Set[int], *, benign: bool = False) -> Iterator[Move]:
        """What comes of what the process does, and of its end."""
        process = self.steps.processes[number]
        if process.work == FINISHED:
            return
        self._process = number
        assert process.snapshot is not None
        snapshot = self.steps.snapshots[process.snapshot]
        yield from self._moves_of_boots(process, snapshot, worlds, benign)
        yield from self._starts(process, worlds, benign)
        if process.work >= 0:
            for place, effect in enumerate(self.steps.works[process.work]):
                yield from self._moves_of_work(number, at_work(effect, snapshot), place, worlds, benign)

    def heard(self, number: int, worlds: Set[int]) -> tuple[Heard, ...]:
        """What the process is told: in each world the same, be it true or not."""
        heard = self._heard.get(number)
        if heard is None:
            heard = self._heard[number] = tuple(self._hears(number, worlds, False))
        return heard

    def is_goal(self, number: int, worlds: Set[int]) -> Set[int]:
        """Those of *worlds* in which the process *number* has got where it wants."""
        process = self.steps.processes[number]
        assert process.snapshot is not None
        wanted = goal(self.steps.snapshots[process.snapshot], process.work == FINISHED, self.scope.policy)
        if wanted.here:
            return worlds
        known, met = self._goals.setdefault(wanted, (set(), set()))
        met.update(each for each in worlds - known if wanted.met(self.worlds.all[each]))
        known |= worlds
        return worlds & met

    # By what happens.

    def _hears(self, number: int, worlds: Set[int], only_benign: bool) -> Iterator[Heard]:
        process = self.steps.processes[number]
        if process.work < 0:
            return
        for report, where in zip(self._reports, self.worlds.where, strict=True):
            if only_benign and where.isdisjoint(worlds):
                continue
            complain = self._complains(report.label, number, worlds, None)
            after = self.steps.step(process, report.event, report.label, complain)
            if after is not None:
                yield Heard(report.label, where, after)

    def _moves_of_boots(
        self, process: Process, snapshot: Snapshot, worlds: Set[int], only_benign: bool
    ) -> Iterator[Move]:
        relation = self._boots[stuck(snapshot)]
        relation.meet(worlds)
        for (label, benign, counted, over), table in relation.tables.items():
            if (benign or not only_benign) and (found := _apply(table, worlds)):
                after = self._begun(process, over, self._complains(label, self._process, worlds, table), booted=True)
                if after is not None:
                    yield Move(label, benign, counted, after, table, *found)

    def _starts(self, process: Process, worlds: Set[int], only_benign: bool) -> Iterator[Move]:
        benign = process.work < 0
        if only_benign and not benign:
            return
        label = "the process starts again"
        over = {each for each in worlds if self._over(self.worlds.all[each])} if self.scope.bootstraps else set()
        for where, is_over in ((worlds - over, False), (over, True)):
            if where:
                after = self._begun(process, is_over, self._complains(label, self._process, where, None))
                if after is not None:
                    yield Move(label, where if benign else False, False, after, None, where, len(where))

    def _begun(self, process: Process, over: bool, complain: Complain, *, booted: bool = False) -> int | None:
        """The process that starts; *over* where there is nothing left to do for it."""
        if over:
            return self.steps.number(Process(process.snapshot, FINISHED), complain)
        return self.steps.start(process.snapshot, complain, booted=booted)

    def _moves_of_work(
        self, number: int, work: AtWork, place: int, worlds: Set[int], only_benign: bool
    ) -> Iterator[Move]:
        relation = self._outcomes.get(work)
        if relation is None:
            relation = self._outcomes[work] = self._relation_of_outcomes(work)
        relation.meet(worlds)
        process = self.steps.processes[number]
        for (label, benign, event, ends), table in relation.tables.items():
            if (benign or not only_benign) and (found := _apply(table, worlds)):
                after: int | None = number
                if event is not None:
                    complain = self._complains(label, number, worlds, table)
                    after = self.steps.step(process, event, event, complain, ended=place if ends else None)
                if after is not None:
                    yield Move(label, benign, False, after, table, *found)

    # What is tabulated.

    def _over(self, world: World) -> bool:
        return self.scope.bootstraps and world.published

    def _happen(self, number: int) -> Iterator[tuple[_Happening, int]]:
        world = self.worlds.all[number]
        for each in happenings(world, self.scope):
            if each.world != world:
                yield (each.label, each.benign), self.worlds.number(each.world)

    def _relation_of_boots(self, is_stuck: bool) -> Relation[_Boot]:
        def happen(number: int) -> Iterator[tuple[_Boot, int]]:
            world = self.worlds.all[number]
            wanted = bool(world.asked) or world.answered or is_stuck
            for each in boots(world, self.scope, wanted=wanted):
                if wrong := boot_violation(world, each.world):
                    self.wrongs.append(Wrong(wrong, State(self._process, number), each.label))
                kind = (each.label, each.benign, each.counted, self._over(each.world))
                yield kind, self.worlds.number(each.world)

        return Relation(happen)

    def _relation_of_outcomes(self, work: AtWork) -> Relation[_Outcome]:
        def happen(number: int) -> Iterator[tuple[_Outcome, int]]:
            world = self.worlds.all[number]
            for each in outcomes(work, world, self.scope):
                for wrong in world_violations(world, each.world, work.effect):
                    self.wrongs.append(Wrong(wrong, State(self._process, number), each.label))
                yield (each.label, each.benign, each.event, each.ends), self.worlds.number(each.world)

        return Relation(happen)

    def _complains(self, label: str, process: int, worlds: Set[int], table: Table | None) -> Complain:
        """To be told what is wrong with what happens to *process* in one of *worlds*, it does not matter which."""

        def complain(what: str) -> None:
            world = min(each for each in worlds if table is None or each in table)
            self.wrongs.append(Wrong(what, State(process, world), label))

        return complain


def _apply(table: Table, worlds: Set[int]) -> tuple[Set[int], int] | None:
    """The worlds after, and for how many of *worlds* there are any; None for none."""
    after = list(map(table.get, worlds))
    nothing = after.count(None)
    if nothing == len(after):
        return None
    found = set(after)
    found.discard(None)
    return found, len(after) - nothing  # type: ignore[return-value]
