"""The event loop on a virtual clock: durable first, one state's effects at a time, back-off, cancellation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from torcxd.charts import load_chart
from torcxd.daemon.engine import Engine, Report
from torcxd.daemon.statefile import StateFile, read_history
from torcxd.errors import EX_SOFTWARE, Kind, PermanentError, TransientError
from torcxd.lifecycle import retry
from torcxd.lifecycle.effects import Compare, Effect, End, Fetch, Gather, Place, Publish, Reboot, VerifyBoot
from torcxd.lifecycle.events import (
    BootVerified,
    Compared,
    Event,
    Failed,
    Fetched,
    Gathered,
    OsUpdateSeen,
    Placed,
    Published,
    RebootRequested,
    Resolved,
    Waiting,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.machine import Lifecycle, Policy, Step
from torcxd.paths import Layout

BOOTSTRAP = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=600)
TARGET = Target("amd64-usr", "1520.8.0", None, "v1.8.4", "x", ("17.03",), "y")
PLAN = Plan(TARGET, "1520.8.0", "17.03", (), resolved=True)
FITS = Running("1520.8.0", "17.03", intact=True)
DIFFERS = Running("1520.8.0", "1.12", intact=True)


class VirtualClock:
    def now(self) -> float:
        return 1_000_000 + trio.current_time()


class Recorder:
    """An observer that checks that each step is durable when it is told."""

    def __init__(self, state: StateFile) -> None:
        self.state = state
        self.steps: list[tuple[Step, Event]] = []

    def stepped(self, step: Step, event: Event) -> None:
        assert self.state.load() == step.snapshot
        self.steps.append((step, event))

    @property
    def states(self) -> list[str]:
        return [step.move.dest for step, _ in self.steps if step.move]


def engine(
    tmp_path: Path,
    perform: Callable[[Effect, Report], Awaitable[None]],
    *,
    boot_id: str = "boot-1",
    policy: Policy = BOOTSTRAP,
) -> tuple[Engine, Recorder]:
    state = StateFile(Layout(tmp_path))
    recorder = Recorder(state)
    lifecycle = Lifecycle(load_chart(), policy)
    built = Engine(
        lifecycle, state, perform, boot_id=boot_id, clock=VirtualClock(), random=lambda: 0.5, observer=recorder
    )
    return built, recorder


def answer(effect: Effect, at: float, running: Running = FITS) -> list[Event]:
    """What a node without surprises reports of each effect."""
    match effect:
        case Gather():
            return [Gathered(at, TARGET, DIFFERS)]
        case VerifyBoot():
            return [BootVerified(at, running)]
        case Fetch():
            return [Resolved(at, PLAN), Fetched(at)]
        case Place():
            return [Placed(at)]
        case Compare():
            return [Compared(at, running)]
        case Publish():
            return [Published(at)]
        case _:
            raise AssertionError(effect)


async def smoothly(effect: Effect, report: Report) -> None:
    for each in answer(effect, VirtualClock().now()):
        await report(each)


async def test_a_smooth_run_ends_with_zero_and_a_history(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    built, recorder = engine(tmp_path, smoothly)
    assert await built.run() == End(0)
    assert recorder.states == ["fetching", "verified", "staged", "done"]
    history = read_history(Layout(tmp_path).history_file, most=10)
    assert [each["to"] for each in history] == recorder.states
    assert set(history[0]) == {"at", "boot_id", "from", "to", "event", "because"}


@pytest.mark.accepts("N2")
async def test_a_run_that_is_killed_at_any_report_resumes_to_the_same_end(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    ends = []
    for kill_at in range(6):
        folder = tmp_path / str(kill_at)
        seen = 0

        async def killing(effect: Effect, report: Report) -> None:
            nonlocal seen
            for each in answer(effect, VirtualClock().now()):
                if seen == kill_at:  # noqa: B023
                    scope.cancel()
                seen += 1
                await report(each)

        with trio.CancelScope() as scope:
            await engine(folder, killing)[0].run()
        assert scope.cancelled_caught
        built, recorder = engine(folder, smoothly)
        ends.append((await built.run(), recorder.steps[-1][0].snapshot.state))
    assert ends == [(End(0), "done")] * 6


async def test_a_transient_failure_is_retried_after_the_back_off(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    attempts: list[float] = []

    async def flaky(effect: Effect, report: Report) -> None:
        if isinstance(effect, Fetch):
            attempts.append(trio.current_time())
            if len(attempts) < 4:
                raise TransientError("no route to host", hint="wait")
        await smoothly(effect, report)

    built, recorder = engine(tmp_path, flaky)
    assert await built.run() == End(0)
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert pauses == pytest.approx([1, 2, 4])
    failures = [step.snapshot.failure for step, _ in recorder.steps if step.snapshot.next_try is not None]
    assert [each.attempts for each in failures if each] == [1, 2, 3]
    assert all(each and each.message == "no route to host" and each.hint == "wait" for each in failures)


async def test_a_server_that_asks_for_a_longer_wait_gets_it(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    attempts: list[float] = []

    async def busy(effect: Effect, report: Report) -> None:
        if isinstance(effect, Fetch):
            attempts.append(trio.current_time())
            if len(attempts) == 1:
                error = TransientError("the server answered with status 503")
                error.retry_after = 300.0
                raise error
        await smoothly(effect, report)

    assert await engine(tmp_path, busy)[0].run() == End(0)
    # Never earlier than asked; half of the jitter's width later.
    assert [later - earlier for earlier, later in pairwise(attempts)] == pytest.approx([330])


async def test_a_clock_that_is_set_back_does_not_delay_the_next_attempt_for_years(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    clock = VirtualClock()
    attempts: list[float] = []

    class SetBack:
        def now(self) -> float:
            return clock.now() - (365 * 86400 if attempts else 0)

    class SettingBack:
        """The failure is told of before the clock is set, the waiting begins after it."""

        def stepped(self, step: Step, event: Event) -> None:
            if isinstance(event, Failed):
                attempts.append(trio.current_time())

    async def flaky(effect: Effect, report: Report) -> None:
        if isinstance(effect, Fetch) and not attempts:
            raise TransientError("no route to host")
        await smoothly(effect, report)

    built = Engine(
        Lifecycle(load_chart(), BOOTSTRAP),
        StateFile(Layout(tmp_path)),
        flaky,
        boot_id="boot-1",
        clock=SetBack(),
        random=lambda: 0.5,
        observer=SettingBack(),
    )
    assert await built.run() == End(0)
    assert trio.current_time() - attempts[0] == pytest.approx(retry.LONGEST)


async def test_an_endless_transient_failure_ends_after_the_allowed_time(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    async def broken(effect: Effect, report: Report) -> None:
        raise TransientError("the bucket is away")

    end = await engine(tmp_path, broken)[0].run()
    assert (end.exit_code, end.message) == (75, "the bucket is away")
    assert 600 <= trio.current_time() < 800


async def test_a_permanent_failure_ends_at_once_with_its_code_and_hint(tmp_path: Path) -> None:
    async def broken(effect: Effect, report: Report) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise PermanentError("unsigned", hint="sign it", exit_code=65)

    assert await engine(tmp_path, broken)[0].run() == End(65, "unsigned", "sign it")


async def test_a_defect_becomes_one_error_without_a_traceback(tmp_path: Path) -> None:
    async def defective(effect: Effect, report: Report) -> None:
        raise ZeroDivisionError("division by zero")

    end = await engine(tmp_path, defective)[0].run()
    assert end.exit_code == EX_SOFTWARE
    assert end.message == "internal error: ZeroDivisionError: division by zero"


async def test_leaving_a_state_cancels_its_effect(tmp_path: Path) -> None:
    cancelled: list[Effect] = []

    async def lingering(effect: Effect, report: Report) -> None:
        try:
            await smoothly(effect, report)
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(effect)
            raise

    built, _ = engine(tmp_path, lingering)
    assert await built.run() == End(0)
    assert [type(each) for each in cancelled] == [Gather, Fetch, Place, Compare, Publish]


async def test_a_state_with_nothing_to_do_ends_the_work_of_the_one_before(tmp_path: Path) -> None:
    """An update whose version update_engine forgot comes in the middle of a download: what it is for is not known."""
    fetching, ended = trio.Event(), trio.Event()

    async def downloading(effect: Effect, report: Report) -> None:
        if isinstance(effect, Fetch):
            fetching.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.set()
        await smoothly(effect, report)

    built, recorder = engine(tmp_path, downloading, policy=replace(BOOTSTRAP, attends=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(built.run)
        await built.report(OsUpdateSeen(1, OsUpdate(None, pending=False)))
        await fetching.wait()
        await built.report(OsUpdateSeen(2, OsUpdate(None, pending=True)))
        await trio.testing.wait_all_tasks_blocked()
        assert ended.is_set()
        nursery.cancel_scope.cancel()
    assert recorder.states == ["gathering", "fetching", "gathering"]


async def test_a_report_of_a_reason_to_wait_does_not_disturb_the_effect(tmp_path: Path) -> None:
    async def waiting(effect: Effect, report: Report) -> None:
        if isinstance(effect, Gather):
            await report(Waiting(1, "the OS update"))
            assert StateFile(Layout(tmp_path)).load().waiting_for == "the OS update"  # type: ignore[union-attr]
        await smoothly(effect, report)

    assert await engine(tmp_path, waiting)[0].run() == End(0)


@pytest.mark.accepts("C6")
async def test_while_a_reboot_is_pending_the_process_does_not_end(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    requests: list[float] = []

    async def refused(effect: Effect, report: Report) -> None:
        if isinstance(effect, Reboot):
            requests.append(trio.current_time())
            if len(requests) < 3:
                raise TransientError("the reboot was refused")
            await report(RebootRequested(1, "login1"))
            accepted.set()
            await trio.sleep_forever()
        for each in answer(effect, VirtualClock().now(), DIFFERS):
            await report(each)

    accepted = trio.Event()
    built, recorder = engine(tmp_path, refused)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(built.run)
        await accepted.wait()
        await trio.testing.wait_all_tasks_blocked()
        # Still running: nothing but a signal, or the reboot itself, ends it.
        assert nursery.child_tasks
        nursery.cancel_scope.cancel()
    assert len(requests) == 3
    assert recorder.steps[-1][0].snapshot.state == "reboot-pending"
    # The next boot goes on from there, with what the disk remembers.
    after, recorder = engine(tmp_path, smoothly, boot_id="boot-2")
    assert await after.run() == End(0)
    assert recorder.states == ["gathering", "done"]


async def test_nothing_goes_on_before_its_state_is_on_disk(
    tmp_path: Path, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_until = 5.0
    started: list[float] = []
    save = StateFile.save

    def sometimes_full(self: StateFile, snapshot: object) -> None:
        if clock() < full_until:
            raise TransientError("no space left")
        save(self, snapshot)  # type: ignore[arg-type]

    # The state is saved in a thread, which has no trio clock of its own.
    token = trio.lowlevel.current_trio_token()

    def clock() -> float:
        return trio.from_thread.run_sync(trio.current_time, trio_token=token)

    async def perform(effect: Effect, report: Report) -> None:
        started.append(trio.current_time())
        await smoothly(effect, report)

    monkeypatch.setattr(StateFile, "save", sometimes_full)
    assert await engine(tmp_path, perform)[0].run() == End(0)
    assert min(started) >= full_until


@pytest.mark.parametrize("ends", [False, True])
async def test_an_effect_that_fails_while_it_is_cut_off_ends_nothing_else(
    tmp_path: Path, autojump_clock: trio.abc.Clock, ends: bool
) -> None:
    """Of two downloads one is cancelled and the other one breaks, at the same moment."""

    async def breaks() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise TransientError("the connection was reset")

    async def two_downloads(effect: Effect, report: Report) -> None:
        if isinstance(effect, Fetch):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaks)
                nursery.start_soon(trio.sleep_forever)
        else:
            await smoothly(effect, report)

    built, recorder = engine(tmp_path, two_downloads, policy=replace(BOOTSTRAP, retry_for=None))
    found: list[End] = []

    async def run() -> None:
        found.append(await built.run())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        while recorder.states != ["fetching"]:
            await trio.sleep(1)
        if ends:
            wrong = Failed(0.0, "wrong", "", kind=Kind.CONFIGURATION, exit_code=78, jitter=0.5)
            nursery.start_soon(built.report, wrong)
            while not found:
                await trio.sleep(1)
        else:
            await built.report(OsUpdateSeen(0.0, OsUpdate("1576.4.0", pending=True)))
            assert recorder.states[1] == "gathering"
        nursery.cancel_scope.cancel()
    assert [each.exit_code for each in found] == ([78] if ends else [])
