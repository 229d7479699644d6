"""Explores the core exhaustively: breadth first, every event in every state, with a crash possible after each step.

A node of the graph is what the core remembers, what is at work, and the world. What is remembered goes through the real
state file's form. Times and counters are made equal where they make no difference, so that there is an end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from tests.model.shell import NOW, Outcome, Scope, heard, outcomes
from tests.model.verdicts import boot_violation, end_violation, idle_violation, is_goal, world_violations
from tests.model.world import OLD, OWN, World, boot
from torcxd.daemon import document
from torcxd.lifecycle.chart import Chart, Transition
from torcxd.lifecycle.effects import Effect, End
from torcxd.lifecycle.events import Booted, Event, Started
from torcxd.lifecycle.guards import GUARDS
from torcxd.lifecycle.machine import IllegalEvent, Lifecycle, Step
from torcxd.lifecycle.snapshot import Failure, Snapshot

# The present boot, and any other one: the core only compares them.
PRESENT: Final = "present"
BEFORE: Final = "before"


class State(NamedTuple):
    """A node of the graph.

    :param snapshot: number of what is remembered; None before there is anything.
    :param work: number of the effects that run; negative where the process has ended.
    """

    snapshot: int | None
    work: int
    world: World


@dataclass(slots=True)
class Explorer:
    """One exploration. After :meth:`run` it holds what was found.

    :param first: whether to stop at the first violation.
    :ivar violations: what is wrong, each with the shortest story that leads there.
    :ivar taken: the rows of the chart that were taken, with their sources.
    :ivar guards: which answers each guard gave.
    :ivar complete: whether nothing is left to explore.
    """

    chart: Chart
    scope: Scope
    first: bool = False
    violations: list[str] = field(default_factory=list)
    taken: set[Transition] = field(default_factory=set)
    guards: set[tuple[str, bool]] = field(default_factory=set)
    transitions: int = 0
    complete: bool = False
    core: Lifecycle = field(init=False)
    _snapshots: list[Snapshot] = field(default_factory=list)
    _by_content: dict[bytes, int] = field(default_factory=dict)
    _works: list[tuple[Effect, ...]] = field(default_factory=list)
    _by_work: dict[tuple[Effect, ...], int] = field(default_factory=dict)
    _steps: dict[tuple[int, int], tuple[int, int | None]] = field(default_factory=dict)
    _starts: dict[tuple[int | None, bool], tuple[int, int]] = field(default_factory=dict)
    _events: dict[int, Event] = field(default_factory=dict)
    _index: dict[State, int] = field(default_factory=dict)
    _states: list[State] = field(default_factory=list)
    _came: list[tuple[int, str]] = field(default_factory=list)
    _benign: list[list[int]] = field(default_factory=list)
    _kinds: set[str] = field(default_factory=set)
    _rows: dict[tuple[str, str], list[Transition]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.core = Lifecycle(self.chart, self.scope.policy)
        for row in self.chart.transitions():
            self._rows.setdefault((row.source, row.trigger), []).append(row)

    @property
    def states(self) -> int:
        return len(self._states)

    @property
    def remembered(self) -> int:
        """How many different snapshots there are."""
        return len(self._snapshots)

    # The search.

    def run(self, deadline: float | None = None) -> None:
        """Explore until nothing is left, :attr:`Scope.most_states` are reached, or it is *deadline* (monotonic)."""
        pending: deque[int] = deque()
        world = World()
        begin = self._begin(None, world)
        if begin is not None:
            pending.append(self._add(begin, -1, "the process starts"))
        while pending:
            if self.first and self.violations:
                break
            if self.scope.most_states is not None and self.states >= self.scope.most_states:
                break
            if deadline is not None and time.monotonic() >= deadline:
                break
            number = pending.popleft()
            for label, benign, after in self._successors(number):
                self.transitions += 1
                known = self._index.get(after)
                if known is None:
                    known = self._add(after, number, label)
                    pending.append(known)
                if benign and known != number:
                    self._benign[number].append(known)
        self.complete = not pending
        if self.complete:
            self._check_ways_out()

    def walk(self, random: Random, steps: int, *, look: int = 40) -> None:
        """Go far instead of everywhere: *steps* steps at random, most of them benign, from the start again and again.

        :param look: after so many steps it is looked for the way out.
        """
        begin = self._begin(None, World())
        if begin is None:
            return
        root = number = self._known(begin, -1, "the process starts")
        for step in range(steps):
            if self.first and self.violations:
                break
            found = list(self._successors(number))
            self.transitions += len(found)
            if not found or step % look == look - 1:
                self._check_way_out(number)
            if not found or step % _WALK == _WALK - 1:
                number = root
                continue
            benign = [each for each in found if each[1]]
            label, _, state = random.choice(benign if benign and random.random() < _BENIGN else found)
            number = self._known(state, number, label)

    def _known(self, state: State, source: int, label: str) -> int:
        number = self._index.get(state)
        return self._add(state, source, label) if number is None else number

    def _check_way_out(self, number: int) -> None:
        """From this state the goal is reached where nothing goes wrong any more."""
        seen, pending = {number}, deque([number])
        while pending:
            each = pending.popleft()
            if self._is_goal(self._states[each]):
                return
            for label, benign, state in self._successors(each):
                self.transitions += 1
                if benign and (known := self._known(state, each, label)) not in seen:
                    seen.add(known)
                    pending.append(known)
        self._violate_no_way_out(number)

    def _violate_no_way_out(self, number: int) -> None:
        snapshot = self._snapshots[self._states[number].snapshot or 0]
        self._violate(f"no way out of {snapshot.state}", number)

    def _add(self, state: State, source: int, label: str) -> int:
        number = len(self._states)
        self._index[state] = number
        self._states.append(state)
        self._came.append((source, label))
        self._benign.append([])
        if state.snapshot is not None:
            wrong = idle_violation(self._snapshots[state.snapshot], self._work(state.work), self.scope.policy)
            if wrong:
                self._violate(wrong, number)
        return number

    def _violate(self, what: str, number: int, *more: str) -> None:
        """Keep the first of each kind: the search is breadth first, so its story is a shortest one."""
        if what in self._kinds:
            return
        self._kinds.add(what)
        story = list(more)
        while number >= 0:
            number, label = self._came[number]
            story.insert(0, label)
        self.violations.append(f"{self.scope.name}: {what}: {' > '.join(story)}")

    # What can happen.

    def _successors(self, number: int) -> Iterator[tuple[str, bool, State]]:
        state = self._states[number]
        if state.work == FINISHED:
            return
        assert state.snapshot is not None
        snapshot, world = self._snapshots[state.snapshot], state.world
        for after, label, benign in self._happenings(snapshot, world):
            if after == world:
                continue
            yield label, benign, state._replace(world=after)
        for after, label, benign in self._boots(snapshot, world):
            wrong = boot_violation(world, after)
            if wrong:
                self._violate(wrong, number, label)
            begun = self._begin(state.snapshot, after, booted=True)
            if begun is not None:
                yield label, benign, begun
        if (again := self._begin(state.snapshot, world)) is not None:
            yield "the process starts again", state.work < 0, again
        if state.work < 0:
            return
        work = self._works[state.work]
        for effect in work:
            for outcome in outcomes(effect, snapshot, world, self.scope):
                for wrong in world_violations(world, outcome.world, effect):
                    self._violate(wrong, number, outcome.label)
                yield from self._after(number, state, work, effect, outcome)
        if self.scope.policy.attends:
            for label, benign, event in heard(world, self.scope):
                stepped = self._step(number, state.snapshot, event, label)
                if stepped is not None:
                    yield label, benign, self._next(state, stepped, world, work)

    def _after(
        self, number: int, state: State, work: tuple[Effect, ...], effect: Effect, outcome: Outcome
    ) -> Iterator[tuple[str, bool, State]]:
        if outcome.event is None:
            yield outcome.label, outcome.benign, state._replace(world=outcome.world)
            return
        assert state.snapshot is not None
        stepped = self._step(number, state.snapshot, outcome.event, outcome.label)
        if stepped is not None:
            left = tuple(each for each in work if each is not effect) if outcome.ends else work
            world = outcome.world
            if hasattr(outcome.event, "running"):
                world = world._replace(witnessed=True)
            yield outcome.label, outcome.benign, self._next(state, stepped, world, left)

    def _next(self, state: State, stepped: tuple[int, int | None], world: World, left: tuple[Effect, ...]) -> State:
        snapshot, work = stepped
        return State(snapshot, self._work_number(left) if work is None else work, world)

    def _happenings(self, snapshot: Snapshot, world: World) -> Iterator[tuple[World, str, bool]]:
        """What the world does by itself."""
        if world.os == OLD:
            for engine, then in _ENGINE[world.engine]:
                label = f"update_engine: {world.engine} to {then}"
                yield world._replace(engine=then), label, engine and self.scope.policy.attends
        if self.scope.kubes > 1:
            yield world._replace(kube=1 - world.kube), "the cluster moves", False
        if self.scope.policy.attends:
            yield world._replace(hook=True), "the operator asks", False
            yield world._replace(hook=False, answered=False, expected=None), "the operator withdraws", False
        yield world._replace(staged=frozenset()), "staging is emptied", False
        if self.scope.damage:
            for each in sorted(world.stored):
                yield world._replace(stored=world.stored - {each}), f"somebody removes the image for {each[0]}", False
            # Whose data lie there is that somebody's business, too.
            yield world._replace(pin=OWN, data=None), "somebody pins another Docker", False

    def _boots(self, snapshot: Snapshot, world: World) -> Iterator[tuple[World, str, bool]]:
        stuck = snapshot.failure is not None and "did not bring" in snapshot.failure.message
        wanted = bool(world.asked) or world.answered or stuck
        more = world.boots < self.scope.most_boots
        if more and self.scope.vain:
            yield boot(world, unsealed=True), "a boot in which torcx fails", wanted
            return
        if wanted or more:
            came = boot(world)
            yield (came if more else came._replace(boots=world.boots)), "a boot", wanted
        if more and world.update:
            yield boot(world, rolled_back=True), "a boot that falls back", False
        if more and self.scope.damage:
            yield boot(world, unsealed=True), "a boot in which torcx fails", False

    # The core.

    def _begin(self, known: int | None, world: World, *, booted: bool = False) -> State | None:
        """A process starts."""
        if self.scope.bootstraps and world.published:
            # There is nothing to do.
            return State(known, FINISHED, world)
        key = (known, booted)
        if key not in self._starts:
            snapshot = None if known is None else self._snapshots[known]
            if snapshot is not None and booted:
                snapshot = _elsewhere(snapshot)
                self._note_row(snapshot, Booted(NOW, PRESENT))
            try:
                step = self.core.start(snapshot, Started(NOW, PRESENT))
            except Exception as error:
                self._violate(f"a start fails: {error!r}", -1, f"{snapshot}")
                return None
            wrong = end_violation(step, Started(NOW, PRESENT))
            if wrong:
                self._violate(f"at a start: {wrong}", -1, f"{snapshot}")
            work = self._work_of(step, step.snapshot)
            self._starts[key] = (self._number(step.snapshot), self._work_number(()) if work is None else work)
        return State(*self._starts[key], world)

    def _step(self, number: int, known: int, event: Event, label: str) -> tuple[int, int | None] | None:
        """What the core makes of *event*: numbers of what is remembered then, and of what runs; None: as before."""
        key = (known, id(event))
        found = self._steps.get(key)
        if found is not None:
            return found
        # Kept, so that no other event gets its identity.
        self._events[id(event)] = event
        snapshot = self._snapshots[known]
        self._note_row(snapshot, event)
        try:
            step = self.core.step(snapshot, event)
        except IllegalEvent as error:
            self._violate(f"illegal: {error}", number, label)
            return None
        except Exception as error:
            self._violate(f"{event.trigger} in {snapshot.state}: {error!r}", number, label)
            return None
        wrong = end_violation(step, event)
        if wrong:
            self._violate(wrong, number, label)
        stepped = (self._number(step.snapshot), self._work_of(step, step.snapshot))
        self._steps[key] = stepped
        return stepped

    def _note_row(self, snapshot: Snapshot, event: Event) -> None:
        for row in self._rows.get((snapshot.state, event.trigger), ()):
            answers = [(name, GUARDS[name](snapshot, event)) for name in row.guards]
            self.guards.update(answers)
            if all(held for _, held in answers):
                self.taken.add(row)
                return

    def _work_of(self, step: Step, snapshot: Snapshot) -> int | None:
        """The number of what runs after *step*; None where what runs goes on."""
        end = next((each for each in step.effects if isinstance(each, End)), None)
        if end is not None:
            return FINISHED if end.exit_code == 0 else ENDED
        if not step.effects and step.move is None:
            return None
        return self._work_number(tuple(_plain(each) for each in step.effects))

    def _work(self, number: int) -> tuple[Effect, ...] | None:
        return None if number < 0 else self._works[number]

    def _work_number(self, work: tuple[Effect, ...]) -> int:
        number = self._by_work.get(work)
        if number is None:
            number = self._by_work[work] = len(self._works)
            self._works.append(work)
        return number

    def _number(self, snapshot: Snapshot) -> int:
        """The number of *snapshot*, which is what the state file gives back of it."""
        plain = _canonical(snapshot, says=self.scope.policy.attends and snapshot.state == "gathering")
        content = msgspec.json.encode(plain, order="sorted")
        number = self._by_content.get(content)
        if number is None:
            back = msgspec.convert(document.decode(document.encode(msgspec.to_builtins(plain))), Snapshot)
            if back != plain:
                self._violate(f"the state file gives back something else than {plain}", -1)
            number = self._by_content[content] = len(self._snapshots)
            self._snapshots.append(back)
        return number

    # When all is known.

    def _check_ways_out(self) -> None:
        """From every state the goal is reached where nothing goes wrong any more."""
        sources: list[list[int]] = [[] for _ in self._states]
        for number, targets in enumerate(self._benign):
            for each in targets:
                sources[each].append(number)
        reached = deque(number for number, each in enumerate(self._states) if self._is_goal(each))
        good = set(reached)
        while reached:
            for each in sources[reached.popleft()]:
                if each not in good:
                    good.add(each)
                    reached.append(each)
        lost = [number for number in range(len(self._states)) if number not in good]
        if lost:
            self._violate_no_way_out(lost[0])

    def _is_goal(self, state: State) -> bool:
        assert state.snapshot is not None
        return is_goal(self._snapshots[state.snapshot], state.world, state.work == FINISHED, self.scope.policy)


# How long a walk is, and how often it goes where nothing goes wrong: it gets through a few boots.
_WALK: Final = 80
_BENIGN: Final = 0.6
# Of a process that is gone: for good, or to be started again.
FINISHED: Final = -1
ENDED: Final = -2
# What update_engine does: whether it is what follows where nothing goes wrong, and what it is at then.
_ENGINE: Final = {
    "idle": [(False, "coming"), (False, "installed")],
    "coming": [(True, "installed"), (False, "idle")],
    "installed": [(False, "idle"), (False, "forgot")],
    "forgot": [(False, "idle")],
}


def _elsewhere(snapshot: Snapshot) -> Snapshot:
    """What is remembered, as seen from another boot."""
    reboot = snapshot.reboot and replace(snapshot.reboot, boot_id=BEFORE)
    planned_in = snapshot.planned_in and BEFORE
    return replace(snapshot, boot_id=BEFORE, reboot=reboot, planned_in=planned_in)


def _plain(effect: Effect) -> Effect:
    """An effect without what makes no difference: when, and the present failure's words."""
    changes: dict[str, Any] = {}
    if hasattr(effect, "when"):
        changes["when"] = NOW
    return replace(effect, **changes) if changes else effect


def _canonical(snapshot: Snapshot, *, says: bool) -> Snapshot:
    """The snapshot with times, counters and words made equal that decide nothing."""
    failure = snapshot.failure
    if failure is not None:
        failure = Failure(failure.message, "", "", NOW, NOW, 1)
    reboot = snapshot.reboot
    if reboot is not None and reboot.accepted_at is not None:
        reboot = replace(reboot, accepted_at=NOW)
    return replace(
        snapshot,
        since=NOW,
        failure=failure,
        next_try=None if snapshot.next_try is None else NOW,
        waiting_for="something" if says and snapshot.waiting_for else "",
        waiting_until=None,
        reboot=reboot,
        published_at=None,
        hook_answered_at=None,
        transitions=0,
        boots=dict(sorted(snapshot.boots.items())),
    )
