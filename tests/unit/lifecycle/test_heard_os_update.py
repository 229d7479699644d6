"""What update_engine has said is not forgotten while effects run that began before it, nor before there is a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torcxd.charts import load_chart
from torcxd.lifecycle.effects import Gather
from torcxd.lifecycle.events import (
    Booted,
    Compared,
    Drifted,
    Event,
    Fetched,
    Gathered,
    OsUpdateLost,
    OsUpdateSeen,
    Placed,
    Resolved,
    Started,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.guards import recorded_update
from torcxd.lifecycle.machine import Lifecycle, Policy, Step
from torcxd.lifecycle.preparedness import inhibition, is_for
from torcxd.lifecycle.snapshot import Snapshot

OLD, NEW, NEWER = "1520.8.0", "1576.4.0", "1632.3.0"
ANNOUNCED, INSTALLED = OsUpdate(NEW, pending=False), OsUpdate(NEW, pending=True)
# After a restart it knows that it has installed one, and not which.
FORGOTTEN = OsUpdate(None, pending=True)
NONE = OsUpdate(None, pending=False)
TARGET = Target(
    "amd64-usr", OLD, NEW, "v1.8.4", "the API server", ("17.03",), "a ConfigMap", next_pending=ANNOUNCED.pending
)
PLAN = Plan(TARGET, NEW, "17.03", resolved=True)
BEFORE = Running(OLD, "1.12", intact=True)

BOOTSTRAP = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=3600)


@pytest.fixture
def core() -> Lifecycle:
    policy = Policy(ends_when_published=False, ends_on_permanent=False, retry_for=None, attends=True)
    return Lifecycle(load_chart(), policy)


@pytest.fixture
def fresh(core: Lifecycle) -> Snapshot:
    return core.start(None, Started(0.0, "boot-1")).snapshot


def run(core: Lifecycle, snapshot: Snapshot, *events: Event) -> Step:
    step = Step(snapshot, None, ())
    for each in events:
        step = core.step(step.snapshot, each)
    return step


def seen(update: OsUpdate) -> OsUpdateSeen:
    return OsUpdateSeen(1.0, update)


@pytest.mark.accepts("N9")
@pytest.mark.parametrize("when", [1, 2, 3, 4, 5])
def test_an_update_installed_while_its_set_is_prepared_leads_to_the_reboot(
    core: Lifecycle, fresh: Snapshot, when: int
) -> None:
    # Each effect was given what was known as it began, and reports that again.
    events: list[Event] = [
        seen(ANNOUNCED),
        Gathered(2.0, TARGET, BEFORE),
        Resolved(3.0, PLAN),
        Fetched(4.0),
        Placed(5.0),
        Compared(6.0, BEFORE),
    ]
    events.insert(when, seen(INSTALLED))
    assert run(core, fresh, *events).snapshot.state == "reboot-pending"


@pytest.mark.accepts("N3")
def test_a_version_that_was_heard_before_there_was_a_plan_is_known_after_update_engine_forgot_it(
    core: Lifecycle, fresh: Snapshot
) -> None:
    step = run(core, fresh, seen(INSTALLED), OsUpdateLost(2.0), seen(FORGOTTEN))
    assert step.snapshot.os_update == INSTALLED
    assert any(isinstance(each, Gather) and each.os_update == INSTALLED for each in step.effects)


def test_it_is_known_after_a_restart_of_the_process(core: Lifecycle, fresh: Snapshot) -> None:
    heard = run(core, fresh, seen(INSTALLED)).snapshot
    resumed = core.start(heard, Started(2.0, "boot-1")).snapshot
    assert run(core, resumed, seen(FORGOTTEN)).snapshot.os_update == INSTALLED


@pytest.mark.accepts("N3")
def test_what_was_heard_last_counts_more_than_an_older_plan(core: Lifecycle, fresh: Snapshot) -> None:
    planned = replace(fresh, plan=PLAN, planned_in="boot-1")
    heard = run(core, planned, seen(OsUpdate(NEWER, pending=True)), seen(FORGOTTEN)).snapshot
    assert heard.os_update == OsUpdate(NEWER, pending=True)
    withdrawn = run(core, planned, seen(NONE), seen(FORGOTTEN)).snapshot
    assert withdrawn.os_update is not None
    assert withdrawn.os_update.unknown


# As far as it can be told apart: update_engine's marker is there.
FIRST, SECOND = replace(INSTALLED, installation="1"), replace(INSTALLED, installation="2")
FORGOTTEN_FIRST, FORGOTTEN_SECOND = replace(FIRST, version=None), replace(SECOND, version=None)


@pytest.mark.accepts("I3", "I4", "N3")
def test_another_installation_than_the_one_that_was_heard_is_unknown(core: Lifecycle, fresh: Snapshot) -> None:
    heard = run(core, fresh, seen(FIRST), OsUpdateLost(2.0)).snapshot
    assert run(core, heard, seen(FORGOTTEN_FIRST)).snapshot.os_update == FIRST
    assert run(core, heard, seen(FORGOTTEN_SECOND)).snapshot.os_update == FORGOTTEN_SECOND
    # What was only announced need not be what was installed in the end.
    announced = run(core, fresh, seen(ANNOUNCED), OsUpdateLost(2.0)).snapshot
    assert run(core, announced, seen(FORGOTTEN_FIRST)).snapshot.os_update == FORGOTTEN_FIRST


@pytest.mark.accepts("I3", "I4", "N3")
def test_another_installation_than_the_planned_one_is_unknown(core: Lifecycle, fresh: Snapshot) -> None:
    plan = replace(PLAN, target=replace(TARGET, next_pending=True, installation="1"))
    planned = replace(fresh, plan=plan, planned_in="boot-1")
    assert run(core, planned, seen(FORGOTTEN_FIRST)).snapshot.os_update == FIRST
    assert run(core, planned, seen(FORGOTTEN_SECOND)).snapshot.os_update == FORGOTTEN_SECOND
    assert is_for(plan, FORGOTTEN_FIRST)
    assert not is_for(plan, FORGOTTEN_SECOND)


@pytest.mark.accepts("N3")
def test_where_installations_cannot_be_told_apart_the_record_is_believed(core: Lifecycle, fresh: Snapshot) -> None:
    heard = run(core, fresh, seen(FIRST), seen(FORGOTTEN)).snapshot
    assert heard.os_update == FIRST
    # What could be told apart before still can.
    assert run(core, heard, seen(FORGOTTEN_SECOND)).snapshot.os_update == FORGOTTEN_SECOND


@pytest.mark.accepts("N3")
def test_a_record_that_was_made_without_the_marker_is_believed(core: Lifecycle, fresh: Snapshot) -> None:
    heard = run(core, fresh, seen(INSTALLED)).snapshot
    assert run(core, heard, seen(FORGOTTEN_FIRST)).snapshot.os_update == FIRST
    planned = replace(fresh, plan=replace(PLAN, target=replace(TARGET, next_pending=True)), planned_in="boot-1")
    assert run(core, planned, seen(FORGOTTEN_FIRST)).snapshot.os_update == FIRST


@pytest.mark.accepts("I3", "I4", "N3")
def test_what_was_superseded_is_not_believed_again_where_the_marker_goes(core: Lifecycle, fresh: Snapshot) -> None:
    superseded = run(core, fresh, seen(FIRST), seen(FORGOTTEN_SECOND)).snapshot
    assert run(core, superseded, seen(FORGOTTEN)).snapshot.os_update == FORGOTTEN
    # Nor is it named as what reboots are held off for.
    lost = run(core, superseded, OsUpdateLost(3.0)).snapshot
    assert inhibition(lost) == inhibition(superseded)
    assert "(not known)" in inhibition(lost)


@pytest.mark.accepts("N3")
@pytest.mark.parametrize("heard", [NONE, SECOND, replace(SECOND, version=NEWER)])
def test_what_gathering_was_told_itself_is_newer_than_what_was_heard(fresh: Snapshot, heard: OsUpdate) -> None:
    core = Lifecycle(load_chart(), BOOTSTRAP)
    target = replace(TARGET, next_pending=True, installation="3")
    plan = Plan(target, NEW, "17.03", resolved=True)
    gathered = Gathered(2.0, target, BEFORE, asked=True)
    step = run(
        core, fresh, seen(heard), gathered, Resolved(3.0, plan), Fetched(4.0), Placed(5.0), Compared(6.0, BEFORE)
    )
    assert step.snapshot.state == "reboot-pending"
    assert step.snapshot.plan == plan
    (again,) = run(core, step.snapshot, Drifted(7.0, replace(BEFORE, intact=False))).effects
    assert again == Gather(plan, known=OsUpdate(NEW, True, "3"))


def test_a_plan_follows_to_a_new_installation_of_its_version(core: Lifecycle, fresh: Snapshot) -> None:
    plan = replace(PLAN, target=replace(TARGET, next_pending=True, installation="1"))
    planned = replace(fresh, plan=plan, planned_in="boot-1", state="reboot-pending")
    again = run(core, planned, seen(SECOND)).snapshot
    assert again.state == "reboot-pending"
    assert again.target is not None
    assert again.target.installation == again.heard_installation == "2"


def test_a_boot_ends_what_was_heard(core: Lifecycle, fresh: Snapshot) -> None:
    heard = run(core, fresh, seen(INSTALLED), Booted(2.0, "boot-2")).snapshot
    assert recorded_update(heard) is None
    assert run(core, heard, seen(FORGOTTEN)).snapshot.os_update == FORGOTTEN
