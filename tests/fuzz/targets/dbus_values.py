"""What services say over the bus: update_engine's status and signals, owners, jobs, properties, errors, silence."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any, Final

import trio
from jeepney import DBusAddress, HeaderFields, new_error, new_method_return, new_signal
from jeepney.low_level import Parser
from trio.testing import MockClock

from tests.fuzz.given import Given
from tests.fuzz.oracle import demand, refusing
from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import DBusError
from torcxd.dbus.login1 import Login1
from torcxd.dbus.systemd1 import Systemd1
from torcxd.dbus.update_engine import INTERFACE, NAME, PATH, Operation, Status, UpdateEngine
from torcxd.errors import TransientError
from torcxd.lifecycle.facts import OsUpdate
from torcxd.sources.os_update import watch_os_update
from torcxd.sources.update_engine import follow_update

_OPERATIONS: Final = (
    *(f"UPDATE_STATUS_{each}" for each in Operation),
    "UPDATE_STATUS_",
    "IDLE",
    "UPDATE_STATUS_ATTEMPTING",
)
_VERSIONS: Final = ("1576.4.0", "", "0.0.0", "1632.2.1+build", "../../etc", "v1")
_ERRORS: Final = (
    "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.NameHasNoOwner",
    "com.coreos.update1.Error.Failed",
)  # fmt: skip
# How many changes a watch is followed for: it has no end of its own.
_CHANGES: Final = 8


class _Scripted:
    """A connection to a bus on which everybody does what the fuzzer says."""

    enable_fds = False

    def __init__(self, given: Given) -> None:
        self.outgoing_serial = count(1)
        self._given = given
        self._parser = Parser()
        self._waiting: deque[Any] = deque()
        self._changed = trio.Event()
        self._closed = False

    async def send(self, message: Any, *, serial: int | None = None) -> None:
        """A call: what comes of it is decided here."""
        await trio.lowlevel.checkpoint()
        message.header.serial = serial or next(self.outgoing_serial)
        for _ in range(self._given.number(4)):
            self._arrive(self._signal())
        match self._given.number(8):
            case 0 if not self._given:
                self._closed = True
            case 1:
                self._arrive(new_error(message, self._given.choice(_ERRORS), "s", (self._given.text(),)))
            case 2:
                self._closed = self._given.number(4) == 0
            case 3:
                self._arrive(new_method_return(message, *self._other()))
            case _:
                self._arrive(new_method_return(message, *self._answer(message)))
        self._changed.set()

    async def receive(self) -> Any:
        """What arrives next."""
        while not self._waiting:
            if self._closed:
                raise trio.EndOfChannel
            self._changed = trio.Event()
            await self._changed.wait()
        return self._waiting.popleft()

    def _arrive(self, message: Any) -> None:
        # Over the wire and back, so that it is what jeepney makes of bytes.
        self._waiting.extend(self._parser.feed(message.serialise(1)))

    def _answer(self, message: Any) -> tuple[str | None, tuple[Any, ...]]:
        match message.header.fields[HeaderFields.member]:
            case "GetNameOwner":
                return "s", (self._given.choice((":1.7", ":1.7", ":1.8", "")),)
            case "GetStatus":
                return "xdssx", self._status()
            case "ListJobs":
                return "a(usssoo)", ([(1, self._given.text(), "start", self._given.text(), "/a", "/b")],)
            case "Get":
                return "v", (self._given.choice((("b", True), ("s", "x"), ("u", 7), ("as", []), ("v", ("b", False)))),)
            case "GetUnit":
                return "o", ("/org/freedesktop/systemd1/unit/x",)
            case _:
                return None, ()

    def _other(self) -> tuple[str | None, tuple[Any, ...]]:
        others: list[tuple[str | None, tuple[Any, ...]]] = [
            (None, ()), ("s", (self._given.text(),)), ("xdss", (1, 0.5, "a", "b")), ("v", (("s", "x"),)), ("as", ([],)),
        ]  # fmt: skip
        return self._given.choice(others)

    def _signal(self) -> Any:
        sender = self._given.choice((":1.7", ":1.7", ":1.7", ":1.8"))
        match self._given.number(4):
            case 0:
                sender = "org.freedesktop.DBus"
                address = DBusAddress("/org/freedesktop/DBus", interface=sender)
                names = (NAME, self._given.choice(("", ":1.7")), self._given.choice(("", ":1.7", ":1.8")))
                signal = new_signal(address, "NameOwnerChanged", "sss", names)
            case 1:
                signal = new_signal(DBusAddress(PATH, interface=INTERFACE), "StatusUpdate", *self._other())
            case _:
                signal = new_signal(DBusAddress(PATH, interface=INTERFACE), "StatusUpdate", "xdssx", self._status())
        signal.header.fields[HeaderFields.sender] = sender
        return signal

    def _status(self) -> tuple[Any, ...]:
        given = self._given
        operation = given.choice(_OPERATIONS) if given.number(8) else given.text()
        version = given.choice(_VERSIONS) if given.number(4) else given.text()
        progress = given.double() if given.number(2) else given.number(101) / 100
        return (given.number(3), progress, operation, version, given.long())


def check(data: bytes) -> None:
    given = Given(data)
    what = given.number(3)
    trio.run(_talk, given, what, clock=MockClock(autojump_threshold=0))


async def _talk(given: Given, what: int) -> None:
    connection: Any = _Scripted(given)
    bus = Bus(connection, "unix:path=/run/dbus")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus._receive)
        with refusing(DBusError, TransientError):
            await (_follow, _watch, _ask)[what](bus)
        nursery.cancel_scope.cancel()


def _judge(status: Status) -> None:
    demand(0 <= status.progress <= 1, f"a progress of {status.progress}")


async def _follow(bus: Bus) -> None:
    outcome = await follow_update(
        UpdateEngine(bus),
        attempt=True,
        progress_deadline=60,
        on_status=_judge,
        resolve_version=lambda _: None,
        on_wait=lambda _: None,
    )
    demand(outcome.next_version not in {"", "0.0.0"}, "an unknown version is taken for one")


async def _watch(bus: Bus) -> None:
    changes = 0

    async def on_change(update: OsUpdate) -> None:
        nonlocal changes
        demand(update.version not in {"", "0.0.0"}, "an unknown version is taken for one")
        changes += 1
        if changes == _CHANGES:
            raise TransientError("that is enough")

    with trio.move_on_after(600):
        await watch_os_update(UpdateEngine(bus), on_change, lambda: None)


async def _ask(bus: Bus) -> None:
    demand(await Login1(bus).preparing_for_shutdown() in {True, False}, "neither true nor false")
    demand(await Systemd1(bus).going_down() in {True, False}, "neither true nor false")
