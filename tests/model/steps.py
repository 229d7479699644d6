"""The real core's steps, each taken once, and judged when it is taken."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from tests.model.canonical import PRESENT, canonical, elsewhere, of_the_ended, plain
from tests.model.scopes import Scope
from tests.model.shell import NOW
from tests.model.verdicts import end_violation, hearing_violation, idle_violation
from torcxd.daemon import document
from torcxd.lifecycle.chart import Chart, Transition
from torcxd.lifecycle.effects import Effect, End
from torcxd.lifecycle.events import Booted, Event, Started
from torcxd.lifecycle.guards import GUARDS
from torcxd.lifecycle.machine import IllegalEvent, Lifecycle, Step
from torcxd.lifecycle.snapshot import Snapshot

# Of a process that is gone, instead of what it does: for good, or to be started again.
FINISHED: Final = -1
ENDED: Final = -2

Complain = Callable[[str], None]


class Process(NamedTuple):
    """What the process remembers, and what it does, by number.

    :param snapshot: None before there is anything to remember.
    :param work: :data:`FINISHED` and :data:`ENDED` where the process is gone.
    """

    snapshot: int | None
    work: int


@dataclass(slots=True)
class Steps:
    """The core of one command. What is remembered goes through the real state file's form.

    :param watches: whether to note the rows and the guards, which takes a good part of the time.
    :ivar taken: the rows of the chart that were taken, with their sources.
    :ivar guards: which answers each guard gave.
    """

    chart: Chart
    scope: Scope
    watches: bool = False
    taken: set[Transition] = field(default_factory=set)
    guards: set[tuple[str, bool]] = field(default_factory=set)
    processes: list[Process] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    works: list[tuple[Effect, ...]] = field(default_factory=list)
    _core: Lifecycle = field(init=False)
    _by_process: dict[Process, int] = field(default_factory=dict)
    _by_content: dict[bytes, int] = field(default_factory=dict)
    _by_work: dict[tuple[Effect, ...], int] = field(default_factory=dict)
    _steps: dict[tuple[int, Hashable], tuple[int, int | None] | None] = field(default_factory=dict)
    _starts: dict[tuple[int | None, bool], int | None] = field(default_factory=dict)
    _rows: dict[tuple[str, str], list[Transition]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._core = Lifecycle(self.chart, self.scope.policy)
        for row in self.chart.transitions():
            self._rows.setdefault((row.source, row.trigger), []).append(row)

    def number(self, process: Process, complain: Complain) -> int:
        """The number of *process*, which is judged when it is new."""
        number = self._by_process.get(process)
        if number is None:
            number = self._by_process[process] = len(self.processes)
            self.processes.append(process)
            if process.snapshot is not None:
                work = None if process.work < 0 else self.works[process.work]
                wrong = idle_violation(self.snapshots[process.snapshot], work, self.scope.policy)
                if wrong:
                    complain(wrong)
        return number

    def start(self, known: int | None, complain: Complain, *, booted: bool = False) -> int | None:
        """The process that starts with what is *known*; None when it cannot.

        :param booted: in another boot than that of what is known.
        """
        key = (known, booted)
        if key not in self._starts:
            self._starts[key] = self._start(known, booted, complain)
        return self._starts[key]

    def _start(self, known: int | None, booted: bool, complain: Complain) -> int | None:
        snapshot = None if known is None else self.snapshots[known]
        if snapshot is not None and booted:
            snapshot = elsewhere(snapshot)
            self._note(snapshot, Booted(NOW, PRESENT))
        try:
            step = self._core.start(snapshot, Started(NOW, PRESENT))
        except Exception as error:
            complain(f"a start fails: {error!r} with {snapshot}")
            return None
        wrong = end_violation(step, Started(NOW, PRESENT))
        if wrong:
            complain(f"at a start: {wrong}")
        work = self._work_of(step)
        begun = Process(self._snapshot(step.snapshot, complain), self._work(()) if work is None else work)
        return self.number(begun, complain)

    def step(
        self, process: Process, event: Event, name: Hashable, complain: Complain, *, ended: int | None = None
    ) -> int | None:
        """The process after *event*; None where the core fails.

        :param name: what tells *event* from all others: itself, unless it cannot be hashed.
        :param ended: which of its effects has nothing left to do; None where all of them go on.
        """
        assert process.snapshot is not None
        key = (process.snapshot, name)
        if key not in self._steps:
            self._steps[key] = self._step(process.snapshot, event, complain)
        stepped = self._steps[key]
        if stepped is None:
            return None
        snapshot, work = stepped
        if work is None:
            # What runs goes on.
            effects = self.works[process.work]
            left = tuple(each for place, each in enumerate(effects) if place != ended)
            work = self._work(left)
        return self.number(Process(snapshot, work), complain)

    def _step(self, known: int, event: Event, complain: Complain) -> tuple[int, int | None] | None:
        """What the core makes of *event*: what is remembered then, and what runs; None for what ran before."""
        snapshot = self.snapshots[known]
        self._note(snapshot, event)
        try:
            step = self._core.step(snapshot, event)
        except IllegalEvent as error:
            complain(f"illegal: {error}")
            return None
        except Exception as error:
            complain(f"{event.trigger} in {snapshot.state}: {error!r}")
            return None
        for wrong in (end_violation(step, event), hearing_violation(snapshot, event, step.snapshot)):
            if wrong:
                complain(wrong)
        work = self._work_of(step)
        remembered = of_the_ended(step.snapshot) if work == ENDED else step.snapshot
        return self._snapshot(remembered, complain), work

    def _note(self, snapshot: Snapshot, event: Event) -> None:
        if not self.watches:
            return
        for row in self._rows.get((snapshot.state, event.trigger), ()):
            answers = [(name, GUARDS[name](snapshot, event)) for name in row.guards]
            self.guards.update(answers)
            if all(held for _, held in answers):
                self.taken.add(row)
                return

    def _work_of(self, step: Step) -> int | None:
        """The number of what runs after *step*; None where what runs goes on."""
        end = next((each for each in step.effects if isinstance(each, End)), None)
        if end is not None:
            return FINISHED if end.exit_code == 0 else ENDED
        if not step.effects and step.move is None:
            return None
        return self._work(tuple(plain(each) for each in step.effects))

    def _work(self, work: tuple[Effect, ...]) -> int:
        number = self._by_work.get(work)
        if number is None:
            number = self._by_work[work] = len(self.works)
            self.works.append(work)
        return number

    def _snapshot(self, snapshot: Snapshot, complain: Complain) -> int:
        """The number of *snapshot*, which is what the state file gives back of it."""
        made_equal = canonical(snapshot, self.scope.policy)
        content = msgspec.json.encode(made_equal, order="sorted")
        number = self._by_content.get(content)
        if number is None:
            read = document.decode(document.encode(msgspec.to_builtins(made_equal)))
            back = msgspec.convert(read, Snapshot)
            if back != made_equal:
                complain(f"the state file gives back something else than {made_equal}")
            number = self._by_content[content] = len(self.snapshots)
            self.snapshots.append(back)
        return number
