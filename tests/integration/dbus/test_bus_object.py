"""The daemon's own object: what it tells, over bus restarts, and whom its policy lets do what."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from torcxd.charts import load_chart
from torcxd.daemon import bus_object
from torcxd.daemon.bus_object import INTERFACE, NAME, PATH, BusObject
from torcxd.dbus.bus import Bus, open_bus
from torcxd.dbus.errors import ACCESS_DENIED, DBusError
from torcxd.errors import Kind
from torcxd.lifecycle.events import Event, Failed, Fetched, Gathered, Resolved, Started, Waiting
from torcxd.lifecycle.facts import Plan, Running, Target
from torcxd.lifecycle.machine import Lifecycle, Policy, Step
from torcxd.sandbox.bus import PrivateBus, private_bus

PROJECT = Path(__file__).parents[3]
POLICY = PROJECT / "systemd/io.torcxd.Torcxd1.conf"
PROPERTIES = "org.freedesktop.DBus.Properties"
TARGET = Target("amd64-usr", "1520.8.0", "1576.4.0", "v1.8.4", "x", ("17.03",), "y")
GATHERED = Gathered(1_700_000_000.25, TARGET, Running("1520.8.0", "1.12", intact=True))
RESOLVED = Resolved(1_700_000_001, Plan(TARGET, "1576.4.0", "17.03", (), resolved=True))
FETCHED = Fetched(1_700_000_002)
UNREACHABLE = Failed(1_700_000_001, message="no route", hint="", kind=Kind.TRANSIENT, exit_code=75, jitter=0.5)


class Node:
    """The core, telling the object under test."""

    def __init__(self, observer: BusObject) -> None:
        self._core = Lifecycle(load_chart(), Policy(ends_when_published=True, ends_on_permanent=True, retry_for=600))
        self._observer = observer
        self._step: Step | None = None

    def tell(self, event: Event) -> None:
        if isinstance(event, Started):
            self._step = self._core.start(None, event)
        else:
            assert self._step is not None
            self._step = self._core.step(self._step.snapshot, event)
        self._observer.stepped(self._step, event)


async def on_the_bus(bus: Bus) -> None:
    """Return once the object's name has an owner."""
    async with bus.owner_changes(NAME) as owners:
        names = await bus.call(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", "s", NAME
        )
        if not names[0]:
            await anext(owners)


@asynccontextmanager
async def running(address: str) -> AsyncIterator[tuple[BusObject, Node]]:
    told = BusObject(lambda: 0.5, lambda: address)
    node = Node(told)
    node.tell(Started(1_700_000_000, "boot-1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(told.run)
        async with open_bus(address) as bus:
            await on_the_bus(bus)
        yield told, node
        nursery.cancel_scope.cancel()


async def properties(bus: Bus) -> dict[str, object]:
    (found,) = await bus.call(NAME, PATH, PROPERTIES, "GetAll", "s", INTERFACE, returns="a{sv}")
    return {name: value for name, (_, value) in found.items()}


async def test_the_properties_follow_the_lifecycle(private: PrivateBus) -> None:
    async with running(private.address) as (_, node), open_bus(private.address) as bus:
        began = {"State": "gathering", "Since": 1_700_000_000_000_000, "Reason": "", "Target": ""}
        assert await properties(bus) == began
        node.tell(GATHERED)
        assert await properties(bus) == {
            "State": "fetching",
            "Since": 1_700_000_000_250_000,
            "Reason": "the target is known",
            "Target": "OS 1576.4.0, Kubernetes v1.8.4",
        }
        node.tell(RESOLVED)
        assert (await properties(bus))["Target"] == "OS 1576.4.0, Kubernetes v1.8.4, Docker 17.03"
        node.tell(Waiting(1_700_000_001, "the bucket"))
        assert (await properties(bus))["Reason"] == "the bucket"
        node.tell(UNREACHABLE)
        assert (await properties(bus))["Reason"] == "no route"


async def test_signals_tell_each_transition_in_order_and_the_new_values(private: PrivateBus) -> None:
    async with (
        running(private.address) as (_, node),
        open_bus(private.address) as bus,
        bus.signals(PATH, INTERFACE, "StateChanged") as moves,
        bus.signals(PATH, PROPERTIES, "PropertiesChanged") as changes,
    ):
        for each in (GATHERED, RESOLVED, FETCHED):
            node.tell(each)
        assert await anext(moves) == ("gathering", "fetching", "the target is known")
        assert await anext(moves) == ("fetching", "verified", "each image has its signed digest")
        async for interface, values, gone in changes:
            assert (interface, gone) == (INTERFACE, [])
            if values["State"] == ("s", "verified"):
                break
        assert values["Since"] == ("t", 1_700_000_002_000_000)


async def test_it_comes_back_after_a_restart_of_the_bus(private: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torcxd.lifecycle.retry.FIRST_DELAY", 0.0)
    async with running(private.address) as (_, node):
        await private.stop()
        node.tell(GATHERED)
        await private.start()
        async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "StateChanged") as moves:
            await on_the_bus(bus)
            assert (await properties(bus))["State"] == "fetching"
            node.tell(RESOLVED)
            node.tell(FETCHED)
            # What happened without a bus is not told late.
            assert await anext(moves) == ("fetching", "verified", "each image has its signed digest")


async def test_while_there_is_no_bus_it_is_told_once_and_nothing_piles_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    def address() -> str:
        nonlocal tries
        tries += 1
        return f"unix:path={tmp_path}/nobody"

    told = BusObject(lambda: 0.5, address)
    node = Node(told)
    node.tell(Started(0, "boot-1"))
    with caplog.at_level("INFO", "torcxd.daemon.bus_object"), trio.move_on_after(3600):
        await told.run()
    assert 30 < tries < 60
    assert len(caplog.records) == 1
    assert "cannot connect to the bus" in caplog.text
    for _ in range(500):
        node.tell(GATHERED)
        node.tell(RESOLVED)
        node.tell(FETCHED)
        node.tell(Started(0, "boot-1"))
    assert len(told._moves) == bus_object._MOST_WAITING


# A bus with the rules of the system bus, for what any user may do: dbus-daemon's system.conf denies owning names and
# calling methods, and each service's file allows what is its own.
SYSTEM_POLICY = """\
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
"""
NOBODY = 65534


@pytest.fixture
async def strict(socket_directory: Path) -> AsyncIterator[PrivateBus]:
    socket_directory.chmod(0o755)
    policy = f"{SYSTEM_POLICY}<include>{POLICY}</include>"
    async with private_bus(socket_directory, policy) as bus:
        yield bus


async def busctl(bus: PrivateBus, *arguments: str, user: int = NOBODY) -> subprocess.CompletedProcess[bytes]:
    command = ["busctl", f"--address={bus.address}", "--no-pager", *arguments]
    return await trio.run_process(
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )


async def test_any_user_may_read_it(strict: PrivateBus) -> None:
    async with running(strict.address):
        read = await busctl(strict, "get-property", NAME, PATH, INTERFACE, "State")
        assert (read.returncode, read.stdout) == (0, b's "gathering"\n')
        shown = (await busctl(strict, "introspect", NAME, PATH)).stdout.decode()
    offered = {tuple(line.split()[:3]) for line in shown.splitlines() if line.startswith(".")}
    assert {
        (".State", "property", "s"),
        (".Since", "property", "t"),
        (".Reason", "property", "s"),
        (".Target", "property", "s"),
        (".StateChanged", "signal", "sss"),
    } <= offered


async def test_nobody_may_change_it_and_only_root_own_it(strict: PrivateBus) -> None:
    async with running(strict.address):
        changed = await busctl(strict, "set-property", NAME, PATH, INTERFACE, "State", "s", "done", user=0)
        assert changed.returncode != 0
        denied = await busctl(strict, "call", NAME, PATH, INTERFACE, "Anything")
        assert denied.returncode != 0
        assert b"Access denied" in denied.stderr
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    owned = await busctl(strict, "call", *bus, "RequestName", "su", NAME, "0")
    assert owned.returncode != 0
    assert b"Access denied" in owned.stderr


def test_the_policy_names_the_service() -> None:
    text = POLICY.read_text("utf-8")
    assert set(re.findall(r'(?:own|send_destination)="([^"]*)"', text)) == {NAME}


async def test_a_bus_whose_policy_is_missing_is_told_with_its_reason(
    socket_directory: Path,
) -> None:
    async with private_bus(socket_directory, SYSTEM_POLICY) as bus:
        with pytest.raises(DBusError) as caught:
            await BusObject(lambda: 0.5, lambda: bus.address).serve(bus.address)
    assert caught.value.name == ACCESS_DENIED
    assert "refuses the name io.torcxd.Torcxd1" in caught.value.message
