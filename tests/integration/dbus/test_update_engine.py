"""update_engine's client and its follow, against the stand-in over a real bus."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from torcxd.dbus.bus import open_bus
from torcxd.dbus.errors import DISCONNECTED, NO_REPLY, DBusError
from torcxd.dbus.service import ErrorReply
from torcxd.dbus.signals import OwnerChange
from torcxd.dbus.update_engine import NAME, Operation, Status, UpdateEngine
from torcxd.errors import Kind, TransientError
from torcxd.sandbox import update_engine as stand_in
from torcxd.sandbox.bus import PrivateBus
from torcxd.sandbox.update_engine import Installed, Scenario, Step
from torcxd.sources.update_engine import UpdateOutcome, follow_update

NEW = "1632.3.0"
# Seconds without progress that no test here waits for.
DEADLINE = 30.0


@pytest.fixture
async def server(private: PrivateBus, nursery: trio.Nursery) -> stand_in.UpdateEngine:
    """The stand-in, on the bus, with a scenario that does nothing."""
    engine = stand_in.UpdateEngine(now=lambda: 2000.0)
    await nursery.start(engine.serve, private.address)
    return engine


@pytest.fixture
async def client(private: PrivateBus) -> AsyncIterator[UpdateEngine]:
    async with open_bus(private.address) as bus:
        yield UpdateEngine(bus)


async def follow(client: UpdateEngine, *, attempt: bool = True, deadline: float = DEADLINE) -> UpdateOutcome:
    return await follow_update(
        client,
        attempt=attempt,
        progress_deadline=deadline,
        on_status=lambda _status: None,
        resolve_version=lambda _: None,
    )


async def test_the_status_is_read_as_it_was_sent(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    assert await client.status() == Status(0, 0.0, Operation.IDLE, "0.0.0", 0)
    await server.show(Step("DOWNLOADING", progress=0.25, version=NEW, size=5))
    status = await client.status()
    assert status == Status(0, 0.25, Operation.DOWNLOADING, NEW, 5)
    assert status.version == NEW


@pytest.mark.parametrize("nothing", ["", "0.0.0"])
def test_no_version_and_the_null_version_are_none(nothing: str) -> None:
    assert Status(0, 0.0, Operation.IDLE, nothing, 0).version is None


async def test_an_operation_that_is_not_known_is_an_error_that_names_it(
    server: stand_in.UpdateEngine, client: UpdateEngine
) -> None:
    async with client.watch() as statuses:
        await server.show(Step("ATTEMPTING_ROLLBACK"))
        with pytest.raises(DBusError, match="UPDATE_STATUS_ATTEMPTING_ROLLBACK") as caught:
            await client.status()
        with pytest.raises(DBusError, match="UPDATE_STATUS_ATTEMPTING_ROLLBACK"):
            await anext(statuses)
    assert caught.value.kind is Kind.PERMANENT


async def test_watching_gives_each_signalled_status(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    async with client.watch() as statuses:
        await server.show(Step("CHECKING_FOR_UPDATE"))
        await server.show(Step("DOWNLOADING", silent=True))
        await server.show(Step("FINALIZING", version=NEW))
        assert [(await anext(statuses)).operation for _ in range(2)] == [
            Operation.CHECKING_FOR_UPDATE,
            Operation.FINALIZING,
        ]


async def test_events_mix_statuses_and_restarts_in_order(
    private: PrivateBus, server: stand_in.UpdateEngine, client: UpdateEngine, nursery: trio.Nursery
) -> None:
    async with client.events() as events:
        await server.show(Step("CHECKING_FOR_UPDATE"))
        server.leave()
        first, gone = [await anext(events) for _ in range(2)]
        await nursery.start(server.serve, private.address)
        back = await anext(events)
    assert isinstance(first, Status)
    assert isinstance(gone, OwnerChange)
    assert isinstance(back, OwnerChange)
    assert (gone.name, gone.new) == (NAME, "")
    assert back.new


# The stand-in has the real one's habits.


async def test_attempts_are_ignored_unless_it_is_idle(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    server.scenario = stand_in.stuck(NEW, 0)
    async with client.watch() as statuses:
        await client.attempt_update()
        assert (await anext(statuses)).operation is Operation.CHECKING_FOR_UPDATE
        await client.attempt_update()
    assert (server.attempts, server.ignored) == (1, 1)


async def test_a_reset_is_silent(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    async with client.watch() as statuses:
        await server.show(Step("UPDATED_NEED_REBOOT", version=NEW))
        await anext(statuses)
        await client.reset_status()
        assert await client.status() == Status(0, 0.0, Operation.IDLE, "0.0.0", 0)
        await server.show(Step("CHECKING_FOR_UPDATE"))
        assert (await anext(statuses)).operation is Operation.CHECKING_FOR_UPDATE


async def test_a_reset_in_mid_update_is_refused(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    await server.show(Step("DOWNLOADING", version=NEW))
    with pytest.raises(DBusError, match="Reset not allowed"):
        await client.reset_status()


async def test_a_restart_forgets_the_version_and_not_that_an_update_is_pending(
    private: PrivateBus, server: stand_in.UpdateEngine, client: UpdateEngine, nursery: trio.Nursery
) -> None:
    await server.show(Step("UPDATED_NEED_REBOOT", version=NEW))
    async with client.events() as events:
        server.leave()
        await anext(events)
        await nursery.start(server.serve, private.address)
    status = await client.status()
    assert (status.operation, status.new_version) == (Operation.UPDATED_NEED_REBOOT, "0.0.0")


async def test_with_a_marker_that_survives_the_process(
    private: PrivateBus, client: UpdateEngine, nursery: trio.Nursery, tmp_path: Path
) -> None:
    installed: list[str] = []
    marker = tmp_path / "marker"
    marker.touch()
    engine = stand_in.UpdateEngine(installed=Installed(marker), on_installed=installed.append)
    await nursery.start(engine.serve, private.address)
    assert (await client.status()).operation is Operation.UPDATED_NEED_REBOOT
    await client.reset_status()
    assert not marker.exists()
    engine.scenario = stand_in.update(NEW, 0)
    assert (await follow(client)).next_version == NEW
    assert marker.exists()
    assert installed == [NEW]


@pytest.mark.accepts("I3", "N3")
async def test_one_installation_is_told_from_the_next(
    private: PrivateBus, nursery: trio.Nursery, tmp_path: Path
) -> None:
    marker = tmp_path / "run/marker"
    engine = stand_in.UpdateEngine(installed=Installed(marker))
    await nursery.start(engine.serve, private.address)
    found = []
    async with open_bus(private.address) as bus:
        client = UpdateEngine(bus, marker)
        assert (await client.status()).installation == ""
        for _ in range(2):
            await engine.show(Step("UPDATED_NEED_REBOOT", version=NEW))
            found.append((await client.status()).installation)
            # A new process finds the same one.
            await engine.started()
            assert await client.status() == Status(0, 0.0, Operation.UPDATED_NEED_REBOOT, "0.0.0", 0, found[-1])
            await client.reset_status()
            assert (await client.status()).installation == ""
        await engine.show(Step("UPDATED_NEED_REBOOT", version=NEW))
        # Where the marker is not to be seen.
        assert (await UpdateEngine(bus).status()).installation == ""
        assert (await UpdateEngine(bus, tmp_path / "none").status()).installation == ""
    assert all(found)
    assert len(set(found)) == 2


class _Superseded(stand_in.UpdateEngine):
    """What the first answer tells of is replaced by another installation before it arrives."""

    answers = 0

    async def _get_status(self) -> tuple[Any, ...]:
        body = await super()._get_status()
        self.answers += 1
        if self.answers == 1:
            await self._reset_status()
            await self.show(Step("UPDATED_NEED_REBOOT", version=NEW))
        return body


@pytest.mark.accepts("I3", "N3")
async def test_an_answer_goes_with_the_installation_that_it_is_of(
    private: PrivateBus, nursery: trio.Nursery, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    engine = _Superseded(installed=Installed(marker))
    await nursery.start(engine.serve, private.address)
    await engine.show(Step("UPDATED_NEED_REBOOT", version="1576.4.0"))
    async with open_bus(private.address) as bus:
        status = await UpdateEngine(bus, marker).status()
    assert (status.version, engine.answers) == (NEW, 2)


# Following it.


@pytest.mark.accepts("A17", "A4")
async def test_an_update_is_followed_to_its_version(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    server.scenario = stand_in.update(NEW, 0.0, stale_idle=0.01)
    outcome = await follow(client)
    assert outcome.next_version == NEW
    assert outcome.status == Status(2000, 0.0, Operation.UPDATED_NEED_REBOOT, NEW, 280_000_000)


@pytest.mark.accepts("A17")
async def test_a_check_that_finds_nothing_is_followed(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    server.scenario = stand_in.no_update(NEW, 0.0)
    outcome = await follow(client)
    assert (outcome.next_version, outcome.note) == (None, "the OS is up to date")


@pytest.mark.accepts("N3")
async def test_a_failed_update_is_an_error(server: stand_in.UpdateEngine, client: UpdateEngine) -> None:
    server.scenario = stand_in.failure(NEW, 0.0)
    with pytest.raises(TransientError, match=f"the OS update to {NEW} failed"):
        await follow(client)


@pytest.mark.accepts("N3")
async def test_a_restart_of_the_service_in_mid_update_is_survived(
    private: PrivateBus, server: stand_in.UpdateEngine, client: UpdateEngine, nursery: trio.Nursery
) -> None:
    reasons: list[str] = []
    downloading = trio.Event()
    gone = trio.Event()

    def on_status(status: Status) -> None:
        if status.operation is Operation.DOWNLOADING:
            downloading.set()

    def on_wait(reason: str) -> None:
        reasons.append(reason)
        if "come back" in reason:
            gone.set()

    async def restart() -> None:
        await downloading.wait()
        server.scenario = stand_in.update(NEW, 0.0)
        server.leave()
        await gone.wait()
        await nursery.start(server.serve, private.address)

    server.scenario = stand_in.stuck("1600.0.0", 0)
    nursery.start_soon(restart)
    outcome = await follow_update(
        client,
        attempt=True,
        progress_deadline=DEADLINE,
        on_status=on_status,
        resolve_version=lambda _: None,
        on_wait=on_wait,
    )
    assert outcome.next_version == NEW
    assert server.attempts == 2


@pytest.mark.accepts("N3")
async def test_a_restart_of_the_bus_is_an_error_after_which_a_new_follow_goes_on(
    private: PrivateBus, server: stand_in.UpdateEngine, nursery: trio.Nursery
) -> None:
    downloading = trio.Event()
    restarted = trio.Event()
    server.scenario = stand_in.stuck(NEW, 0)

    async def restart() -> None:
        await downloading.wait()
        await private.restart()
        restarted.set()

    nursery.start_soon(restart)
    async with open_bus(private.address) as bus:
        with pytest.raises(DBusError) as caught:
            await follow_update(
                UpdateEngine(bus),
                attempt=True,
                progress_deadline=DEADLINE,
                on_status=lambda status: downloading.set() if status.version else None,
                resolve_version=lambda _: None,
            )
    assert (caught.value.name, caught.value.kind) == (DISCONNECTED, Kind.TRANSIENT)
    await restarted.wait()
    server.scenario = stand_in.update(NEW, 0.0)
    await nursery.start(server.serve, private.address)
    async with open_bus(private.address) as bus:
        assert (await follow(UpdateEngine(bus))).next_version == NEW


@pytest.mark.accepts("A17")
async def test_an_absent_update_engine_is_no_update_or_an_error(client: UpdateEngine) -> None:
    outcome = await follow(client, attempt=False)
    assert (outcome.next_version, outcome.note) == (None, f"{NAME} is not on the bus")
    with pytest.raises(DBusError, match=NAME) as caught:
        await follow(client)
    assert (caught.value.absent, caught.value.kind) == (True, Kind.TRANSIENT)


async def test_a_hanging_update_engine_ends_at_the_deadline(
    server: stand_in.UpdateEngine, client: UpdateEngine
) -> None:
    server.hang("GetStatus")
    with pytest.raises(TransientError, match="gave no answer within"):
        await follow(client, deadline=0.05)


async def test_an_update_engine_that_answers_with_an_error_reaches_the_caller(
    server: stand_in.UpdateEngine, client: UpdateEngine
) -> None:
    server.refuse("AttemptUpdate", ErrorReply("org.chromium.UpdateEngine.Error.Failed", "no"))
    with pytest.raises(DBusError, match="AttemptUpdate") as caught:
        await follow(client)
    assert caught.value.kind is Kind.TRANSIENT
    assert caught.value.name != NO_REPLY


# As a program.


async def test_the_program_serves_a_scenario_file(private: PrivateBus, nursery: trio.Nursery, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    steps = [{"operation": "CHECKING_FOR_UPDATE"}, {"operation": "UPDATED_NEED_REBOOT", "version": NEW}]
    scenario.write_text(json.dumps({"steps": steps}))
    command = [sys.executable, "-m", "torcxd.sandbox.update_engine", "--bus", private.address, "--scenario", scenario]
    process = await nursery.start(
        lambda task_status: trio.run_process(
            [*map(str, command)], stdout=subprocess.PIPE, task_status=task_status, check=False
        )
    )
    async with open_bus(private.address) as bus, bus.owner_changes(NAME) as changes:
        while not await _is_owned(bus.address):
            await anext(changes)
        assert (await follow(UpdateEngine(bus))).next_version == NEW
    process.terminate()


async def _is_owned(address: str) -> bool:
    async with open_bus(address) as bus:
        service = "org.freedesktop.DBus"
        (owned,) = await bus.call(service, "/org/freedesktop/DBus", service, "NameHasOwner", "s", NAME, returns="b")
    return bool(owned)


def test_the_program_prints_a_policy_that_is_well_formed(capsys: pytest.CaptureFixture[str]) -> None:
    assert stand_in.main(["--print-policy"]) == 0
    assert ET.fromstring(capsys.readouterr().out).tag == "busconfig"


def test_the_program_says_why_it_cannot_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stand_in.main(["--bus", f"unix:path={tmp_path}/none"]) == 1
    assert "none: No such file" in capsys.readouterr().err
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert stand_in.main(["--scenario", str(broken)]) == 1


def test_the_running_version_is_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Scenario] = []

    async def serve(engine: stand_in.UpdateEngine, address: str) -> None:
        served.append(engine.scenario)

    monkeypatch.setattr(stand_in, "_run", serve)
    os_release = tmp_path / "os-release"
    os_release.write_text(f'NAME=x\nVERSION_ID="{NEW}"\n')
    for version in (NEW, "9999.0.0"):
        assert stand_in.main(["--version", version, "--os-release", str(os_release)]) == 0
    assert [each.steps[-1].operation for each in served] == ["IDLE", "UPDATED_NEED_REBOOT"]
