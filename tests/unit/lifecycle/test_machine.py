"""The core: each step follows from a snapshot and an event alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from torcxd.charts import load_chart
from torcxd.errors import Kind
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.effects import Compare, Effect, End, Fetch, Gather, Place, Publish, Reboot, RetryAt, VerifyBoot
from torcxd.lifecycle.events import (
    BootVerified,
    Compared,
    Drifted,
    Event,
    Failed,
    Fetched,
    Gathered,
    OsUpdateSeen,
    Placed,
    Published,
    RebootRequested,
    Resolved,
    RetryDue,
    StagingLost,
    Started,
    Waiting,
)
from torcxd.lifecycle.facts import Image, OsUpdate, Plan, Running, Target
from torcxd.lifecycle.guards import MOST_BOOTS
from torcxd.lifecycle.machine import IllegalEvent, Lifecycle, Policy, Step
from torcxd.lifecycle.snapshot import Snapshot

BOOTSTRAP = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=600)
DAEMON = Policy(ends_when_published=False, ends_on_permanent=False, retry_for=None)
OLD, NEW = "1520.8.0", "1576.4.0"
TARGET = Target("amd64-usr", OLD, NEW, "v1.8.4+coreos.0", "the API server", ("17.03", "1.12"), "a ConfigMap")
UNRESOLVED = Plan(TARGET, NEW)
DIGEST = Digest("sha512", "ab" * 64)
PLAN = Plan(TARGET, NEW, "17.03", (Image(NEW, "docker", "17.03", DIGEST, ("https://x/y",)),), resolved=True)
BEFORE = Running(OLD, "1.12", intact=True)
AFTER = Running(NEW, "17.03", intact=True)


def run(core: Lifecycle, snapshot: Snapshot, events: Iterable[Event]) -> Step:
    step = Step(snapshot, None, ())
    for each in events:
        step = core.step(step.snapshot, each)
    return step


@pytest.fixture
def core() -> Lifecycle:
    return Lifecycle(load_chart(), BOOTSTRAP)


def first(core: Lifecycle) -> Snapshot:
    return core.start(None, Started(0, "boot-1")).snapshot


def failed(at: float, kind: Kind = Kind.TRANSIENT, exit_code: int = 75) -> Failed:
    return Failed(at, message="no route", hint="", kind=kind, exit_code=exit_code, jitter=0.5)


TO_REBOOT: tuple[Event, ...] = (
    Gathered(1, TARGET, BEFORE),
    Resolved(2, PLAN),
    Fetched(3),
    Placed(4),
    Compared(5, BEFORE),
)


@pytest.mark.accepts("A2")
def test_the_way_of_a_node_with_an_os_update(core: Lifecycle) -> None:
    step = core.start(None, Started(0, "boot-1"))
    assert (step.snapshot.state, step.effects) == ("gathering", (Gather(None),))
    expected: list[tuple[str, Effect | None]] = [
        ("fetching", Fetch(UNRESOLVED)),
        ("fetching", None),
        ("verified", Place(PLAN, clean_docker=True)),
        ("staged", Compare(PLAN)),
        ("reboot-pending", Reboot(PLAN, clean_docker=True, accepted=False)),
    ]
    for event, (state, effect) in zip(TO_REBOOT, expected, strict=True):
        step = core.step(step.snapshot, event)
        assert (step.snapshot.state, step.effects) == (state, (effect,) if effect else ())
    step = core.step(step.snapshot, RebootRequested(6, "login1"))
    assert step.snapshot.state == "reboot-pending"
    assert not step.effects
    step = core.start(step.snapshot, Started(100, "boot-2"))
    assert (step.snapshot.state, step.effects) == ("gathering", (VerifyBoot(PLAN),))
    step = core.step(step.snapshot, BootVerified(101, AFTER))
    assert (step.snapshot.state, step.effects) == ("done", (Publish(PLAN),))
    step = core.step(step.snapshot, Published(102))
    assert step.effects == (End(0),)
    assert step.snapshot.published_at == 102


@pytest.mark.accepts("A3")
@pytest.mark.parametrize(
    ("running", "state", "clean"),
    [
        (Running(NEW, "17.03", intact=True), "done", None),
        (Running(OLD, "17.03", intact=True), "reboot-pending", False),
        (Running(NEW, "1.12", intact=True), "reboot-pending", True),
        (Running(NEW, None, intact=True), "reboot-pending", True),
    ],
)
def test_only_another_os_or_another_docker_needs_a_reboot(
    core: Lifecycle, running: Running, state: str, clean: bool | None
) -> None:
    step = run(core, first(core), [*TO_REBOOT[:-1], Compared(5, running)])
    assert step.snapshot.state == state
    assert (step.snapshot.reboot.clean_docker if step.snapshot.reboot else None) is clean


@pytest.mark.accepts("I6")
def test_docker_data_is_cleaned_exactly_when_docker_changes(core: Lifecycle) -> None:
    for docker in ("17.03", "1.12"):
        seen = Running(OLD, docker, intact=True)
        step = run(core, first(core), [Gathered(1, TARGET, seen), *TO_REBOOT[1:-1], Compared(5, seen)])
        effect = step.effects[0]
        assert isinstance(effect, Reboot)
        assert effect.clean_docker == (docker != "17.03")


@pytest.mark.accepts("I6")
def test_a_docker_that_was_not_applied_has_not_changed(core: Lifecycle) -> None:
    """What lies in its data directory is what the Docker seen last has put there."""
    unsealed = Running(NEW, None, intact=True)
    for seen, cleaned in (("17.03", False), ("1.12", True), (None, False)):
        before = Running(OLD, seen, intact=True)
        step = run(core, first(core), [Gathered(1, TARGET, before), *TO_REBOOT[1:-1], Compared(5, unsealed)])
        effect = step.effects[0]
        assert isinstance(effect, Reboot)
        assert effect.clean_docker is cleaned


@pytest.mark.accepts("A5")
def test_without_torcx_setup_nothing_is_fetched_and_an_os_update_still_reboots(core: Lifecycle) -> None:
    target = replace(TARGET, stage=False)
    step = run(core, first(core), [Gathered(1, target, BEFORE)])
    assert step.snapshot.state == "staged"
    plan = step.snapshot.plan
    assert plan is not None
    assert (plan.resolved, plan.docker, plan.images) == (True, None, ())
    assert core.step(step.snapshot, Compared(2, BEFORE)).snapshot.state == "reboot-pending"
    assert core.step(step.snapshot, Compared(2, Running(NEW, None, intact=True))).snapshot.state == "done"


@pytest.mark.accepts("A36")
def test_an_os_before_the_first_with_addons_stages_nothing(core: Lifecycle) -> None:
    target = replace(TARGET, current_os="1465.8.0", next_os=None)
    step = run(core, first(core), [Gathered(1, target, Running("1465.8.0", None, intact=False))])
    assert step.snapshot.state == "staged"


@pytest.mark.accepts("N2")
@pytest.mark.parametrize("count", range(len(TO_REBOOT) + 1))
def test_a_restart_in_the_same_boot_resumes_each_state(core: Lifecycle, count: int) -> None:
    before = run(core, first(core), TO_REBOOT[:count]).snapshot
    resumed = core.start(before, Started(50, "boot-1"))
    assert resumed.snapshot == before
    assert resumed.move is None
    assert len(resumed.effects) == 1


@pytest.mark.accepts("I7")
def test_a_reboot_request_accepted_in_this_boot_is_remembered_over_a_restart(core: Lifecycle) -> None:
    snapshot = run(core, first(core), [*TO_REBOOT, RebootRequested(6, "login1")]).snapshot
    assert core.start(snapshot, Started(7, "boot-1")).effects == (Reboot(PLAN, clean_docker=True, accepted=True),)
    # Lost: the failure makes the next attempt ask again.
    lost = run(core, snapshot, [failed(600), RetryDue(601)])
    assert lost.effects == (Reboot(PLAN, clean_docker=True, accepted=False),)


@pytest.mark.accepts("I7", "N4")
def test_an_os_that_is_rolled_back_again_and_again_is_given_up_and_the_node_still_comes_up(core: Lifecycle) -> None:
    snapshot = first(core)
    for boot in range(MOST_BOOTS):
        step = run(core, snapshot, TO_REBOOT)
        assert step.snapshot.state == "reboot-pending"
        step = core.start(step.snapshot, Started(100, f"boot-{boot + 2}"))
        assert isinstance(step.effects[0], VerifyBoot)
        step = core.step(step.snapshot, BootVerified(101, BEFORE))
        assert step.snapshot.state == "gathering"
        assert isinstance(step.effects[0], Gather)
        snapshot = step.snapshot
    step = run(core, snapshot, [Gathered(200, TARGET, BEFORE)])
    plan = step.snapshot.plan
    assert plan is not None
    assert plan.boot_os == OLD
    assert plan.target.next_os == NEW


@pytest.mark.accepts("I7")
def test_a_docker_that_no_boot_brings_ends_the_reboots(core: Lifecycle) -> None:
    unsealed = Running(NEW, None, intact=True, detail="an image was missing")
    snapshot = first(core)
    for boot in range(MOST_BOOTS):
        step = core.start(run(core, snapshot, TO_REBOOT).snapshot, Started(100, f"boot-{boot + 2}"))
        snapshot = core.step(step.snapshot, BootVerified(101, unsealed)).snapshot
    step = run(core, snapshot, [*TO_REBOOT[:-1], Compared(300, unsealed)])
    assert step.snapshot.state == "staged"
    end = step.effects[0]
    assert isinstance(end, End)
    assert end.exit_code == 75
    assert "an image was missing" in end.message


def test_a_boot_that_brings_the_set_forgets_earlier_failed_ones(core: Lifecycle) -> None:
    step = core.start(run(core, first(core), TO_REBOOT).snapshot, Started(100, "boot-2"))
    rolled_back = core.step(step.snapshot, BootVerified(101, BEFORE)).snapshot
    assert rolled_back.boots == {f"os {NEW}": 1}
    step = core.start(run(core, rolled_back, TO_REBOOT).snapshot, Started(200, "boot-3"))
    assert core.step(step.snapshot, BootVerified(201, AFTER)).snapshot.boots == {}


def test_a_crash_while_a_boot_is_verified_verifies_again(core: Lifecycle) -> None:
    step = core.start(run(core, first(core), TO_REBOOT).snapshot, Started(100, "boot-2"))
    for boot_id in ("boot-2", "boot-3"):
        step = core.start(step.snapshot, Started(110, boot_id))
        assert step.effects == (VerifyBoot(PLAN),)


def test_a_boot_in_the_middle_of_the_work_gathers_again_and_keeps_the_plan_to_compare(core: Lifecycle) -> None:
    snapshot = run(core, first(core), TO_REBOOT[:3]).snapshot
    step = core.start(snapshot, Started(100, "boot-2"))
    assert (step.snapshot.state, step.effects) == ("gathering", (Gather(PLAN),))
    # The same target and everything in place: the recorded set is published, nothing is fetched.
    step = core.step(step.snapshot, Gathered(101, TARGET, AFTER))
    assert (step.snapshot.state, step.effects) == ("done", (Publish(PLAN),))


@pytest.mark.accepts("N8")
@pytest.mark.parametrize("count", range(2, len(TO_REBOOT) + 1))
def test_a_newer_target_supersedes_from_every_state(core: Lifecycle, count: int) -> None:
    snapshot = run(core, first(core), TO_REBOOT[:count]).snapshot
    step = core.step(snapshot, OsUpdateSeen(20, OsUpdate("1632.2.0", pending=True)))
    assert step.snapshot.state == "gathering"
    step = core.step(step.snapshot, Gathered(21, replace(TARGET, next_os="1632.2.0"), BEFORE))
    assert step.snapshot.plan == Plan(replace(TARGET, next_os="1632.2.0"), "1632.2.0")


def test_failures_stay_in_their_state_count_up_and_back_off(core: Lifecycle) -> None:
    snapshot = run(core, first(core), TO_REBOOT[:1]).snapshot
    pauses = []
    for attempt in range(1, 12):
        step = core.step(snapshot, failed(1000))
        assert step.snapshot.state == "fetching"
        assert step.snapshot.failure is not None
        assert step.snapshot.failure.attempts == attempt
        assert step.snapshot.next_try is not None
        assert step.effects == (RetryAt(step.snapshot.next_try),)
        pauses.append(step.snapshot.next_try - 1000)
        due = core.step(step.snapshot, RetryDue(step.snapshot.next_try))
        assert due.effects == (Fetch(UNRESOLVED),)
        snapshot = due.snapshot
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == pauses[-1] == 120


def test_success_forgets_the_failures(core: Lifecycle) -> None:
    snapshot = run(core, first(core), [*TO_REBOOT[:2], failed(3), RetryDue(4), Fetched(5)]).snapshot
    assert (snapshot.failure, snapshot.next_try) == (None, None)


@pytest.mark.parametrize(("kind", "exit_code"), [(Kind.PERMANENT, 65), (Kind.CONFIGURATION, 78)])
def test_what_is_fatal_ends_the_bootstrap_with_its_code(core: Lifecycle, kind: Kind, exit_code: int) -> None:
    step = core.step(first(core), failed(1, kind, exit_code))
    assert step.effects == (End(exit_code, "no route", ""),)


def test_transient_failures_end_the_bootstrap_only_after_the_allowed_time(core: Lifecycle) -> None:
    step = core.step(first(core), failed(1000))
    for at in (1100.0, 1599.0):
        step = core.step(step.snapshot, failed(at))
        assert isinstance(step.effects[0], RetryAt)
    step = core.step(step.snapshot, failed(1600))
    assert step.effects == (End(75, "no route", ""),)


def test_the_daemon_ends_for_a_wrong_configuration_only() -> None:
    core = Lifecycle(load_chart(), DAEMON)
    assert isinstance(core.step(first(core), failed(1, Kind.PERMANENT, 65)).effects[0], RetryAt)
    assert isinstance(core.step(first(core), failed(1, Kind.CONFIGURATION, 78)).effects[0], End)


def test_a_reason_to_wait_is_remembered_and_goes_with_the_state(core: Lifecycle) -> None:
    snapshot = core.step(first(core), Waiting(1, "update_engine: DOWNLOADING", 60.0)).snapshot
    assert (snapshot.waiting_for, snapshot.waiting_until) == ("update_engine: DOWNLOADING", 60.0)
    assert core.step(snapshot, Gathered(2, TARGET, BEFORE)).snapshot.waiting_for == ""


def test_a_node_that_drifted_before_publishing_gathers_again(core: Lifecycle) -> None:
    snapshot = run(core, first(core), [*TO_REBOOT[:-1], Compared(5, AFTER)]).snapshot
    step = core.step(snapshot, Drifted(6, replace(AFTER, intact=False)))
    assert (step.snapshot.state, step.effects) == ("gathering", (Gather(PLAN, known=OsUpdate(NEW, pending=True)),))


def test_an_event_without_a_row_is_a_defect_and_says_where(core: Lifecycle) -> None:
    with pytest.raises(IllegalEvent, match="fetched in gathering"):
        core.step(first(core), Fetched(1))


@pytest.mark.accepts("I1")
def test_nothing_reaches_done_unless_the_running_system_is_the_plans(core: Lifecycle) -> None:
    for running in (BEFORE, replace(AFTER, intact=False), replace(AFTER, docker=None), replace(AFTER, os_version=OLD)):
        step = core.start(run(core, first(core), TO_REBOOT).snapshot, Started(100, "boot-2"))
        assert core.step(step.snapshot, BootVerified(101, running)).snapshot.state == "gathering"


@pytest.mark.accepts("N2")
def test_staged_images_that_are_gone_are_fetched_again(core: Lifecycle) -> None:
    step = run(core, first(core), [*TO_REBOOT[:3], StagingLost(4)])
    assert (step.snapshot.state, step.effects) == ("fetching", (Fetch(PLAN),))


@pytest.mark.accepts("I4", "N3")
def test_a_next_version_on_record_counts_in_its_own_boot_only(core: Lifecycle) -> None:
    snapshot = run(core, first(core), TO_REBOOT[:1]).snapshot
    drifted = run(core, first(core), [*TO_REBOOT[:-1], Compared(5, AFTER), Drifted(6, BEFORE)]).snapshot
    assert core.start(drifted, Started(7, "boot-1")).effects == (Gather(PLAN, known=OsUpdate(NEW, pending=True)),)
    assert core.start(snapshot, Started(100, "boot-2")).effects == (Gather(UNRESOLVED, known=None),)
