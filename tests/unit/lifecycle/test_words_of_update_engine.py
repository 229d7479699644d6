"""What update_engine's words, their absence and their contradictions make of a process that serves the operator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torcxd.charts import load_chart
from torcxd.daemon.process import DAEMON
from torcxd.errors import Kind
from torcxd.lifecycle.effects import Attend, Gather
from torcxd.lifecycle.events import (
    Attended,
    Compared,
    Failed,
    Fetched,
    Gathered,
    HookAsked,
    OsUpdateLost,
    OsUpdateSeen,
    Placed,
    Resolved,
    RetryDue,
    Started,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.machine import Lifecycle, Step
from torcxd.lifecycle.preparedness import is_for, unprepared

OLD, NEW = "1520.8.0", "1576.4.0"
NONE, COMING, PENDING = OsUpdate(None, pending=False), OsUpdate(NEW, pending=False), OsUpdate(NEW, pending=True)
FORGOTTEN = OsUpdate(None, pending=True)
TARGET = Target("amd64-usr", OLD, None, "v1.8.4", "the API server", ("17.03",), "a ConfigMap")
RUNS = Running(OLD, "17.03", intact=True)


@pytest.fixture
def core() -> Lifecycle:
    return Lifecycle(load_chart(), DAEMON)


def staged(core: Lifecycle, update: OsUpdate) -> Step:
    """A node that is prepared for what *update* brings."""
    target = replace(TARGET, next_os=update.version)
    plan = Plan(target, target.coming_os, "17.03", (), resolved=True)
    step = core.start(None, Started(0, "boot-1"))
    for event in (
        OsUpdateSeen(1, update),
        Gathered(2, target, RUNS),
        Resolved(3, plan),
        Fetched(4),
        Placed(5),
        Compared(6, RUNS),
        Attended(7),
    ):
        step = core.step(step.snapshot, event)
    return step


@pytest.mark.accepts("N3", "N5")
def test_an_update_of_unknown_version_that_is_withdrawn_leaves_nobody_waiting(core: Lifecycle) -> None:
    step = core.step(staged(core, NONE).snapshot, OsUpdateSeen(10, FORGOTTEN))
    assert (step.snapshot.state, step.effects) == ("gathering", ())
    assert step.snapshot.waiting_for
    # As its operator is told to do: update_engine_client -reset_status.
    step = core.step(step.snapshot, OsUpdateSeen(20, NONE))
    assert step.snapshot.state == "gathering"
    assert [type(each) for each in step.effects] == [Gather]


@pytest.mark.accepts("N5")
def test_a_process_that_begins_says_what_it_waits_for(core: Lifecycle) -> None:
    begun = core.start(None, Started(0, "boot-1"))
    assert "update_engine" in begun.snapshot.waiting_for
    resumed = core.start(core.step(begun.snapshot, OsUpdateSeen(1, NONE)).snapshot, Started(2, "boot-1"))
    assert (resumed.snapshot.state, resumed.effects) == ("gathering", ())
    assert "update_engine" in resumed.snapshot.waiting_for


@pytest.mark.accepts("N5")
def test_after_a_failure_it_says_again_what_it_waits_for(core: Lifecycle) -> None:
    step = core.step(core.start(None, Started(0, "boot-1")).snapshot, OsUpdateSeen(1, NONE))
    step = core.step(step.snapshot, Failed(2, "away", "", Kind.TRANSIENT, 75, 0.5))
    step = core.step(step.snapshot, OsUpdateLost(3))
    step = core.step(step.snapshot, RetryDue(4))
    assert step.effects == ()
    assert "update_engine" in step.snapshot.waiting_for


@pytest.mark.accepts("I3", "I4")
def test_an_update_that_is_installed_anew_is_not_installed_yet(core: Lifecycle) -> None:
    step = core.step(staged(core, PENDING).snapshot, HookAsked(10, asked=True))
    assert step.snapshot.state == "reboot-pending"
    assert [each.answer for each in step.effects if isinstance(each, Attend)] == [True]
    again = core.step(step.snapshot, OsUpdateSeen(20, COMING))
    assert "not installed yet" in unprepared(again.snapshot)
    assert not any(isinstance(each, Attend) and each.answer for each in again.effects)
    installed = core.step(again.snapshot, OsUpdateSeen(30, PENDING))
    assert unprepared(installed.snapshot) == ""


@pytest.mark.accepts("I3", "I4")
@pytest.mark.parametrize(
    ("planned", "seen", "agrees"),
    [
        (None, NONE, True),
        (None, COMING, False),
        (None, PENDING, False),
        (None, FORGOTTEN, False),
        (NEW, NONE, False),
        (NEW, COMING, False),
        (NEW, PENDING, True),
        (NEW, FORGOTTEN, True),
    ],
)
def test_what_a_plan_is_for(planned: str | None, seen: OsUpdate, agrees: bool) -> None:
    target = replace(TARGET, next_os=planned)
    assert is_for(Plan(target, target.coming_os), seen) is agrees


@pytest.mark.accepts("N8")
@pytest.mark.parametrize(("heard", "then"), [(COMING, NONE), (PENDING, NONE), (NONE, COMING), (NONE, PENDING)])
def test_gathering_begins_anew_when_its_word_is_taken_back_even_to_what_the_plan_is_for(
    core: Lifecycle, heard: OsUpdate, then: OsUpdate
) -> None:
    """The plan is the one before, and says nothing about what is being gathered."""
    before = staged(core, then).snapshot
    begun = core.step(before, OsUpdateSeen(10, heard))
    assert begun.effects == (Gather(before.plan, heard),)
    anew = core.step(begun.snapshot, OsUpdateSeen(11, then))
    assert anew.effects == (Gather(before.plan, then),)


@pytest.mark.parametrize("update", [NONE, COMING, PENDING])
def test_gathering_goes_on_when_its_word_is_repeated(core: Lifecycle, update: OsUpdate) -> None:
    begun = core.step(core.start(None, Started(0, "boot-1")).snapshot, OsUpdateSeen(1, update))
    assert begun.effects == (Gather(None, update),)
    assert core.step(begun.snapshot, OsUpdateSeen(2, update)).effects == ()
