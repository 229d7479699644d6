"""What every exported object does on a real bus, whoever calls it and however."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import trio

from torcxd.dbus import service as service_module
from torcxd.dbus.bus import Bus, open_bus
from torcxd.dbus.errors import NAME_TAKEN, NO_SERVER, DBusError
from torcxd.dbus.introspection import children, describe, split
from torcxd.dbus.service import ErrorReply, Interface, Method, Property, Service
from torcxd.sandbox.bus import PrivateBus

NAME = "com.example.Meter"
PATH = "/com/example/Meter"
STANDARD = "org.freedesktop.DBus.Error."
PROPERTIES = "org.freedesktop.DBus.Properties"


class Meter(Service):
    """A property, a method that hangs, and two that fail."""

    def __init__(self) -> None:
        super().__init__(NAME, answer_timeout=0.2)
        self.value = 1
        self.waiting = 0
        self.full = trio.Event()
        self.cancelled = 0
        methods = {
            "Hang": Method("", "", self._hang),
            "Break": Method("", "", self._break),
            "Lie": Method("", "u", self._lie),
            "Refuse": Method("", "", self._refuse),
        }
        properties = {"Value": Property("u", lambda: self.value), "Broken": Property("u", lambda: 1 // 0)}
        self.export(PATH, Interface(NAME, methods, properties, {"Moved": "ua{sv}"}, {"Moved": ("to", "details")}))
        self.export(PATH + "/plain", Interface(NAME, properties={"Value": Property("u", lambda: self.value)}))

    async def _hang(self) -> tuple[Any, ...]:
        self.waiting += 1
        if self.waiting == service_module.MOST_CALLS:
            self.full.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        raise AssertionError

    async def _break(self) -> tuple[Any, ...]:
        raise KeyError("defect")

    async def _lie(self) -> tuple[Any, ...]:
        return ("not a number",)

    async def _refuse(self) -> tuple[Any, ...]:
        raise ErrorReply("com.example.Error.No", "not today")


@pytest.fixture
async def meter(private: PrivateBus, nursery: trio.Nursery) -> Meter:
    service = Meter()
    await nursery.start(service.serve, private.address)
    return service


async def failing(bus: Bus, member: str, interface: str = NAME, signature: str = "", *arguments: Any) -> DBusError:
    with pytest.raises(DBusError) as caught:
        await bus.call(NAME, PATH, interface, member, signature, *arguments)
    return caught.value


@pytest.mark.parametrize(
    ("member", "name", "text"),
    [
        ("Hang", "Timeout", "did not come to an answer within 0.2 s"),
        ("Break", "Failed", "KeyError: 'defect'"),
        ("Lie", "Failed", "error"),
        ("Missing", "UnknownMethod", "no method Missing"),
    ],
)
async def test_a_failing_handler_answers_and_the_service_lives_on(
    private: PrivateBus, meter: Meter, member: str, name: str, text: str
) -> None:
    async with open_bus(private.address) as bus:
        error = await failing(bus, member)
        assert error.name == STANDARD + name
        assert text in error.message
        assert await bus.get_property(NAME, PATH, NAME, "Value") == 1


async def test_a_handler_can_answer_with_an_error_of_its_own(private: PrivateBus, meter: Meter) -> None:
    async with open_bus(private.address) as bus:
        error = await failing(bus, "Refuse")
    assert error.name == "com.example.Error.No"
    assert "not today" in error.message


async def test_calls_without_end_do_not_pile_up(private: PrivateBus, meter: Meter, nursery: trio.Nursery) -> None:
    async with open_bus(private.address) as bus, trio.open_nursery() as callers:
        for _ in range(service_module.MOST_CALLS):
            callers.start_soon(failing, bus, "Hang")
        await meter.full.wait()
        assert (await failing(bus, "Hang")).name == STANDARD + "LimitsExceeded"
        assert meter.waiting == service_module.MOST_CALLS
    async with open_bus(private.address) as bus:
        assert await bus.get_property(NAME, PATH, NAME, "Value") == 1


async def test_properties_are_read_only_and_unknown_ones_named(private: PrivateBus, meter: Meter) -> None:
    async with open_bus(private.address) as bus:
        refused = await failing(bus, "Set", PROPERTIES, "ssv", NAME, "Value", ("u", 7))
        assert refused.name == STANDARD + "PropertyReadOnly"
        unknown = await failing(bus, "Set", PROPERTIES, "ssv", NAME, "Weight", ("u", 7))
        assert unknown.name == STANDARD + "UnknownProperty"
        assert (await failing(bus, "Get", PROPERTIES, "ss", NAME, "Broken")).name == STANDARD + "Failed"
    assert meter.value == 1


async def test_changed_properties_are_told_with_their_values(private: PrivateBus, meter: Meter) -> None:
    async with (
        open_bus(private.address) as bus,
        bus.signals(PATH + "/plain", PROPERTIES, "PropertiesChanged") as changes,
    ):
        meter.value = 2
        await meter.emit_properties_changed(PATH + "/plain", NAME)
        assert await anext(changes) == (NAME, {"Value": ("u", 2)}, [])


async def test_busctl_finds_the_object_from_the_root(private: PrivateBus, meter: Meter) -> None:
    async def busctl(*arguments: str) -> str:
        command = ["busctl", f"--address={private.address}", "--no-pager", *arguments]
        done = await trio.run_process(command, capture_stdout=True)
        return done.stdout.decode()

    tree = await busctl("tree", "--list", NAME)
    assert tree.split() == ["/", "/com", "/com/example", PATH, PATH + "/plain"]
    shown = await busctl("introspect", "--xml-interface", NAME, PATH)
    assert '<arg type="a{sv}" name="details"/>' in shown
    assert '<node name="plain"/>' in shown
    assert await busctl("get-property", NAME, PATH, NAME, "Value") == "u 1\n"


async def test_a_name_that_is_taken_is_said_so(private: PrivateBus, meter: Meter) -> None:
    with pytest.raises(DBusError, match="another process on the bus") as caught:
        await Meter().serve(private.address)
    assert caught.value.name == NAME_TAKEN


async def test_a_bus_that_ends_ends_the_service_which_can_serve_the_next(
    private: PrivateBus, meter: Meter, nursery: trio.Nursery
) -> None:
    again = Meter()
    ended = trio.Event()

    async def serve() -> None:
        again.name = "com.example.Second"
        await again.serve(private.address)
        ended.set()

    async with open_bus(private.address) as bus, bus.owner_changes("com.example.Second") as owners:
        nursery.start_soon(serve)
        await anext(owners)
    await private.restart()
    await ended.wait()
    await nursery.start(again.serve, private.address)
    async with open_bus(private.address) as bus:
        assert await bus.get_property("com.example.Second", PATH, NAME, "Value") == 1


async def test_leaving_gives_the_name_back_and_cancels_what_is_answered(
    private: PrivateBus, nursery: trio.Nursery
) -> None:
    service = Meter()
    await nursery.start(service.serve, private.address)
    async with open_bus(private.address) as bus:
        with trio.move_on_after(0):
            await bus.call(NAME, PATH, NAME, "Value")
        async with bus.owner_changes(NAME) as owners:
            service.leave()
            assert (await anext(owners)).new == ""
    # Without the bus, telling it something is nothing.
    await service.emit(PATH, NAME, "Moved", 1, {})
    with pytest.raises(RuntimeError, match="not on the bus"):
        service.start_soon(trio.sleep_forever)


async def test_an_absent_bus_is_a_transient_error(tmp_path: Path) -> None:
    with pytest.raises(DBusError) as caught:
        await Meter().serve(f"unix:path={tmp_path}/nobody")
    assert caught.value.name == NO_SERVER


@pytest.mark.parametrize(
    ("signature", "types"),
    [("", []), ("s", ["s"]), ("xdssx", ["x", "d", "s", "s", "x"]), ("aa{s(iv)}a(ss)b", ["aa{s(iv)}", "a(ss)", "b"])],
)
def test_signatures_are_split_into_complete_types(signature: str, types: list[str]) -> None:
    assert split(signature) == types


def test_nodes_on_the_way_to_an_object_are_named_once() -> None:
    objects = ["/a/b", "/a/b/c", "/a/bb", "/d"]
    assert [children(each, objects) for each in ("/", "/a", "/a/b", "/a/bb")] == [["a", "d"], ["b", "bb"], ["c"], []]


def test_names_are_quoted_in_the_introspection_data() -> None:
    node = ET.fromstring(describe([Interface('a<b"', signals={"S": "sa{sv}"})], ["child"]))
    assert [each.get("name") for each in node] == ['a<b"', "child"]
    assert [each.get("type") for each in node.iter("arg")] == ["s", "a{sv}"]
