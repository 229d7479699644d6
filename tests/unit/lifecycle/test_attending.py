"""The core in a process that serves the update operator: daemon and hook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from torcxd.charts import load_chart
from torcxd.errors import Kind
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.duties import waits_for
from torcxd.lifecycle.effects import (
    Attend,
    Compare,
    End,
    Fetch,
    Gather,
    Reboot,
    RetryAt,
    VerifyBoot,
)
from torcxd.lifecycle.events import (
    Attended,
    BootVerified,
    ClusterChanged,
    Compared,
    Drifted,
    Event,
    Failed,
    Fetched,
    Gathered,
    HookAnswered,
    HookAsked,
    OsUpdateLost,
    OsUpdateSeen,
    Placed,
    Resolved,
    RetryDue,
    Started,
)
from torcxd.lifecycle.facts import Image, OsUpdate, Plan, Running, Target
from torcxd.lifecycle.guards import MOST_BOOTS
from torcxd.lifecycle.machine import Lifecycle, Policy, Step
from torcxd.lifecycle.mappings import Mappings
from torcxd.lifecycle.preparedness import inhibition, withholding
from torcxd.lifecycle.snapshot import Snapshot

DAEMON = Policy(ends_when_published=False, ends_on_permanent=False, retry_for=None, attends=True)
HOOK = replace(DAEMON, ends_when_answered=True)
OLD, NEW, NEWER = "1520.8.0", "1576.4.0", "1632.2.0"
NONE = OsUpdate(None, pending=False)
COMING = OsUpdate(NEW, pending=False)
PENDING = OsUpdate(NEW, pending=True)
FORGOTTEN = OsUpdate(None, pending=True)
TARGET = Target("amd64-usr", OLD, NEW, "v1.8.4", "the API server", ("17.03",), "a ConfigMap", next_pending=False)
PENDING_TARGET = replace(TARGET, next_pending=True)
DIGEST = Digest("sha512", "ab" * 64)
IMAGE = Image(NEW, "docker", "17.03", DIGEST, ("https://x/y",))
PLAN = Plan(TARGET, NEW, "17.03", (IMAGE,), resolved=True)
QUIET_TARGET = replace(TARGET, next_os=None, next_pending=True)
QUIET_PLAN = Plan(QUIET_TARGET, OLD, "17.03", (), resolved=True)
BEFORE = Running(OLD, "17.03", intact=True)
AFTER = Running(NEW, "17.03", intact=True)


@pytest.fixture
def core() -> Lifecycle:
    return Lifecycle(load_chart(), DAEMON)


def run(core: Lifecycle, snapshot: Snapshot, events: Iterable[Event]) -> Step:
    step = Step(snapshot, None, ())
    for each in events:
        step = core.step(step.snapshot, each)
    return step


def stage(plan: Plan, running: Running = BEFORE) -> list[Event]:
    target = plan.target
    return [Gathered(1, target, running), Resolved(2, plan), Fetched(3), Placed(4), Compared(5, running)]


def quiet(core: Lifecycle) -> Snapshot:
    """A node on which everything is in place, and nothing is coming."""
    fresh = core.start(None, Started(0, "boot-1")).snapshot
    step = run(core, fresh, [OsUpdateSeen(1, NONE), *stage(QUIET_PLAN)])
    assert (step.snapshot.state, step.effects) == ("done", (Attend(QUIET_PLAN, answer=False),))
    return step.snapshot


def ahead(core: Lifecycle) -> Step:
    """A node that has staged the addons of an update which is still being installed."""
    return run(core, quiet(core), [OsUpdateSeen(10, COMING), *stage(PLAN)])


def failed(at: float, message: str = "the bucket is away") -> Failed:
    return Failed(at, message=message, hint="", kind=Kind.PERMANENT, exit_code=65, jitter=0.5)


@pytest.mark.accepts("I4")
def test_nothing_begins_before_update_engine_has_told_what_it_does(core: Lifecycle) -> None:
    step = core.start(None, Started(0, "boot-1"))
    assert (step.snapshot.state, step.effects) == ("gathering", ())
    # Every wait has a reason, from the first moment on, after a restart and whenever nothing goes on.
    awaited = "update_engine to tell which OS version boots next"
    assert step.snapshot.waiting_for == awaited
    resumed = core.start(replace(step.snapshot, waiting_for="the cluster", waiting_until=5.0), Started(0, "boot-1"))
    assert (resumed.snapshot.waiting_for, resumed.snapshot.waiting_until) == (awaited, None)
    lost = run(core, step.snapshot, [OsUpdateSeen(1, NONE), failed(2), OsUpdateLost(3), RetryDue(4)])
    assert (lost.effects, lost.snapshot.waiting_for) == ((), awaited)
    step = core.step(step.snapshot, OsUpdateSeen(1, NONE))
    assert (step.snapshot.state, step.effects) == ("gathering", (Gather(None, NONE),))


def test_an_update_is_staged_as_soon_as_it_is_announced_and_waits_for_its_end(core: Lifecycle) -> None:
    announced = core.step(quiet(core), OsUpdateSeen(10, COMING))
    assert announced.effects == (Gather(QUIET_PLAN, COMING),)
    step = ahead(core)
    assert step.snapshot.state == "staged"
    # Should somebody boot the node now, Docker changes already where the profile pins another one.
    assert step.effects == (Attend(PLAN, answer=False),)
    assert "1576.4.0 to be installed" in step.snapshot.waiting_for
    assert inhibition(step.snapshot) == ""
    installed = core.step(step.snapshot, OsUpdateSeen(20, PENDING))
    assert installed.snapshot.state == "staged"
    assert isinstance(installed.effects[0], Compare)
    pending = core.step(installed.snapshot, Compared(21, BEFORE))
    assert pending.snapshot.state == "reboot-pending"
    # It never asks for the reboot itself.
    assert [type(each) for each in pending.effects] == [Attend]
    assert not any(isinstance(each, Reboot) for each in pending.effects)


@pytest.mark.accepts("I3", "A28")
@pytest.mark.parametrize("count", range(6))
def test_the_operator_is_answered_only_where_the_set_is_complete(core: Lifecycle, count: int) -> None:
    """Asked in the middle of the work, it is told why it waits; asked at its end, it is answered."""
    events = [OsUpdateSeen(10, PENDING), *stage(replace(PLAN, target=replace(TARGET, next_pending=True)))]
    step = run(core, quiet(core), events[:count])
    asked = core.step(step.snapshot, HookAsked(20, asked=True))
    answers = [each.answer for each in asked.effects if isinstance(each, Attend)]
    # Before the update was seen, the node is prepared for what boots next: the same again.
    assert answers == ([True] if count == 0 else [])
    finished = run(core, asked.snapshot, events[count:])
    assert finished.snapshot.state == "reboot-pending"
    assert [each.answer for each in finished.effects if isinstance(each, Attend)] == [True]
    answered = core.step(finished.snapshot, HookAnswered(30))
    assert (answered.snapshot.hook_answered, answered.snapshot.hook_answered_at) == (True, 30)
    seen = core.step(answered.snapshot, HookAsked(31, asked=True, answered=True))
    assert seen.effects == ()


@pytest.mark.accepts("I3")
def test_a_request_that_is_withdrawn_is_not_answered(core: Lifecycle) -> None:
    snapshot = core.step(quiet(core), HookAsked(10, asked=True)).snapshot
    step = core.step(snapshot, HookAsked(11, asked=False))
    assert step.effects == (Attend(QUIET_PLAN, answer=False),)


@pytest.mark.accepts("A28", "I3")
def test_while_it_cannot_be_prepared_the_operator_is_told_why_and_never_answered(core: Lifecycle) -> None:
    step = run(core, quiet(core), [OsUpdateSeen(10, PENDING), HookAsked(11, asked=True)])
    step = run(core, step.snapshot, [Gathered(12, TARGET, BEFORE), failed(13)])
    retry = step.snapshot.next_try
    assert retry is not None
    assert step.effects == (RetryAt(retry),)
    assert withholding(step.snapshot) == "fetching failed: the bucket is away"
    # The back-off goes on.
    again = core.step(step.snapshot, HookAsked(14, asked=True))
    assert again.effects == ()
    assert [type(each) for each in core.step(again.snapshot, RetryDue(15)).effects] == [Fetch]


@pytest.mark.accepts("A28")
@pytest.mark.parametrize("count", range(1, 5))
def test_asked_in_the_middle_of_the_work_it_has_a_reason_to_tell_and_goes_on(core: Lifecycle, count: int) -> None:
    events = [OsUpdateSeen(10, PENDING), *stage(replace(PLAN, target=PENDING_TARGET))]
    step = run(core, quiet(core), events[:count])
    assert withholding(step.snapshot) == ""
    asked = core.step(step.snapshot, HookAsked(20, asked=True))
    assert (asked.move, asked.effects) == (None, ())
    assert withholding(asked.snapshot) == f"the addons for OS version {NEW} are not staged yet"
    withdrawn = core.step(asked.snapshot, HookAsked(21, asked=False))
    assert (withdrawn.move, withdrawn.effects) == (None, ())
    assert withholding(withdrawn.snapshot) == ""


def test_an_answer_that_fails_is_tried_again(core: Lifecycle) -> None:
    step = run(core, quiet(core), [HookAsked(10, asked=True), failed(11, "the API server is away")])
    assert [type(each) for each in step.effects] == [RetryAt]
    assert core.step(step.snapshot, RetryDue(12)).effects == (Attend(QUIET_PLAN, answer=True),)


@pytest.mark.accepts("I4", "N3")
def test_a_pending_update_of_unknown_version_never_leads_to_an_answer(core: Lifecycle) -> None:
    step = run(core, quiet(core), [OsUpdateSeen(10, FORGOTTEN)])
    assert (step.snapshot.state, step.effects) == ("gathering", ())
    asked = core.step(step.snapshot, HookAsked(11, asked=True))
    assert asked.effects == ()
    assert "does not say which version" in withholding(asked.snapshot)
    assert "not known" in inhibition(asked.snapshot)


@pytest.mark.accepts("N3")
def test_a_version_that_update_engine_forgot_is_taken_from_the_record(core: Lifecycle) -> None:
    step = run(core, ahead(core).snapshot, [OsUpdateSeen(20, PENDING), Compared(21, BEFORE)])
    # torcxd and update_engine were restarted: the one knows nothing of update_engine, the other not the version.
    resumed = core.start(step.snapshot, Started(30, "boot-1"))
    assert resumed.snapshot.state == "reboot-pending"
    assert core.step(resumed.snapshot, HookAsked(31, asked=True)).snapshot.os_update is None
    seen = run(core, resumed.snapshot, [HookAsked(31, asked=True), OsUpdateSeen(32, FORGOTTEN)])
    plan = seen.snapshot.plan
    assert plan is not None
    assert plan.target.next_os == NEW
    assert seen.snapshot.os_update == PENDING


@pytest.mark.accepts("I3")
def test_after_a_restart_nobody_is_answered_before_update_engine_was_heard(core: Lifecycle) -> None:
    resumed = core.start(quiet(core), Started(30, "boot-1"))
    asked = core.step(resumed.snapshot, HookAsked(31, asked=True))
    assert [each.answer for each in asked.effects if isinstance(each, Attend)] == [False]
    heard = core.step(asked.snapshot, OsUpdateSeen(32, NONE))
    # What is heard is what the plan is for: nothing is gathered anew, and nothing depends on the API server's answer.
    assert heard.snapshot.state == "done"
    assert heard.effects == (Attend(QUIET_PLAN, answer=True),)


@pytest.mark.accepts("N8")
def test_a_newer_version_or_a_withdrawn_update_supersedes(core: Lifecycle) -> None:
    for seen in (OsUpdate(NEWER, pending=False), OsUpdate(NEWER, pending=True), NONE):
        step = core.step(ahead(core).snapshot, OsUpdateSeen(20, seen))
        assert step.snapshot.state == "gathering"
        assert step.effects == (Gather(PLAN, seen),)


@pytest.mark.accepts("A30")
def test_a_cluster_that_moved_is_planned_for_anew(core: Lifecycle) -> None:
    snapshot = quiet(core)
    assert core.step(snapshot, ClusterChanged(10, "v1.8.4")).move is None
    same = Mappings("a ConfigMap", {"1.8": {"docker": ("17.03",)}})
    assert core.step(snapshot, ClusterChanged(10, None, same)).move is None
    other = Mappings("a ConfigMap", {"1.8": {"docker": ("18.06",)}})
    bare = Mappings("a ConfigMap", {"1.9": {"docker": ("17.03",)}})
    for event in (
        ClusterChanged(10, "v1.9.1"),
        ClusterChanged(10, None),
        ClusterChanged(10, None, other),
        ClusterChanged(10, None, bare),
    ):
        assert core.step(snapshot, event).snapshot.state == "gathering"


@pytest.mark.accepts("N1")
def test_the_reboot_is_inhibited_from_pending_until_the_set_is_complete(core: Lifecycle) -> None:
    held = []
    step = core.step(quiet(core), OsUpdateSeen(10, PENDING))
    held.append(bool(inhibition(step.snapshot)))
    for event in stage(replace(PLAN, target=replace(TARGET, next_pending=True))):
        step = core.step(step.snapshot, event)
        held.append(bool(inhibition(step.snapshot)))
    assert held == [True, True, True, True, False, False]
    assert inhibition(quiet(core)) == ""
    # A newer version makes the staged set worthless again.
    assert inhibition(core.step(step.snapshot, OsUpdateSeen(20, OsUpdate(NEWER, pending=True))).snapshot)


@pytest.mark.accepts("N1")
def test_the_reboot_stays_inhibited_while_update_engine_is_not_heard(core: Lifecycle) -> None:
    """Its loss, say with the bus, makes nothing safe; nor does a restart of torcxd."""
    events = [OsUpdateSeen(10, PENDING), *stage(replace(PLAN, target=PENDING_TARGET))]
    fetching = run(core, quiet(core), events[:2]).snapshot
    lost = core.step(fetching, OsUpdateLost(20)).snapshot
    assert inhibition(lost) == f"the addons for OS version {NEW} are not staged yet"
    assert inhibition(core.start(fetching, Started(21, "boot-1")).snapshot) == inhibition(lost)
    assert inhibition(core.start(fetching, Started(21, "boot-2")).snapshot) == ""
    staged = run(core, lost, events[2:]).snapshot
    assert (staged.state, inhibition(staged)) == ("reboot-pending", "")
    assert inhibition(core.step(quiet(core), OsUpdateLost(10)).snapshot) == ""


@pytest.mark.accepts("N1")
@pytest.mark.parametrize(("pending", "named"), [(PENDING, NEW), (FORGOTTEN, "(not known)")])
def test_the_reboot_stays_inhibited_for_an_update_that_was_heard_and_is_not_gathered_yet(
    core: Lifecycle, pending: OsUpdate, named: str
) -> None:
    """The plan is the one before, and knows nothing of it."""
    reason = f"the addons for OS version {named} are not staged yet"
    heard = core.step(quiet(core), OsUpdateSeen(10, pending)).snapshot
    assert inhibition(heard) == reason
    lost = core.step(heard, OsUpdateLost(11)).snapshot
    assert inhibition(lost) == reason
    assert inhibition(core.start(lost, Started(12, "boot-1")).snapshot) == reason
    assert inhibition(core.start(lost, Started(12, "boot-2")).snapshot) == ""
    assert inhibition(core.step(lost, OsUpdateSeen(12, NONE)).snapshot) == ""
    withdrawn = run(core, heard, [OsUpdateSeen(11, NONE), OsUpdateLost(12)])
    assert inhibition(withdrawn.snapshot) == ""


@pytest.mark.accepts("N4", "I7")
def test_a_version_that_is_rolled_back_again_and_again_is_not_answered_for(core: Lifecycle) -> None:
    pending_plan = replace(PLAN, target=replace(TARGET, next_pending=True))
    snapshot = quiet(core)
    for boot in range(MOST_BOOTS):
        step = run(core, snapshot, [OsUpdateSeen(10, PENDING), *stage(pending_plan)])
        assert step.snapshot.state == "reboot-pending"
        step = core.start(step.snapshot, Started(100, f"boot-{boot + 2}"))
        assert isinstance(step.effects[0], VerifyBoot)
        step = run(core, step.snapshot, [BootVerified(101, BEFORE), OsUpdateSeen(102, NONE), *stage(QUIET_PLAN)])
        assert step.snapshot.state == "done"
        snapshot = step.snapshot
    step = run(core, snapshot, [OsUpdateSeen(200, PENDING), HookAsked(201, asked=True)])
    given_up = replace(pending_plan, boot_os=OLD)
    step = run(core, step.snapshot, stage(given_up))
    assert step.snapshot.state == "done"
    assert step.effects == (Attend(given_up, answer=False),)
    assert withholding(step.snapshot) == f"OS version {NEW} was rolled back too often"


def test_a_boot_that_brought_the_set_is_done(core: Lifecycle) -> None:
    step = run(core, ahead(core).snapshot, [OsUpdateSeen(20, PENDING), Compared(21, BEFORE)])
    step = core.start(step.snapshot, Started(100, "boot-2"))
    step = core.step(step.snapshot, BootVerified(101, AFTER))
    assert step.snapshot.state == "done"


@pytest.mark.accepts("N3", "N4")
def test_what_update_engine_told_while_the_boot_was_verified_counts(core: Lifecycle) -> None:
    """update_engine may be heard before the boot is verified; the plan's own next version is the running one then."""
    step = run(core, ahead(core).snapshot, [OsUpdateSeen(20, PENDING), Compared(21, BEFORE)])
    step = core.start(step.snapshot, Started(100, "boot-2"))
    step = run(core, step.snapshot, [OsUpdateSeen(101, NONE), BootVerified(102, AFTER)])
    assert step.snapshot.state == "gathering"
    assert step.effects == (Gather(step.snapshot.plan, NONE),)


@pytest.mark.accepts("I4", "N3")
def test_a_version_that_was_recorded_in_an_earlier_boot_names_no_pending_update(core: Lifecycle) -> None:
    step = run(core, ahead(core).snapshot, [OsUpdateSeen(20, PENDING), Compared(21, BEFORE)])
    step = core.start(step.snapshot, Started(100, "boot-2"))
    step = run(core, step.snapshot, [BootVerified(101, AFTER), OsUpdateSeen(102, FORGOTTEN)])
    assert (step.snapshot.state, step.effects) == ("gathering", ())
    assert step.snapshot.os_update == FORGOTTEN


@pytest.mark.accepts("C20", "I6")
def test_where_the_staged_docker_is_another_its_data_is_cleaned_whenever_the_node_boots(core: Lifecycle) -> None:
    before = Running(OLD, "1.12", intact=True)
    step = run(core, quiet(core), [OsUpdateSeen(10, COMING), *stage(PLAN, before)])
    assert step.effects == (Attend(PLAN, answer=False, clean_docker=True),)


def test_an_operator_that_asks_before_the_os_update_is_installed_is_told_so(core: Lifecycle) -> None:
    step = core.step(ahead(core).snapshot, HookAsked(20, asked=True))
    assert withholding(step.snapshot) == "the OS update to 1576.4.0 is not installed yet"


def test_what_failed_at_serving_is_over_once_it_is_done(core: Lifecycle) -> None:
    step = run(core, quiet(core), [failed(10), RetryDue(11), Attended(12)])
    assert step.snapshot.failure is None
    assert step.effects == ()


def test_the_hook_ends_once_the_operator_is_answered() -> None:
    core = Lifecycle(load_chart(), HOOK)
    step = run(core, quiet(core), [HookAsked(10, asked=True), HookAnswered(11)])
    assert step.effects == (End(0),)


def test_an_answer_that_is_seen_on_the_node_before_it_is_reported_counts() -> None:
    core = Lifecycle(load_chart(), HOOK)
    asked = run(core, quiet(core), [HookAsked(10, asked=True)])
    step = core.step(asked.snapshot, HookAsked(11, asked=True, answered=True))
    assert step.effects == (End(0),)
    assert step.snapshot.hook_answered_at == 11
    # The daemon's effect goes on: it has an event to create.
    assert Lifecycle(load_chart(), DAEMON).step(asked.snapshot, HookAsked(11, asked=True, answered=True)).effects == ()


@pytest.mark.parametrize("answer_first", [True, False])
def test_a_hook_that_died_after_its_answer_ends_whatever_it_sees_first(answer_first: bool) -> None:
    core = Lifecycle(load_chart(), HOOK)
    before = run(core, quiet(core), [OsUpdateSeen(10, PENDING), *stage(replace(PLAN, target=PENDING_TARGET))]).snapshot
    assert before.state == "reboot-pending"
    anew = core.start(before, Started(20, before.boot_id))
    seen: list[Event] = [HookAsked(21, asked=True, answered=True), OsUpdateSeen(21, PENDING)]
    first, second = seen if answer_first else reversed(seen)
    step = core.step(anew.snapshot, first)
    assert not any(isinstance(each, End) for each in step.effects)
    assert core.step(step.snapshot, second).effects == (End(0),)


@pytest.mark.accepts("I3")
def test_while_update_engine_is_not_heard_nobody_is_answered(core: Lifecycle) -> None:
    lost = core.step(quiet(core), OsUpdateLost(10))
    assert lost.snapshot.state == "done"
    asked = core.step(lost.snapshot, HookAsked(11, asked=True))
    assert withholding(asked.snapshot) == "update_engine has not told yet which OS version boots next"
    assert [each.answer for each in asked.effects if isinstance(each, Attend)] == [False]
    back = core.step(asked.snapshot, OsUpdateSeen(12, NONE))
    assert back.effects == (Attend(QUIET_PLAN, answer=True),)
    # It came back with news.
    news = core.step(asked.snapshot, OsUpdateSeen(12, PENDING))
    assert news.snapshot.state == "gathering"


@pytest.mark.accepts("I3", "A28")
def test_an_answer_that_was_given_too_early_is_taken_back(core: Lifecycle) -> None:
    step = run(core, quiet(core), [OsUpdateSeen(10, PENDING), HookAsked(11, asked=True, answered=True), failed(12)])
    assert [type(each) for each in step.effects] == [RetryAt]
    assert withholding(step.snapshot) == "gathering failed: the bucket is away"


def test_a_hook_without_an_annotation_ends_once_the_node_is_prepared() -> None:
    core = Lifecycle(load_chart(), replace(HOOK, ends_when_prepared=True))
    step = core.start(None, Started(0, "boot-1"))
    step = run(core, step.snapshot, [OsUpdateSeen(1, PENDING), *stage(replace(PLAN, target=PENDING_TARGET))])
    assert (step.snapshot.state, step.effects) == ("reboot-pending", (End(0),))


@pytest.mark.accepts("I3")
@pytest.mark.parametrize("pending", [True, False])
def test_a_set_that_was_damaged_is_made_whole_before_anybody_is_answered(core: Lifecycle, pending: bool) -> None:
    snapshot = quiet(core)
    if pending:
        snapshot = run(
            core, snapshot, [OsUpdateSeen(10, PENDING), *stage(replace(PLAN, target=PENDING_TARGET))]
        ).snapshot
    step = run(core, snapshot, [HookAsked(20, asked=True), Drifted(21, replace(BEFORE, intact=False))])
    assert step.snapshot.state == "gathering"
    assert not any(isinstance(each, Attend) for each in step.effects)


def test_a_set_that_is_damaged_before_its_update_is_installed_is_made_whole(core: Lifecycle) -> None:
    step = ahead(core)
    assert (step.snapshot.state, step.effects) == ("staged", (Attend(PLAN, answer=False),))
    step = core.step(step.snapshot, Drifted(21, replace(BEFORE, intact=False)))
    assert (step.snapshot.state, step.effects) == ("gathering", (Gather(PLAN, COMING),))


@pytest.mark.accepts("N5")
def test_who_is_to_reboot_the_node_depends_on_the_os_update() -> None:
    pending = Snapshot("reboot-pending", 1.0, "b", plan=replace(PLAN, target=PENDING_TARGET))
    assert waits_for(pending) == "the update operator to reboot the node"
    # Another Docker alone: an operator does not ask for that.
    alone = replace(PLAN, target=replace(TARGET, next_os=None, next_pending=True), boot_os=OLD)
    assert waits_for(replace(pending, plan=alone)).startswith("somebody to reboot the node")
