"""A D-Bus service for stand-ins: objects with methods, properties and signals, which can also misbehave on demand.

Built on jeepney's plain connection: one task receives, each call is answered in a task of its own, so that one that
hangs holds up no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import trio
from jeepney import (
    DBusAddress,
    DBusNameFlags,
    HeaderFields,
    MessageFlag,
    MessageType,
    message_bus,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.trio import DBusConnection

from torcxd.dbus.connection import connect

_ERROR: Final = "org.freedesktop.DBus.Error."
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
_PEER: Final = "org.freedesktop.DBus.Peer"
# RequestName's answer for "you own it now"; the D-Bus specification, "org.freedesktop.DBus.RequestName".
_PRIMARY_OWNER: Final = 1


class ErrorReply(Exception):
    """Raised by a handler to answer with a D-Bus error.

    :param name: the D-Bus error name.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class Method:
    """A method.

    :param takes: the signature of its arguments.
    :param returns: the signature of its answer.
    :param handler: called with the arguments; answers with a tuple that fits *returns*. Open files among the answer are
        sent as file descriptors and closed.
    """

    takes: str
    returns: str
    handler: Callable[..., Awaitable[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Property:
    """A read-only property: its signature, and what gives its value."""

    signature: str
    get: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Interface:
    """What one interface of one object offers. ``signals`` maps names to signatures."""

    name: str
    methods: Mapping[str, Method] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    signals: Mapping[str, str] = field(default_factory=dict)


class Service:
    """Objects under one bus name.

    :param name: the well-known name to own.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._objects: dict[str, dict[str, Interface]] = {}
        self._faults: dict[str, ErrorReply | None] = {}
        self._connection: DBusConnection | None = None
        self._nursery: trio.Nursery | None = None

    def export(self, path: str, interface: Interface) -> None:
        """Offer *interface* at *path*."""
        self._objects.setdefault(path, {})[interface.name] = interface

    def withdraw(self, path: str) -> None:
        """Take the object at *path* away."""
        self._objects.pop(path, None)

    # Misbehaviour, by the name of the method.

    def hang(self, member: str) -> None:
        """From now on never answer calls of *member*."""
        self._faults[member] = None

    def refuse(self, member: str, error: ErrorReply) -> None:
        """From now on answer calls of *member* with *error*."""
        self._faults[member] = error

    def heal(self, member: str) -> None:
        """From now on answer calls of *member* properly again."""
        self._faults.pop(member, None)

    # Life on the bus.

    async def serve(self, address: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the name and answer calls until :meth:`leave`, or until the bus ends the connection.

        To be started with ``await nursery.start(service.serve, address)``; may be run again afterwards.

        :raises TorcxdError: the bus cannot be reached.
        :raises RuntimeError: somebody else owns the name.
        """
        connection = await connect(address, enable_fds=True)
        try:
            await self._own_name(connection)
            async with trio.open_nursery() as nursery:
                self._connection, self._nursery = connection, nursery
                await self.started()
                task_status.started()
                await self._answer_all(connection, nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._connection = self._nursery = None
            await connection.aclose()

    def leave(self) -> None:
        """Drop off the bus, as a process that ends; what it was doing ends, too."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def started(self) -> None:
        """For subclasses: what a freshly started process does, before anybody is told that it is ready."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run something as long as the service is on the bus."""
        if self._nursery is None:
            raise RuntimeError(f"{self.name} is not on the bus")
        self._nursery.start_soon(function, *args)

    async def emit(self, path: str, interface: str, member: str, *args: Any) -> None:
        """Send a signal that *interface* declares; nothing happens while the service is not on the bus."""
        signature = self._objects[path][interface].signals[member]
        await self._send(new_signal(DBusAddress(path, interface=interface), member, signature, args))

    async def _own_name(self, connection: DBusConnection) -> None:
        serial = next(connection.outgoing_serial)
        await connection.send(message_bus.RequestName(self.name, DBusNameFlags.do_not_queue), serial=serial)
        while True:
            message = await connection.receive()
            if message.header.fields.get(HeaderFields.reply_serial) == serial:
                break
        if message.body != (_PRIMARY_OWNER,):
            raise RuntimeError(f"cannot own {self.name}: {message.body}")

    async def _answer_all(self, connection: DBusConnection, nursery: trio.Nursery) -> None:
        try:
            while True:
                message = await connection.receive()
                if message.header.message_type is MessageType.method_call:
                    nursery.start_soon(self._answer, message)
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _answer(self, message: Any) -> None:
        try:
            method, body = await self._handle(message)
        except ErrorReply as error:
            reply = new_error(message, error.name, "s", (str(error),))
            body = ()
        else:
            reply = new_method_return(message, method.returns or None, body)
        if not message.header.flags & MessageFlag.no_reply_expected:
            await self._send(reply)
        for each in body:
            if hasattr(each, "fileno"):
                each.close()

    async def _handle(self, message: Any) -> tuple[Method, tuple[Any, ...]]:
        fields = message.header.fields
        path, member = fields[HeaderFields.path], fields[HeaderFields.member]
        if member in self._faults:
            fault = self._faults[member]
            if fault is None:
                await trio.sleep_forever()
            else:
                raise fault
        method = self._find(path, fields.get(HeaderFields.interface), member)
        if fields.get(HeaderFields.signature, "") != method.takes:
            raise ErrorReply(_ERROR + "InvalidArgs", f"{member} takes {method.takes!r}")
        return method, await method.handler(*message.body)

    def _find(self, path: str, interface: str | None, member: str) -> Method:
        if path not in self._objects:
            raise ErrorReply(_ERROR + "UnknownObject", f"no object at {path}")
        interfaces = self._objects[path] | {each.name: each for each in self._standard(path)}
        for each in interfaces.values():
            if interface in (None, each.name) and member in each.methods:
                return each.methods[member]
        raise ErrorReply(_ERROR + "UnknownMethod", f"no method {member} in {interface} at {path}")

    async def _send(self, message: Any) -> None:
        if self._connection is not None:
            try:
                await self._connection.send(message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # The receiving task notices, too, and ends the service.

    # The interfaces that every object has; the D-Bus specification, "Standard Interfaces".

    def _standard(self, path: str) -> tuple[Interface, ...]:
        async def get(interface: str, name: str) -> tuple[Any, ...]:
            offered = self._objects[path].get(interface)
            if offered is None or name not in offered.properties:
                raise ErrorReply(_ERROR + "UnknownProperty", f"no property {name} in {interface} at {path}")
            found = offered.properties[name]
            return ((found.signature, found.get()),)

        async def get_all(interface: str) -> tuple[Any, ...]:
            offered = self._objects[path].get(interface, Interface(interface))
            return ({name: (each.signature, each.get()) for name, each in offered.properties.items()},)

        async def introspect() -> tuple[Any, ...]:
            return (self._describe(path),)

        async def ping() -> tuple[Any, ...]:
            return ()

        return (
            Interface(_PROPERTIES, {"Get": Method("ss", "v", get), "GetAll": Method("s", "a{sv}", get_all)}),
            Interface(_INTROSPECTABLE, {"Introspect": Method("", "s", introspect)}),
            Interface(_PEER, {"Ping": Method("", "", ping)}),
        )

    def _describe(self, path: str) -> str:
        """Introspection XML; the argument types are one ``arg`` each, without names."""
        lines = ["<node>"]
        for each in (*self._objects[path].values(), *self._standard(path)):
            lines.append(f" <interface name={quoteattr(each.name)}>")
            for name, method in each.methods.items():
                lines.append(f"  <method name={quoteattr(name)}>")
                lines += [_argument(one, ' direction="in"') for one in _split(method.takes)]
                lines += [_argument(one, ' direction="out"') for one in _split(method.returns)]
                lines.append("  </method>")
            for name, found in each.properties.items():
                lines.append(f'  <property name={quoteattr(name)} type={quoteattr(found.signature)} access="read"/>')
            for name, signature in each.signals.items():
                lines.append(f"  <signal name={quoteattr(name)}>")
                lines += [_argument(one, "") for one in _split(signature)]
                lines.append("  </signal>")
            lines.append(" </interface>")
        return "\n".join([*lines, "</node>"])


def _argument(signature: str, direction: str) -> str:
    return f"   <arg type={quoteattr(signature)}{direction}/>"


def _split(signature: str) -> list[str]:
    """The complete types of a signature: ``xa(sv)b`` is ``x``, ``a(sv)``, ``b``."""
    types: list[str] = []
    start = depth = 0
    for position, letter in enumerate(signature):
        depth += (letter in "({") - (letter in ")}")
        if depth == 0 and letter != "a":
            types.append(signature[start : position + 1])
            start = position + 1
    return types
