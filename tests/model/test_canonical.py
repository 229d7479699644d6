"""What is made equal before it is explored makes no difference: the core goes on from it as from what it stands for."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any, Final

import pytest

from tests.explored import Explored
from tests.model import canonical
from tests.model.canonical import PRESENT, elsewhere, of_the_ended, plain
from tests.model.happenings import boots, happenings, reports
from tests.model.scopes import WALKED, Scope
from tests.model.shell import LATE, NOW, at_work, outcomes
from tests.model.world import World
from torcxd.charts import load_chart
from torcxd.lifecycle.effects import Effect, End
from torcxd.lifecycle.events import Event, Failed, Started
from torcxd.lifecycle.machine import Lifecycle, Step
from torcxd.lifecycle.snapshot import Snapshot

STEPS: Final = 400
_DAEMON: Final = next(each for each in WALKED if each.serves and each.damage and each.stage)
_STUCK: Final = next(each for each in WALKED if each.bootstraps and each.vain)
# What must not be made equal: it is noticed in so many steps.
FORGETTING: Final[dict[str, dict[str, Any]]] = {
    "the Docker that was seen": {"docker_seen": None},
    "what was heard in this boot": {"heard_os": None},
    "which installation was heard": {"heard_installation": ""},
    "what is waited for": {"next_try": None},
    "boots in vain": {"boots": {}},
    "the operator's question": {"hook_asked": False},
    "that a boot is to be verified": {"verify_boot": False},
}


def same(scope: Scope, step: Step, other: Step) -> bool:
    """Whether two steps are one to whoever looks at their canonical forms."""
    return _seen(scope, step) == _seen(scope, other)


def _seen(scope: Scope, step: Step) -> tuple[object, ...]:
    # What is said at the end is for people.
    effects = tuple(End(each.exit_code) if isinstance(each, End) else plain(each) for each in step.effects)
    move = step.move and (step.move.source, step.move.dest, step.move.because)
    return canonical.canonical(step.snapshot, scope.policy), move, effects


class Life:
    """A life at random: what is really remembered, times, words and counters and all, and its canonical form beside it.

    :ivar differences: of how many of its snapshots the canonical form is another.
    """

    def __init__(self, scope: Scope, random: Random) -> None:
        self.scope, self._random = scope, random
        self._core = Lifecycle(load_chart(), scope.policy)
        self._clock = NOW
        self._world = World(marks=scope.marks)
        self.differences = 0
        self._effects: tuple[Effect, ...] = ()
        self._take(self._core.start(None, Started(NOW, PRESENT)))

    def live(self) -> None:
        """Something happens."""
        choices = [each.world for each in happenings(self._world, self.scope)]
        if self._random.random() < 0.1 and choices:
            self._world = self._random.choice(choices)
        if self._random.random() < 0.05:
            booted = self._random.random() < 0.5
            if booted:
                self._world = self._random.choice([each.world for each in boots(self._world, self.scope, wanted=True)])
            self._start(booted=booted)
            return
        if any(isinstance(each, End) for each in self._effects):
            self._start(booted=False)
            return
        self._hear()

    def _hear(self) -> None:
        # Most of it is what the effect reports.
        found = [
            outcome
            for each in self._effects
            for outcome in outcomes(at_work(each, self._snapshot), self._world, self.scope)
        ]
        if found and (not self.scope.policy.attends or self._random.random() < 0.7):
            outcome = self._random.choice(found)
            self._world = outcome.world
            if outcome.event is not None:
                self._step(outcome.event)
        elif self.scope.policy.attends:
            self._step(self._random.choice(list(reports(self.scope))).event)

    def _step(self, event: Event) -> None:
        """The core gets the event at the time of this life, and where things are made equal, as it is explored."""
        real = replace(event, at=self._now(late=event.at == LATE))
        if isinstance(real, Failed):
            # Each real failure is one of the two that are explored, by whether patience is over.
            failure, allowed = self._snapshot.failure, self.scope.policy.retry_for
            over = failure is not None and allowed is not None and real.at - failure.first_at >= allowed
            event = replace(event, at=LATE if over else NOW)
            real = replace(real, message=f"failed at {real.at}", retry_after=self._random.choice([None, 1.0]))
        step = self._core.step(self._snapshot, real)
        made_equal = self._core.step(canonical.canonical(self._snapshot, self.scope.policy), event)
        self._judge(step, made_equal, event)
        self._take(step)

    def _now(self, *, late: bool) -> float:
        # A moment, or so much that every patience is over.
        self._clock += LATE if late else self._random.random() / 10
        return self._clock

    def _start(self, *, booted: bool) -> None:
        remembered = elsewhere(self._snapshot) if booted else self._snapshot
        started = Started(self._clock, PRESENT)
        step = self._core.start(remembered, started)
        ended = any(isinstance(each, End) for each in self._effects)
        short = of_the_ended(self._snapshot) if ended else self._snapshot
        made_equal = canonical.canonical(short, self.scope.policy)
        self._judge(step, self._core.start(elsewhere(made_equal) if booted else made_equal, started), started)
        self._take(step)

    def _judge(self, step: Step, made_equal: Step, event: Event) -> None:
        self.differences += canonical.canonical(self._snapshot, self.scope.policy) != self._snapshot
        assert same(self.scope, step, made_equal), f"{event} to {self._snapshot}: {step} and {made_equal}"

    def _take(self, step: Step) -> None:
        self._snapshot: Snapshot = step.snapshot
        if step.effects or step.move is not None:
            self._effects = step.effects


@pytest.mark.parametrize("scope", WALKED, ids=lambda scope: f"{scope.name} {scope.stage} {scope.vain}")
def test_the_core_goes_on_as_from_what_is_made_equal(scope: Scope, explored: Explored) -> None:
    life = Life(scope, Random(7))
    for _ in range(STEPS):
        life.live()
    assert life.differences > STEPS // 10
    explored.count("core, what is made equal", "steps compared", STEPS)


@pytest.mark.parametrize("what", FORGETTING)
def test_what_makes_a_difference_is_missed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made_equal = canonical.canonical
    monkeypatch.setattr(canonical, "canonical", lambda *given: replace(made_equal(*given), **FORGETTING[what]))
    life = Life(_STUCK if what == "boots in vain" else _DAEMON, Random(7))

    def live() -> None:
        for _ in range(40 * STEPS):
            life.live()

    with pytest.raises(AssertionError):
        live()
