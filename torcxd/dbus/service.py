"""Offering objects on a message bus: methods, read-only properties and signals under one well-known name.

One task receives, and each call is answered in a task of its own, within a deadline; so a call that hangs holds up no
other, and callers without end cannot make the process grow. A handler that fails answers with an error; only the bus
itself ends the service.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

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

from torcxd.dbus import introspection
from torcxd.dbus.connection import OPEN_TIMEOUT, Connection, connect
from torcxd.dbus.errors import (
    DISCONNECTED,
    FAILED,
    INVALID_ARGS,
    LIMITS_EXCEEDED,
    NAME_TAKEN,
    NO_REPLY,
    TIMEOUT,
    UNKNOWN_OBJECT,
    DBusError,
)
from torcxd.dbus.interface import ErrorReply, Interface, Method, Property
from torcxd.dbus.parser import UnreadableError

# Whoever offers objects describes them.
__all__ = ["ANSWER_TIMEOUT", "MOST_CALLS", "PROPERTIES", "ErrorReply", "Interface", "Method", "Property", "Service"]

log = logging.getLogger(__name__)

# Seconds for answering one call, less than the 25 for which callers wait: they learn of a hanging handler rather than
# of a service that seems dead.
ANSWER_TIMEOUT: Final = 20.0

# Calls that are answered at once. Whoever asks a status has one or two on the way; the bus itself allows a connection
# some thousands, each of which would be a task here.
MOST_CALLS: Final = 64

_STANDARD: Final = "org.freedesktop.DBus.Error."
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
# RequestName's answer for "you own it now"; the D-Bus specification, "org.freedesktop.DBus.RequestName".
_PRIMARY_OWNER: Final = 1


class Service:
    """Objects under one bus name.

    :param name: the well-known name to own.
    :param enable_fds: whether answers can carry file descriptors.
    :param answer_timeout: seconds for answering one call.
    """

    def __init__(self, name: str, *, enable_fds: bool = False, answer_timeout: float = ANSWER_TIMEOUT) -> None:
        self.name = name
        self._enable_fds = enable_fds
        self._answer_timeout = answer_timeout
        self._objects: dict[str, dict[str, Interface]] = {}
        self._connection: Connection | None = None
        self._nursery: trio.Nursery | None = None
        self._calls = 0

    def export(self, path: str, interface: Interface) -> None:
        """Offer *interface* at *path*."""
        self._objects.setdefault(path, {})[interface.name] = interface

    # Life on the bus.

    async def serve(self, address: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the name and answer calls until :meth:`leave`, or until the bus ends the connection.

        To be started with ``await nursery.start(service.serve, address)``; may be run again afterwards. Cancellation
        closes the connection, which gives the name back.

        :raises DBusError: the bus cannot be reached or refuses the name, or somebody else owns it.
        """
        connection = await connect(address, enable_fds=self._enable_fds)
        try:
            await self._own_name(connection, address)
            async with trio.open_nursery() as nursery:
                self._connection, self._nursery, self._calls = connection, nursery, 0
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
        """For subclasses: what is done on the bus before anybody is told that the service is ready."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run something as long as the service is on the bus."""
        if self._nursery is None:
            raise RuntimeError(f"{self.name} is not on the bus")
        self._nursery.start_soon(function, *args)

    async def emit(self, path: str, interface: str, member: str, *args: Any) -> None:
        """Send a signal that *interface* declares; nothing happens while the service is not on the bus."""
        signature = self._objects[path][interface].signals[member]
        await self._send(new_signal(DBusAddress(path, interface=interface), member, signature, args))

    async def emit_properties_changed(self, path: str, interface: str) -> None:
        """Tell the present values of all properties of *interface*; the D-Bus specification, "PropertiesChanged"."""
        offered = self._objects[path][interface].properties
        body: tuple[Any, ...] = (interface, {name: (each.signature, each.get()) for name, each in offered.items()}, [])
        await self._send(new_signal(DBusAddress(path, interface=PROPERTIES), "PropertiesChanged", "sa{sv}as", body))

    async def _own_name(self, connection: Connection, address: str) -> None:
        with trio.move_on_after(OPEN_TIMEOUT):
            try:
                serial = next(connection.outgoing_serial)
                await connection.send(message_bus.RequestName(self.name, DBusNameFlags.do_not_queue), serial=serial)
                while True:
                    message = await connection.receive()
                    if message.header.fields.get(HeaderFields.reply_serial) == serial:
                        break
            except UnreadableError as error:
                raise DBusError(DISCONNECTED, f"the bus at {address} is none: {error}") from error
            except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise DBusError(DISCONNECTED, f"the bus at {address} closed the connection at once") from error
            if message.header.message_type is MessageType.error:
                name = str(message.header.fields.get(HeaderFields.error_name))
                raise DBusError(name, f"the bus at {address} refuses the name {self.name} with {name}")
            if message.body != (_PRIMARY_OWNER,):
                raise DBusError(NAME_TAKEN, f"another process on the bus at {address} owns the name {self.name}")
            return
        raise DBusError(NO_REPLY, f"the bus at {address} did not answer to RequestName within {OPEN_TIMEOUT:g} s")

    async def _answer_all(self, connection: Connection, nursery: trio.Nursery) -> None:
        try:
            while True:
                message = await connection.receive()
                if message.header.message_type is MessageType.method_call:
                    self._calls += 1
                    nursery.start_soon(self._answer, message)
        except UnreadableError as error:
            log.debug("%s leaves the bus: %s.", self.name, error)
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _answer(self, message: Any) -> None:
        body: tuple[Any, ...] = ()
        try:
            if self._calls > MOST_CALLS:
                raise ErrorReply(LIMITS_EXCEEDED, f"{self.name} answers {MOST_CALLS} calls at once, not more")
            with trio.fail_after(self._answer_timeout):
                signature, body = await self.handle(message)
                await self._reply(message, new_method_return(message, signature or None, body))
        except ErrorReply as error:
            await self._reply(message, new_error(message, error.name, "s", (str(error),)))
        except trio.TooSlowError:
            text = f"{self.name} did not come to an answer within {self._answer_timeout:g} s"
            await self._reply(message, new_error(message, TIMEOUT, "s", (text,)))
        except Exception as error:
            # A defect here must neither end the service nor leave the caller waiting.
            log.debug("A D-Bus call failed.", exc_info=error)
            await self._reply(message, new_error(message, FAILED, "s", (f"{type(error).__name__}: {error}",)))
        finally:
            self._calls -= 1
            for each in body:
                if hasattr(each, "fileno"):
                    each.close()

    async def handle(self, message: Any) -> tuple[str, tuple[Any, ...]]:
        """Carry out one call: the signature of the answer, and the answer. Raises :class:`ErrorReply`."""
        fields = message.header.fields
        path, member = fields[HeaderFields.path], fields[HeaderFields.member]
        method = self._find(path, fields.get(HeaderFields.interface), member)
        if fields.get(HeaderFields.signature, "") != method.takes:
            raise ErrorReply(INVALID_ARGS, f"{member} takes {method.takes!r}")
        return method.returns, await method.handler(*message.body)

    def _find(self, path: str, interface: str | None, member: str) -> Method:
        own = self._objects.get(path, {})
        if not own and not introspection.children(path, self._objects):
            raise ErrorReply(UNKNOWN_OBJECT, f"no object at {path}")
        for each in (*own.values(), *self._standard(path)):
            if interface in (None, each.name) and member in each.methods:
                return each.methods[member]
        raise ErrorReply(_STANDARD + "UnknownMethod", f"no method {member} in {interface} at {path}")

    async def _reply(self, message: Any, reply: Any) -> None:
        if not message.header.flags & MessageFlag.no_reply_expected:
            await self._send(reply)

    async def _send(self, message: Any) -> None:
        if self._connection is not None:
            try:
                await self._connection.send(message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # The receiving task notices, too, and ends the service.

    # The interfaces that every object has; the D-Bus specification, "Standard Interfaces".

    def _standard(self, path: str) -> tuple[Interface, ...]:
        offered = self._objects.get(path, {})

        async def get(interface: str, name: str) -> tuple[Any, ...]:
            found = _property(offered, interface, name)
            return ((found.signature, found.get()),)

        async def set_(interface: str, name: str, _: Any) -> tuple[Any, ...]:
            _property(offered, interface, name)
            raise ErrorReply(_STANDARD + "PropertyReadOnly", f"the property {name} in {interface} cannot be set")

        async def get_all(interface: str) -> tuple[Any, ...]:
            properties = offered[interface].properties if interface in offered else {}
            return ({name: (each.signature, each.get()) for name, each in properties.items()},)

        async def introspect() -> tuple[Any, ...]:
            interfaces = (*offered.values(), *self._standard(path))
            return (introspection.describe(interfaces, introspection.children(path, self._objects)),)

        async def ping() -> tuple[Any, ...]:
            return ()

        return (
            Interface(
                PROPERTIES,
                {
                    "Get": Method("ss", "v", get),
                    "Set": Method("ssv", "", set_),
                    "GetAll": Method("s", "a{sv}", get_all),
                },
                signals={"PropertiesChanged": "sa{sv}as"},
            ),
            Interface("org.freedesktop.DBus.Introspectable", {"Introspect": Method("", "s", introspect)}),
            Interface("org.freedesktop.DBus.Peer", {"Ping": Method("", "", ping)}),
        )


def _property(offered: Mapping[str, Interface], interface: str, name: str) -> Property:
    if interface not in offered or name not in offered[interface].properties:
        raise ErrorReply(_STANDARD + "UnknownProperty", f"no property {name} in {interface}")
    return offered[interface].properties[name]
