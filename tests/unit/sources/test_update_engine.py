"""Following update_engine through each of its traps, on the virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from tests.unit.sources.conftest import FakeEngine
from torcxd.dbus.errors import ACCESS_DENIED, DISCONNECTED, DBusError
from torcxd.dbus.update_engine import Operation, Status
from torcxd.errors import Kind, TorcxdError, TransientError
from torcxd.sources.update_engine import IDLE_GRACE, RESTARTS_LIMIT, UpdateOutcome, follow_update

NEW = "1632.3.0"
IDLE = Operation.IDLE
CHECKING = Operation.CHECKING_FOR_UPDATE
AVAILABLE = Operation.UPDATE_AVAILABLE
DOWNLOADING = Operation.DOWNLOADING
FINALIZING = Operation.FINALIZING
NEED_REBOOT = Operation.UPDATED_NEED_REBOOT
REPORTING = Operation.REPORTING_ERROR_EVENT


@dataclass
class Caller:
    """Follows, and keeps what it is told meanwhile."""

    engine: FakeEngine
    resolved: str | None = None
    statuses: list[Status] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    async def follow(self, *, attempt: bool = True, progress_deadline: float = 600.0) -> UpdateOutcome:
        return await follow_update(
            self.engine,
            attempt=attempt,
            progress_deadline=progress_deadline,
            on_status=self.statuses.append,
            resolve_version=lambda _: self.resolved,
            on_wait=self.reasons.append,
        )


@pytest.fixture
def caller(engine: FakeEngine) -> Caller:
    return Caller(engine)


async def whole_update(engine: FakeEngine) -> None:
    """What a good update looks like, with all its signals."""
    engine.go(CHECKING)
    await trio.sleep(1)
    engine.go(AVAILABLE, NEW, checked=2000)
    for percent in range(1, 101):
        await trio.sleep(1)
        engine.go(DOWNLOADING, NEW, progress=percent / 100)
    await trio.sleep(1)
    engine.go(FINALIZING, NEW)
    await trio.sleep(60)
    engine.go(NEED_REBOOT, NEW)


# The good course.


@pytest.mark.accepts("A17", "A4")
async def test_an_update_is_asked_for_and_followed_to_its_version(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.on_attempt = lambda: whole_update(engine)
    outcome = await caller.follow()
    assert outcome.next_version == NEW
    assert engine.attempts == 1


@pytest.mark.accepts("N9")
async def test_the_version_is_told_while_it_still_downloads(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.on_attempt = lambda: whole_update(engine)
    await caller.follow()
    first = next(each for each in caller.statuses if each.version is not None)
    assert (first.version, first.operation) == (NEW, AVAILABLE)
    assert [each.progress for each in caller.statuses if each.operation is DOWNLOADING] == [
        percent / 100 for percent in range(1, 101)
    ]


async def test_each_status_is_told_once_however_often_it_is_seen(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.on_attempt = lambda: whole_update(engine)
    await caller.follow()
    assert all(one != next_one for one, next_one in zip(caller.statuses, caller.statuses[1:], strict=False))
    assert engine.polls > 10


async def test_it_says_what_it_waits_for_once_each(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.on_attempt = lambda: whole_update(engine)
    await caller.follow()
    assert caller.reasons == [
        "update_engine to begin the check for an update",
        "the OS update: CHECKING_FOR_UPDATE",
        "the OS update: UPDATE_AVAILABLE",
        "the OS update: DOWNLOADING",
        "the OS update: FINALIZING",
    ]


async def test_a_check_that_finds_nothing_means_no_next_version(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def check() -> None:
        engine.go(CHECKING)
        await trio.sleep(1)
        engine.go(IDLE, checked=2000)

    engine.on_attempt = check
    outcome = await caller.follow()
    assert (outcome.next_version, outcome.note) == (None, "the OS is up to date")
    assert trio.current_time() < IDLE_GRACE


async def test_a_pending_update_is_taken_without_an_attempt(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.set(NEED_REBOOT, NEW)
    assert (await caller.follow()).next_version == NEW
    assert engine.attempts == 0


async def test_an_update_in_progress_is_followed_without_an_attempt(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def rest() -> None:
        await trio.sleep(30)
        engine.go(NEED_REBOOT, NEW)

    engine.set(DOWNLOADING, NEW, progress=0.5)
    nursery.start_soon(rest)
    assert (await caller.follow()).next_version == NEW
    assert engine.attempts == 0


async def test_after_somebody_elses_attempt_failed_one_is_made(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def fail() -> None:
        await trio.sleep(2)
        engine.go(IDLE)

    engine.set(REPORTING, NEW)
    engine.on_attempt = lambda: whole_update(engine)
    nursery.start_soon(fail)
    assert (await caller.follow()).next_version == NEW
    assert engine.attempts == 1


# The traps.


@pytest.mark.accepts("N3")
async def test_idle_right_after_the_attempt_is_not_taken_for_no_update(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def late() -> None:
        await trio.sleep(IDLE_GRACE - 6)
        await whole_update(engine)

    engine.on_attempt = late
    assert (await caller.follow()).next_version == NEW


@pytest.mark.accepts("N3")
async def test_stale_signals_from_before_the_attempt_decide_nothing(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def late() -> None:
        await trio.sleep(2)
        await whole_update(engine)

    engine.signal(Status(900, 0.0, CHECKING, "0.0.0", 0))
    engine.signal(Status(900, 0.0, IDLE, "0.0.0", 0))
    engine.on_attempt = late
    assert (await caller.follow()).next_version == NEW


@pytest.mark.accepts("N3")
async def test_an_attempt_that_changes_nothing_is_no_update_after_the_grace_period(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    outcome = await caller.follow()
    assert outcome.next_version is None
    assert "began no check" in outcome.note
    assert IDLE_GRACE <= trio.current_time() < IDLE_GRACE + 10


@pytest.mark.accepts("N3")
async def test_a_check_between_two_polls_shows_in_the_time_of_the_last_check(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def unseen() -> None:
        engine.set(IDLE, checked=2000)

    engine.on_attempt = unseen
    assert (await caller.follow()).note == "the OS is up to date"
    assert trio.current_time() < IDLE_GRACE


@pytest.mark.accepts("N3")
async def test_without_any_signal_the_polls_find_the_end(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def silent() -> None:
        await trio.sleep(1)
        for progress in (0.2, 0.9):
            engine.set(DOWNLOADING, NEW, progress=progress, checked=2000)
            await trio.sleep(20)
        engine.set(NEED_REBOOT, NEW)

    engine.on_attempt = silent
    assert (await caller.follow()).next_version == NEW
    assert [each.operation for each in caller.statuses] == [IDLE, DOWNLOADING, DOWNLOADING, NEED_REBOOT]


@pytest.mark.accepts("N3")
async def test_a_reported_failure_is_a_transient_error(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def fail() -> None:
        engine.go(CHECKING)
        await trio.sleep(1)
        engine.go(DOWNLOADING, NEW, progress=0.3)
        await trio.sleep(1)
        engine.go(REPORTING, NEW)
        await trio.sleep(1)
        engine.go(IDLE)

    engine.on_attempt = fail
    with pytest.raises(TransientError, match=f"the OS update to {NEW} failed") as caught:
        await caller.follow()
    assert "journalctl" in caught.value.hint


@pytest.mark.accepts("N3")
async def test_a_failed_check_is_an_error_and_not_up_to_date(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def fail() -> None:
        engine.go(CHECKING)
        engine.go(REPORTING)
        await trio.sleep(1)
        engine.go(IDLE)

    engine.on_attempt = fail
    with pytest.raises(TransientError, match="the OS update failed"):
        await caller.follow()


@pytest.mark.accepts("N3")
async def test_a_failure_is_noticed_although_its_signal_was_lost(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def fail() -> None:
        engine.go(DOWNLOADING, NEW, progress=0.3)
        await trio.sleep(7)
        engine.set(IDLE, checked=2000)

    engine.on_attempt = fail
    with pytest.raises(TransientError, match="failed"):
        await caller.follow()


@pytest.mark.accepts("N3")
async def test_a_check_after_a_failure_starts_afresh(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def fail_and_try_again() -> None:
        engine.go(REPORTING)
        await trio.sleep(1)
        await whole_update(engine)

    engine.on_attempt = fail_and_try_again
    assert (await caller.follow()).next_version == NEW


@pytest.mark.accepts("N3", "A17")
@pytest.mark.parametrize("nothing", ["0.0.0", ""])
async def test_a_pending_update_without_a_version_takes_the_callers(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, nothing: str
) -> None:
    engine.set(NEED_REBOOT, nothing)
    caller.resolved = NEW
    outcome = await caller.follow()
    assert outcome.next_version == NEW
    assert "does not say" in outcome.note


@pytest.mark.accepts("N3")
async def test_an_unknown_version_is_waited_for_and_never_a_success(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.set(NEED_REBOOT, "0.0.0")
    with pytest.raises(TransientError, match="UPDATED_NEED_REBOOT"):
        await caller.follow(progress_deadline=60)
    assert trio.current_time() >= 60
    assert caller.reasons == ["the version of the installed OS update, which com.coreos.update1 does not say"]


@pytest.mark.accepts("N3")
async def test_a_version_that_becomes_known_ends_the_wait(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def learn() -> None:
        await trio.sleep(20)
        caller.resolved = NEW

    engine.set(NEED_REBOOT, "0.0.0")
    nursery.start_soon(learn)
    assert (await caller.follow(progress_deadline=60)).next_version == NEW


@pytest.mark.accepts("N3")
async def test_a_silent_reset_during_that_wait_is_noticed(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def finish_and_reset() -> None:
        engine.go(NEED_REBOOT, "0.0.0")
        await trio.sleep(20)
        engine.set(IDLE)

    engine.on_attempt = finish_and_reset
    with pytest.raises(TransientError, match="withdrawn"):
        await caller.follow()


@pytest.mark.accepts("N3")
async def test_a_pending_update_reset_before_an_attempt_is_attempted_again(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def reset() -> None:
        await trio.sleep(20)
        engine.set(IDLE)

    engine.set(NEED_REBOOT, "0.0.0")
    engine.on_attempt = lambda: whole_update(engine)
    nursery.start_soon(reset)
    assert (await caller.follow()).next_version == NEW


@pytest.mark.accepts("N3")
async def test_a_forged_signal_decides_nothing(engine: FakeEngine, caller: Caller, autojump_clock: MockClock) -> None:
    async def forge() -> None:
        engine.go(CHECKING)
        engine.signal(Status(0, 0.0, NEED_REBOOT, "9999.0.0", 0))
        await trio.sleep(1)
        await whole_update(engine)

    engine.on_attempt = forge
    assert (await caller.follow()).next_version == NEW
    assert "9999.0.0" not in [each.version for each in caller.statuses]


@pytest.mark.accepts("N3")
async def test_a_restart_of_the_service_in_mid_update_leads_to_a_new_attempt(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def crash() -> None:
        engine.on_attempt = lambda: whole_update(engine)
        engine.go(DOWNLOADING, "1600.0.0", progress=0.3)
        await trio.sleep(10)
        engine.leave()
        await trio.sleep(30)
        engine.come_back()

    engine.on_attempt = crash
    assert (await caller.follow()).next_version == NEW
    assert engine.attempts == 2
    assert "update_engine to come back to the bus" in caller.reasons


@pytest.mark.accepts("N3")
async def test_a_restart_that_no_signal_told_of_is_noticed_by_polling(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def crash() -> None:
        engine.on_attempt = lambda: whole_update(engine)
        engine.go(DOWNLOADING, NEW, progress=0.3)
        engine.present = False
        await trio.sleep(30)
        engine.present = True
        engine.set(IDLE)

    engine.on_attempt = crash
    assert (await caller.follow()).next_version == NEW
    assert engine.attempts == 2


@pytest.mark.accepts("N3")
async def test_a_restart_after_the_update_was_done_keeps_the_version_seen_before(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def crash() -> None:
        engine.go(FINALIZING, NEW)
        await trio.sleep(10)
        engine.leave()
        await trio.sleep(10)
        engine.come_back(NEED_REBOOT)

    engine.on_attempt = crash
    outcome = await caller.follow()
    assert outcome.next_version == NEW
    assert "before it was restarted" in outcome.note


@pytest.mark.accepts("N3")
async def test_a_crash_loop_is_not_taken_for_progress(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def crash() -> None:
        engine.go(CHECKING)
        await trio.sleep(1)
        engine.leave()
        await trio.sleep(1)
        engine.come_back()

    engine.on_attempt = crash
    with pytest.raises(TransientError, match=f"left the bus {RESTARTS_LIMIT + 1} times"):
        await caller.follow()


@pytest.mark.accepts("N3")
async def test_a_service_that_stays_away_ends_at_the_deadline(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def crash() -> None:
        engine.go(DOWNLOADING, NEW, progress=0.3)
        await trio.sleep(1)
        engine.leave()

    engine.on_attempt = crash
    with pytest.raises(TransientError, match="it left the bus; it was DOWNLOADING at 30%"):
        await caller.follow(progress_deadline=120)
    assert trio.current_time() == pytest.approx(120, abs=2)


@pytest.mark.accepts("N3")
async def test_the_loss_of_the_bus_reaches_the_caller(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def lose() -> None:
        engine.go(DOWNLOADING, NEW, progress=0.3)
        engine.signal(DBusError(DISCONNECTED, "lost the connection"))

    engine.on_attempt = lose
    with pytest.raises(DBusError) as caught:
        await caller.follow()
    assert (caught.value.name, caught.value.kind) == (DISCONNECTED, Kind.TRANSIENT)


# Deadlines and refusals.


async def test_a_download_that_stands_still_ends_at_the_deadline(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def stick() -> None:
        for progress in (0.1, 0.2, 0.42):
            engine.go(DOWNLOADING, NEW, progress=progress)
            await trio.sleep(50)

    engine.on_attempt = stick
    with pytest.raises(TransientError, match="no progress for 60 s: it is DOWNLOADING at 42%"):
        await caller.follow(progress_deadline=60)
    assert trio.current_time() == pytest.approx(160, abs=1)


async def test_a_service_that_never_answers_ends_at_the_deadline(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.hangs = True
    with pytest.raises(TransientError, match="gave no answer within 10 s"):
        await caller.follow(progress_deadline=10)


async def test_a_service_that_hangs_for_a_while_is_waited_for(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    async def hang() -> None:
        engine.go(DOWNLOADING, NEW, progress=0.3)
        engine.hangs = True
        await trio.sleep(100)
        engine.hangs = False
        engine.set(NEED_REBOOT, NEW)

    engine.on_attempt = hang
    assert (await caller.follow()).next_version == NEW


async def test_an_absent_service_is_a_transient_error_when_an_update_is_wanted(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.present = False
    with pytest.raises(DBusError) as caught:
        await caller.follow()
    assert caught.value.kind is Kind.TRANSIENT


async def test_a_refused_attempt_reaches_the_caller(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> None:
        raise DBusError(ACCESS_DENIED, "not allowed")

    monkeypatch.setattr(engine, "attempt_update", refuse)
    with pytest.raises(DBusError) as caught:
        await caller.follow()
    assert caught.value.kind is Kind.PERMANENT


async def test_an_attempt_without_an_answer_is_repeated(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_update = engine.attempt_update

    async def hang_once() -> None:
        monkeypatch.setattr(engine, "attempt_update", attempt_update)
        engine.hangs = True
        try:
            await attempt_update()
        finally:
            engine.hangs = False

    engine.on_attempt = lambda: whole_update(engine)
    monkeypatch.setattr(engine, "attempt_update", hang_once)
    assert (await caller.follow()).next_version == NEW


async def test_cancelling_it_leaves_update_engine_alone(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.on_attempt = lambda: whole_update(engine)
    with trio.move_on_after(30) as scope:
        await caller.follow()
    assert scope.cancelled_caught
    assert (await engine.status()).operation is DOWNLOADING


# Without --upgrade-os.


@pytest.mark.accepts("A4")
async def test_without_an_attempt_a_pending_update_still_counts(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.set(NEED_REBOOT, NEW)
    assert (await caller.follow(attempt=False)).next_version == NEW
    assert engine.attempts == 0


@pytest.mark.accepts("A4", "A17")
@pytest.mark.parametrize("operation", [IDLE, DOWNLOADING, REPORTING])
async def test_without_an_attempt_nothing_else_counts_and_nothing_starts(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock, operation: Operation
) -> None:
    engine.set(operation, NEW)
    outcome = await caller.follow(attempt=False)
    assert (outcome.next_version, outcome.status) == (None, engine.state)
    assert operation in outcome.note
    assert engine.attempts == 0


@pytest.mark.accepts("A17")
async def test_without_an_attempt_an_absent_service_means_no_update(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.present = False
    outcome = await caller.follow(attempt=False)
    assert (outcome.next_version, outcome.status) == (None, None)
    assert "not on the bus" in outcome.note


@pytest.mark.accepts("N3")
async def test_without_an_attempt_an_unknown_version_is_an_error(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.set(NEED_REBOOT, "0.0.0")
    with pytest.raises(TorcxdError, match="does not say its version") as caught:
        await caller.follow(attempt=False)
    assert caught.value.kind is Kind.TRANSIENT
    caller.resolved = NEW
    assert (await caller.follow(attempt=False)).next_version == NEW


async def test_without_an_attempt_a_hanging_service_ends_at_the_deadline(
    engine: FakeEngine, caller: Caller, autojump_clock: MockClock
) -> None:
    engine.hangs = True
    with pytest.raises(TransientError, match="gave no answer"):
        await caller.follow(attempt=False, progress_deadline=10)
