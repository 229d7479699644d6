"""A failure over which the process ends is remembered as such, and is so no longer once something starts it anew."""

from __future__ import annotations

import pytest

from torcxd.charts import load_chart
from torcxd.errors import Kind
from torcxd.lifecycle.effects import End
from torcxd.lifecycle.events import Failed, RetryDue, Started
from torcxd.lifecycle.machine import Lifecycle, Policy, Step

BOOTSTRAP = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=600)


def failed(at: float, kind: Kind) -> Failed:
    return Failed(at, message="m", hint="h", kind=kind, exit_code=75, jitter=0.5)


def fail_at(core: Lifecycle, times: list[float], kind: Kind) -> Step:
    step = core.start(None, Started(0, "boot"))
    for at in times:
        if step.snapshot.next_try is not None:
            step = core.step(step.snapshot, RetryDue(at))
        step = core.step(step.snapshot, failed(at, kind))
    return step


@pytest.mark.parametrize(
    ("times", "kind", "final"),
    [
        ([1], Kind.TRANSIENT, False),
        ([1, 600], Kind.TRANSIENT, False),
        ([1, 601], Kind.TRANSIENT, True),
        ([1], Kind.PERMANENT, True),
        ([1], Kind.CONFIGURATION, True),
    ],
)
def test_nothing_is_due_after_the_end(times: list[float], kind: Kind, final: bool) -> None:
    core = Lifecycle(load_chart(), BOOTSTRAP)
    step = fail_at(core, times, kind)
    assert step.snapshot.failure is not None
    assert step.snapshot.failure.final is final
    assert (step.snapshot.next_try is None) is final
    assert any(isinstance(each, End) for each in step.effects) is final


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.PERMANENT])
def test_a_new_start_tries_again_with_all_its_patience(kind: Kind) -> None:
    """Else, in a long outage, each process would end at its first failure, and back-off be the unit's alone."""
    core = Lifecycle(load_chart(), BOOTSTRAP)
    ended = fail_at(core, [1, 601], kind).snapshot
    anew = core.start(ended, Started(611, "boot")).snapshot
    assert anew.failure is None
    step = core.step(anew, failed(612, Kind.TRANSIENT))
    assert step.snapshot.failure is not None
    assert (step.snapshot.failure.final, step.snapshot.failure.attempts) == (False, 1)
    assert step.snapshot.next_try is not None


def test_a_start_after_a_crash_has_the_patience_that_was_left() -> None:
    core = Lifecycle(load_chart(), BOOTSTRAP)
    crashed = fail_at(core, [1], Kind.TRANSIENT).snapshot
    anew = core.start(crashed, Started(2, "boot")).snapshot
    assert anew.failure == crashed.failure
