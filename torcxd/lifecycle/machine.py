"""The automaton: one event in, the next snapshot and the effects to run out.

Theory of operation. The chart (``states/``) says which state follows; it is run by a ``transitions`` machine whose
callbacks only answer guards. What is remembered besides the state is computed in :mod:`torcxd.lifecycle.memory`, one
branch an event, and what is done next in :mod:`torcxd.lifecycle.duties`. All three are pure: the same snapshot and
event give the same step, so the core can be explored exhaustively and simulated.

What keeps this honest: nothing here may import trio, open a file or read a clock; a new event gets a row in the chart,
a branch in ``remember`` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from transitions import EventData, Machine, MachineError

from torcxd.lifecycle import duties, memory
from torcxd.lifecycle.chart import Chart, Transition
from torcxd.lifecycle.duties import EFFECTS
from torcxd.lifecycle.effects import Effect, End
from torcxd.lifecycle.events import Booted, Event, RetryDue, Started
from torcxd.lifecycle.guards import GUARDS
from torcxd.lifecycle.policy import Policy
from torcxd.lifecycle.snapshot import Snapshot

__all__ = ["EFFECTS", "IllegalEvent", "Lifecycle", "Move", "Policy", "Step"]


class IllegalEvent(Exception):
    """The chart has no row for this event in this state: a defect of the program, not of its input."""


@dataclass(frozen=True, slots=True)
class Move:
    """A transition that was taken: what the journal and the history tell."""

    source: str
    dest: str
    trigger: str
    because: str


@dataclass(frozen=True, slots=True)
class Step:
    """The answer to an event.

    :param move: the transition, None when the machine stayed where it was.
    :param effects: what to run now, in place of what runs. Where there are none, what runs goes on, unless a transition
        was taken: no effect outlives its state.
    """

    snapshot: Snapshot
    move: Move | None
    effects: tuple[Effect, ...]


class _Model:
    """What ``transitions`` moves. It holds the step's input while guards are asked."""

    state: str
    snapshot: Snapshot
    event: Event
    row: Transition | None
    trigger: Any


class Lifecycle:
    """The core for one chart and policy. It has no state of its own between steps.

    :param chart: a validated chart.
    """

    def __init__(self, chart: Chart, policy: Policy) -> None:
        self.chart = chart
        self.policy = policy
        self._model = _Model()
        self._machine = Machine(
            self._model,
            states=[each.name for each in chart.states],
            initial=chart.initial,
            queued=True,
            send_event=True,
            auto_transitions=False,
        )
        for row in chart.transitions():
            self._machine.add_transition(
                row.trigger,
                row.source,
                row.dest,
                conditions=[_condition(name) for name in row.guards],
                before=_note(row),
            )

    def start(self, snapshot: Snapshot | None, event: Started) -> Step:
        """Begin, or resume where *snapshot* left off.

        In the same boot the recorded state's effect simply runs again, since effects are idempotent; another boot is
        an event of the chart.
        """
        if snapshot is None:
            begun = Snapshot(self.chart.initial, event.at, event.boot_id)
        elif snapshot.boot_id != event.boot_id:
            return self.step(snapshot, Booted(event.at, event.boot_id))
        else:
            begun = memory.resumed(snapshot)
        begun = self._with_reason(begun)
        return Step(begun, None, self._effects(begun))

    def step(self, snapshot: Snapshot, event: Event) -> Step:
        """Handle one event.

        :raises IllegalEvent: when the chart has no row for it in the present state.
        """
        model = self._model
        model.snapshot, model.event, model.row = snapshot, event, None
        self._machine.set_state(snapshot.state)
        try:
            model.trigger(event.trigger)
        except (MachineError, AttributeError) as error:
            raise IllegalEvent(f"{event.trigger} in {snapshot.state}: {error}") from error
        row = self._taken()
        if row is None:
            raise IllegalEvent(f"{event.trigger} in {snapshot.state}: no guard holds")
        remembered = memory.remember(snapshot, event)
        if row.dest is None:
            if isinstance(event, RetryDue):
                # The failure has put another reason to wait in the place of the state's own.
                remembered = self._with_reason(remembered)
            effects = duties.on_stay(self._duty(remembered), remembered, event, self.policy)
            if any(isinstance(each, End) for each in effects):
                remembered = memory.given_up(remembered)
            if not duties.at_work(remembered) and remembered.next_try is None:
                remembered = self._with_reason(remembered)
            return Step(remembered, None, effects)
        move = Move(snapshot.state, row.dest, event.trigger, row.because)
        entered = self._with_reason(memory.entered(remembered, row.dest, event))
        return Step(entered, move, self._effects(entered))

    def _taken(self) -> Transition | None:
        """The row that the machine just took; it was noted by a callback, behind the type checker's back."""
        return self._model.row

    def _effects(self, snapshot: Snapshot) -> tuple[Effect, ...]:
        return duties.on_entry(self._duty(snapshot), snapshot, self.policy)

    def _with_reason(self, snapshot: Snapshot) -> Snapshot:
        """What is waited for where no effect is there to tell: in a process that serves the update operator."""
        if not self.policy.attends:
            return snapshot
        return replace(snapshot, waiting_for=duties.waits_for(snapshot), waiting_until=None)

    def _duty(self, snapshot: Snapshot) -> str:
        """The name of the effect that the chart gives the state."""
        return self.chart.state(snapshot.state).effect


def _condition(name: str) -> Any:
    guard = GUARDS[name]

    def ask(data: EventData) -> bool:
        model = cast("_Model", data.model)
        return guard(model.snapshot, model.event)

    return ask


def _note(row: Transition) -> Any:
    def note(data: EventData) -> None:
        cast("_Model", data.model).row = row

    return note
