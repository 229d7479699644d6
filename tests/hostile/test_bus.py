"""A user of the node on the system bus, who says what update_engine, systemd or the bus should say."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from jeepney import DBusAddress, HeaderFields, new_signal
from jeepney.io.trio import DBusConnection

from tests.hostile.attack import attack, removed
from torcxd.dbus import bus as bus_module
from torcxd.dbus import update_engine
from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import DBusError
from torcxd.dbus.signals import OwnerChange, Rule
from torcxd.dbus.update_engine import INTERFACE, NAME, PATH, STATUS_SIGNATURE, UpdateEngine
from torcxd.sandbox import update_engine as stand_in
from torcxd.sandbox.bus import PrivateBus
from torcxd.sources.update_engine import follow_update

EVIL = "9999.0.0"
OWNER_CHANGED = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged")
# The rule as it was without a sender.
ANYBODY = removed(update_engine, "_STATUS_UPDATE", Rule(PATH, INTERFACE, "StatusUpdate"))


def forged(operation: str, version: str, *, to: Bus | None = None) -> Any:
    """A StatusUpdate by the attacker, to everybody or to one connection alone, which needs no match rule."""
    body = (1, 0.5, f"UPDATE_STATUS_{operation}", version, 1)
    message = new_signal(DBusAddress(PATH, interface=INTERFACE), "StatusUpdate", STATUS_SIGNATURE, body)
    if to is not None:
        message.header.fields[HeaderFields.destination] = to._connection.unique_name
    return message


@pytest.mark.accepts("N3")
@pytest.mark.parametrize("alone", [False, True], ids=["to all", "to one"])
@attack(ANYBODY)
async def test_a_forged_status(server: stand_in.UpdateEngine, bus: Bus, attacker: DBusConnection, alone: bool) -> str:
    async with UpdateEngine(bus).watch() as statuses:
        await attacker.send(forged("DOWNLOADING", EVIL, to=bus if alone else None))
        await passed(bus, attacker)
        await server.show(stand_in.Step("DOWNLOADING", progress=0.5, version="1576.4.0"))
        first = await statuses.__anext__()
    return f"{first.version} is believed to come" if first.version == EVIL else ""


async def passed(bus: Bus, attacker: DBusConnection) -> None:
    """The bus has handed on what the attacker sent before: it keeps the order of one sender."""
    async with bus.signals("/x", "x.y", "Z") as marks:
        await attacker.send(new_signal(DBusAddress("/x", interface="x.y"), "Z"))
        await marks.__anext__()


@pytest.mark.accepts("N3")
@attack(ANYBODY)
async def test_a_version_that_is_remembered_from_a_forged_signal(
    server: stand_in.UpdateEngine, bus: Bus, attacker: DBusConnection
) -> str:
    """update_engine was restarted and has forgotten the version: what it "said before" is the attacker's word."""
    await server.show(stand_in.Step("CHECKING_FOR_UPDATE"))
    got: list[str | None] = []

    async def follow() -> None:
        outcome = await follow_update(
            UpdateEngine(bus),
            attempt=True,
            progress_deadline=30,
            on_status=lambda _status: None,
            resolve_version=lambda _: "1576.4.0",
            on_wait=lambda _reason: following.set(),
        )
        got.append(outcome.next_version)

    following = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await following.wait()
        await attacker.send(forged("DOWNLOADING", EVIL))
        await passed(bus, attacker)
        await trio.testing.wait_all_tasks_blocked()
        await server.show(stand_in.Step("UPDATED_NEED_REBOOT", version="0.0.0"))
    return f"the node prepares for {got[0]}" if got[0] == EVIL else ""


@pytest.mark.accepts("N3")
@attack(removed(bus_module, "owner_rule", lambda name: Rule(*OWNER_CHANGED, name)))
async def test_a_forged_end_of_update_engine(server: stand_in.UpdateEngine, bus: Bus, attacker: DBusConnection) -> str:
    async with bus.owner_changes(NAME) as changes:
        address = DBusAddress(OWNER_CHANGED[0], interface=OWNER_CHANGED[1])
        message = new_signal(address, OWNER_CHANGED[2], "sss", (NAME, ":1.0", ""))
        message.header.fields[HeaderFields.destination] = bus._connection.unique_name
        try:
            await attacker.send(message)
            await passed(bus, attacker)
        except trio.BrokenResourceError:
            return ""
        server.leave()
        first = await changes.__anext__()
    return "" if first.old != ":1.0" else f"{first} is believed"


async def test_the_owner_is_followed_over_restarts(private: PrivateBus, bus: Bus, nursery: trio.Nursery) -> None:
    """Before update_engine is there, while it is, and after another has taken its place."""
    engine = UpdateEngine(bus)
    first, second = stand_in.UpdateEngine(), stand_in.UpdateEngine()
    async with engine.events() as events:
        for each in (first, second):
            await nursery.start(each.serve, private.address)
            change = await events.__anext__()
            assert isinstance(change, OwnerChange)
            assert change.new
            await each.show(stand_in.Step("DOWNLOADING", progress=0.5, version="1576.4.0"))
            status = await events.__anext__()
            assert not isinstance(status, OwnerChange)
            assert status.version == "1576.4.0"
            each.leave()
            change = await events.__anext__()
            assert isinstance(change, OwnerChange)
            assert not change.new


async def test_a_bus_that_cannot_tell_the_owner_is_asked_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, server: stand_in.UpdateEngine
) -> None:
    real = bus._call_bus

    async def refuse(method: str, argument: str, returns: str | None = None) -> tuple[Any, ...]:
        if method == "GetNameOwner":
            raise DBusError("org.freedesktop.DBus.Error.Failed", "no")
        return await real(method, argument, returns)

    monkeypatch.setattr(bus, "_call_bus", refuse)
    with pytest.raises(DBusError):
        async with UpdateEngine(bus).watch():
            pass
    monkeypatch.undo()
    async with UpdateEngine(bus).watch() as statuses:
        await server.show(stand_in.Step("DOWNLOADING", progress=0.5, version="1576.4.0"))
        assert (await statuses.__anext__()).version == "1576.4.0"
