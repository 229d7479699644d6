"""Calls and signals over a real message bus, and every way in which they fail."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from jeepney import DBusAddress, message_bus, new_method_return, new_signal

from torcxd.dbus.bus import open_bus
from torcxd.dbus.connection import connect, system_bus_address
from torcxd.dbus.errors import (
    DISCONNECTED,
    INCONSISTENT_MESSAGE,
    NAME_HAS_NO_OWNER,
    NO_REPLY,
    NO_SERVER,
    SERVICE_UNKNOWN,
    DBusError,
)
from torcxd.dbus.service import ErrorReply, Interface, Method, Property
from torcxd.dbus.signals import BUFFER
from torcxd.errors import ConfigurationError, Kind
from torcxd.sandbox.bus import PrivateBus, private_bus
from torcxd.sandbox.service import StandIn

NAME = "com.example.Echo"
PATH = "/com/example/echo"
INTERFACE = "com.example.Echo"


class Echo(StandIn):
    """A service that repeats what it is told."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.called = trio.Event()
        methods = {"Echo": Method("sa{sv}", "sa{sv}", self._echo), "Never": Method("", "", self._never)}
        properties = {"Volume": Property("u", lambda: 11)}
        self.export(PATH, Interface(INTERFACE, methods, properties, signals={"Said": "su", "Odd": "as"}))

    async def _echo(self, text: str, options: dict[str, Any]) -> tuple[Any, ...]:
        return (text, options)

    async def _never(self) -> tuple[Any, ...]:
        self.called.set()
        return await trio.sleep_forever()

    async def say(self, text: str, number: int) -> None:
        await self.emit(PATH, INTERFACE, "Said", text, number)


@pytest.fixture
async def echo(private: PrivateBus, nursery: trio.Nursery) -> Echo:
    service = Echo()
    await nursery.start(service.serve, private.address)
    return service


@asynccontextmanager
async def listening(path: Path, behave: Callable[[trio.SocketStream], Any]) -> AsyncIterator[str]:
    """Something that listens where a bus is expected, and behaves as it likes."""
    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(str(path))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, behave, [trio.SocketListener(listener)])
        yield f"unix:path={path}"
        nursery.cancel_scope.cancel()


async def test_a_call_brings_back_what_the_service_answers(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus:
        options = {"n": ("x", -1), "list": ("as", ["a", "b"])}
        answer = await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "grüß", options, returns="sa{sv}")
        assert answer == ("grüß", options)


async def test_calls_at_once_get_their_own_answers(private: PrivateBus, echo: Echo) -> None:
    answers: dict[str, str] = {}

    async def ask(text: str) -> None:
        answers[text] = (await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", text, {}))[0]

    async with open_bus(private.address) as bus, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, str(number))
    assert answers == {str(number): str(number) for number in range(50)}


async def test_a_property_is_read_without_its_variant(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus:
        assert await bus.get_property(NAME, PATH, INTERFACE, "Volume") == 11


async def test_the_stand_in_describes_itself(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus:
        (xml,) = await bus.call(NAME, PATH, "org.freedesktop.DBus.Introspectable", "Introspect")
        (every,) = await bus.call(NAME, PATH, "org.freedesktop.DBus.Properties", "GetAll", "s", INTERFACE)
    assert '<arg type="a{sv}" direction="out"/>' in xml
    assert '<property name="Volume" type="u" access="read"/>' in xml
    assert every == {"Volume": ("u", 11)}


@pytest.mark.parametrize(
    ("path", "member", "signature", "arguments", "name"),
    [
        (PATH, "Missing", "", (), "UnknownMethod"),
        ("/elsewhere", "Echo", "sa{sv}", ("", {}), "UnknownObject"),
        (PATH, "Echo", "s", ("",), "InvalidArgs"),
    ],
)
async def test_what_the_service_lacks_is_a_permanent_error_with_a_hint(
    private: PrivateBus, echo: Echo, path: str, member: str, signature: str, arguments: tuple[Any, ...], name: str
) -> None:
    async with open_bus(private.address) as bus:
        with pytest.raises(DBusError, match=f"{INTERFACE}.{member} of {NAME}") as caught:
            await bus.call(NAME, path, INTERFACE, member, signature, *arguments)
    assert caught.value.name == f"org.freedesktop.DBus.Error.{name}"
    assert caught.value.kind is Kind.PERMANENT
    assert caught.value.hint


async def test_an_error_reply_carries_its_name_and_words(private: PrivateBus, echo: Echo) -> None:
    echo.refuse("Echo", ErrorReply("com.example.Busy", "come back later"))
    async with open_bus(private.address) as bus:
        with pytest.raises(DBusError, match=r"com\.example\.Busy: come back later") as caught:
            await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {})
        assert caught.value.name == "com.example.Busy"
        assert caught.value.kind is Kind.TRANSIENT
        echo.heal("Echo")
        assert await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {}) == ("", {})


async def test_an_answer_of_another_shape_is_refused(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus:
        with pytest.raises(DBusError, match=re.escape("'sa{sv}' instead of 's'")) as caught:
            await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {}, returns="s")
    assert caught.value.name == INCONSISTENT_MESSAGE


async def test_a_missing_service_is_transient(private: PrivateBus) -> None:
    async with open_bus(private.address) as bus:
        with pytest.raises(DBusError, match=NAME) as caught:
            await bus.call(NAME, PATH, INTERFACE, "Echo")
    assert caught.value.absent
    assert caught.value.name in {SERVICE_UNKNOWN, NAME_HAS_NO_OWNER}
    assert caught.value.kind is Kind.TRANSIENT


async def test_a_call_without_an_answer_ends_at_its_deadline(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus:
        with pytest.raises(DBusError, match="no answer within") as caught:
            await bus.call(NAME, PATH, INTERFACE, "Never", timeout=0.05)
        assert caught.value.name == NO_REPLY
        # The connection is as good as before.
        assert await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {}) == ("", {})


async def test_a_service_that_leaves_in_mid_call_is_transient(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus, trio.open_nursery() as nursery:

        async def leave() -> None:
            await echo.called.wait()
            echo.leave()

        nursery.start_soon(leave)
        with pytest.raises(DBusError) as caught:
            await bus.call(NAME, PATH, INTERFACE, "Never")
    assert caught.value.name == NO_REPLY


async def test_signals_arrive_in_order_whoever_sends_them(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "Said") as bodies:
        for number in range(3):
            await echo.say("a", number)
        assert [await anext(bodies) for _ in range(3)] == [("a", 0), ("a", 1), ("a", 2)]


async def test_waiting_for_a_signal_can_be_cut_off_and_continued(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "Said") as bodies:
        with trio.move_on_after(0) as scope:
            await anext(bodies)
        assert scope.cancelled_caught
        await echo.say("after", 1)
        assert await anext(bodies) == ("after", 1)


async def test_a_slow_reader_loses_the_oldest_signals_and_never_the_last(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "Said") as bodies:
        for number in range(BUFFER + 10):
            await echo.say("n", number)
        # An answer comes after all signals that were sent before it.
        await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {})
        assert [(await anext(bodies))[1] for _ in range(BUFFER)] == list(range(10, BUFFER + 10))


async def test_discarded_signals_are_not_read(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "Said") as bodies:
        await echo.say("old", 1)
        await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {})
        bodies.discard()
        await echo.say("new", 2)
        assert await anext(bodies) == ("new", 2)


async def test_a_subscription_does_not_rely_on_one_that_was_cancelled_before_it_began(
    private: PrivateBus, echo: Echo
) -> None:
    async with open_bus(private.address) as bus, trio.open_nursery() as nursery:
        heard: list[Any] = []
        subscribed = trio.Event()
        first = trio.CancelScope()

        async def give_up() -> None:
            with first:
                async with bus.signals(PATH, INTERFACE, "Said", sender=NAME):
                    pass

        async def listen() -> None:
            async with bus.signals(PATH, INTERFACE, "Said", sender=NAME) as bodies:
                subscribed.set()
                heard.append(await anext(bodies))

        # Each gets as far as to its first question to the bus, which takes two answers to get through.
        nursery.start_soon(give_up)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(listen)
        await trio.lowlevel.checkpoint()
        first.cancel()
        await subscribed.wait()
        await echo.say("hello", 1)
        # The answer comes after the signal.
        await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "", {})
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard == [("hello", 1)]


async def test_a_left_subscription_receives_nothing_more(private: PrivateBus, echo: Echo) -> None:
    async with open_bus(private.address) as bus:
        async with bus.signals(PATH, INTERFACE, "Said") as first:
            pass
        async with bus.signals(PATH, INTERFACE, "Said") as second:
            await echo.say("hello", 1)
            assert await anext(second) == ("hello", 1)
        with trio.move_on_after(0) as scope:
            await anext(first)
        assert scope.cancelled_caught


async def test_owner_changes_tell_of_stops_and_starts(private: PrivateBus, echo: Echo, nursery: trio.Nursery) -> None:
    async with open_bus(private.address) as bus, bus.owner_changes(NAME) as changes:
        echo.leave()
        gone = await anext(changes)
        await nursery.start(echo.serve, private.address)
        back = await anext(changes)
    assert (gone.name, gone.new, back.old) == (NAME, "", "")
    assert gone.old != back.new


async def test_a_lost_bus_ends_calls_iterators_and_later_uses_with_the_one_error(
    private: PrivateBus, echo: Echo
) -> None:
    errors: list[DBusError] = []

    async def note(function: Callable[[], Any]) -> None:
        with pytest.raises(DBusError) as caught:
            await function()
        errors.append(caught.value)

    async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "Said") as bodies:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, lambda: bus.call(NAME, PATH, INTERFACE, "Never"))
            nursery.start_soon(note, bodies.__anext__)
            await echo.called.wait()
            await private.stop()
        await note(lambda: bus.call(NAME, PATH, INTERFACE, "Echo"))
        await note(bodies.__anext__)
        with pytest.raises(DBusError, match=private.address):
            async with bus.signals(PATH, INTERFACE, "Said"):
                pytest.fail("entered on a lost connection")
    assert [each.name for each in errors] == [DISCONNECTED] * 4
    assert all(each.kind is Kind.TRANSIENT for each in errors)


async def test_what_the_block_raises_comes_out_as_it_is(private: PrivateBus) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_bus(private.address):
            raise ZeroDivisionError


async def test_after_a_restart_of_the_bus_a_new_connection_works(private: PrivateBus, nursery: trio.Nursery) -> None:
    await private.restart()
    service = Echo()
    await nursery.start(service.serve, private.address)
    async with open_bus(private.address) as bus:
        assert await bus.call(NAME, PATH, INTERFACE, "Echo", "sa{sv}", "x", {}) == ("x", {})


async def test_no_socket_is_transient_and_names_the_address(tmp_path: Path) -> None:
    address = f"unix:path={tmp_path}/none"
    with pytest.raises(DBusError, match=f"{tmp_path}/none: No such file") as caught:
        async with open_bus(address):
            pytest.fail("connected to nothing")
    assert (caught.value.name, caught.value.kind) == (NO_SERVER, Kind.TRANSIENT)


@pytest.mark.parametrize("address", ["nonsense", "tcp:host=localhost,port=1", "unix:path"])
async def test_an_address_that_cannot_be_used_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{address}'"):
        await connect(address)


async def test_of_several_addresses_the_first_that_accepts_is_used(private: PrivateBus, tmp_path: Path) -> None:
    async with open_bus(f"unix:path={tmp_path}/none;{private.address}") as bus:
        await bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", returns="s")


async def test_without_an_address_it_is_the_system_bus(
    private: PrivateBus, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
    async with open_bus() as bus:
        assert await bus.get_property(NAME, PATH, INTERFACE, "Volume") == 11
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "")
    assert system_bus_address() == "unix:path=/var/run/dbus/system_bus_socket"


async def test_abstract_sockets_work(socket_directory: Path) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"REJECTED EXTERNAL\r\n")

    listener = trio.socket.socket(socket.AF_UNIX)
    name = f"torcxd-test-{os.getpid()}"
    await listener.bind("\0" + name)
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, refuse, [trio.SocketListener(listener)])
        with pytest.raises(DBusError, match="refused user id") as caught:
            await connect(f"unix:abstract={name}")
        nursery.cancel_scope.cancel()
    assert caught.value.kind is Kind.PERMANENT


async def test_a_bus_that_hangs_up_during_authentication_is_transient(socket_directory: Path) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async with listening(socket_directory / "bus", hang_up) as address:
        with pytest.raises(DBusError, match="closed the connection at once") as caught:
            await connect(address)
    assert (caught.value.name, caught.value.kind) == (DISCONNECTED, Kind.TRANSIENT)


async def test_a_bus_that_never_answers_is_given_up_at_the_deadline(socket_directory: Path) -> None:
    async def say_nothing(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass

    async with listening(socket_directory / "bus", say_nothing) as address:
        with pytest.raises(DBusError, match="accepted no connection within") as caught:
            await connect(address, timeout=0.01)
    assert caught.value.name == NO_REPLY


# An array of structures that have no fields, as jeepney does not write it: one of another type, which is renamed.
ENDLESS: bytes = (
    new_signal(DBusAddress(PATH, interface=INTERFACE), "Said", "aty", ([1, 2], 3)).serialise(7).replace(b"aty", b"a()")
)


@pytest.mark.parametrize(
    ("nonsense", "what"), [(b"\xff" * 64, "KeyError"), (ENDLESS, "an array of structures without fields")]
)
async def test_a_bus_that_talks_nonsense_after_the_greeting_ends_the_connection(
    private: PrivateBus, socket_directory: Path, nonsense: bytes, what: str
) -> None:
    """A relay to the real bus that breaks the stream on demand."""
    break_it = trio.Event()

    async def relay(client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(socket_directory / "bus")

        async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            while data := await source.receive_some():
                await sink.send_all(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server)
            nursery.start_soon(pump, server, client)
            await break_it.wait()
            await client.send_all(nonsense)

    async with listening(socket_directory / "relay", relay) as address, open_bus(address) as bus:
        break_it.set()
        with pytest.raises(DBusError, match=what) as caught:
            await bus.call(NAME, PATH, INTERFACE, "Echo")
    assert caught.value.name == DISCONNECTED


def answer_to_nobody() -> bytes:
    """An answer to the first message of a connection, Hello, that names nobody."""
    hello = message_bus.Hello()
    hello.header.serial = 1
    answer: bytes = new_method_return(hello).serialise(1)
    return answer


@pytest.mark.parametrize("answer", [b"\xff" * 64, answer_to_nobody()])
async def test_what_is_no_bus_is_transient(socket_directory: Path, answer: bytes) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        received = b""
        while not received.endswith(b"BEGIN\r\n"):
            received += await stream.receive_some()
            if received.endswith(b"\r\n") and b"BEGIN" not in received:
                await stream.send_all(b"OK 0123456789abcdef0123456789abcdef\r\n")
        await stream.send_all(answer)
        await trio.sleep_forever()

    async with listening(socket_directory / "bus", greet) as address:
        with pytest.raises(DBusError, match="no bus answers at") as caught:
            await connect(address)
    assert (caught.value.name, caught.value.kind) == (DISCONNECTED, Kind.TRANSIENT)


async def test_the_bus_hangs_up_on_who_sends_what_has_no_end(private: PrivateBus, echo: Echo) -> None:
    """Nobody but the bus itself can send a structure without fields: it reads what it passes on."""
    async with open_bus(private.address) as bus, bus.signals(PATH, INTERFACE, "Said") as bodies:
        attacker = await connect(private.address)
        await attacker.socket.send(ENDLESS)
        with suppress(trio.EndOfChannel, trio.BrokenResourceError):
            # What the bus has told it before, to the end of the connection.
            while True:
                await attacker.receive()
        await attacker.aclose()
        await echo.say("hello", 1)
        assert await bodies.__anext__() == ("hello", 1)


async def test_a_directory_with_too_long_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long for a socket"):
        async with private_bus(tmp_path / ("x" * 120)):
            pytest.fail("started")


async def test_the_private_bus_ends_when_its_creator_is_killed(socket_directory: Path) -> None:
    script = (
        "import sys, trio\n"
        "from pathlib import Path\n"
        "from torcxd.sandbox.bus import private_bus\n"
        "async def main():\n"
        "    async with private_bus(Path(sys.argv[1])) as bus:\n"
        "        print(bus.address, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    creator = await trio.lowlevel.open_process(
        [sys.executable, "-c", script, str(socket_directory)], stdout=subprocess.PIPE
    )
    assert creator.stdout is not None
    address = (await creator.stdout.receive_some()).decode().strip()
    service = "org.freedesktop.DBus"
    async with open_bus(address) as bus:
        path = "/org/freedesktop/DBus"
        (pid,) = await bus.call(service, path, service, "GetConnectionUnixProcessID", "s", service, returns="u")
        daemon = os.pidfd_open(pid)
        creator.kill()
        await creator.wait()
        # A pidfd becomes readable when its process ends.
        await trio.lowlevel.wait_readable(daemon)
        os.close(daemon)
        with pytest.raises(DBusError):
            await bus.call(service, path, service, "GetId")
