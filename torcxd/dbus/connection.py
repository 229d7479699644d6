"""A connection to a message bus, opened within a deadline.

jeepney's own opening function waits for ever on a bus that does not answer, and spins on one that closes the
connection during authentication, so the few steps are done here, with jeepney's protocol parts.
"""

from __future__ import annotations

import os
from typing import Any, Final

import trio
from jeepney import HeaderFields, MessageType, message_bus
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_connectable_addresses
from jeepney.io.trio import DBusConnection

from torcxd.dbus.errors import ACCESS_DENIED, AUTH_FAILED, DISCONNECTED, NO_REPLY, NO_SERVER, DBusError
from torcxd.dbus.parser import Parser, UnreadableError
from torcxd.errors import ConfigurationError

# Where the system bus listens when nothing else is said; the D-Bus specification, "Well-known Message Bus Instances".
SYSTEM_BUS: Final = "unix:path=/var/run/dbus/system_bus_socket"

# Seconds for connecting, authenticating and the first call. A bus on the same machine answers in milliseconds; five
# seconds leave room for a node that boots with all its services at once.
OPEN_TIMEOUT: Final = 5.0


class Connection(DBusConnection):  # type: ignore[misc]  # jeepney has no types
    """jeepney's connection. ``receive`` raises :class:`UnreadableError` for what is no message."""

    def __init__(self, socket: Any, *, enable_fds: bool = False) -> None:
        super().__init__(socket, enable_fds=enable_fds)
        self.parser = Parser()


def system_bus_address() -> str:
    """The address of the system bus: ``DBUS_SYSTEM_BUS_ADDRESS``, else the well-known socket."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS


async def connect(address: str, *, enable_fds: bool = False, timeout: float = OPEN_TIMEOUT) -> Connection:
    """Connect, authenticate as the current user, and say Hello.

    :param address: a D-Bus server address, ``unix:path=…`` or ``unix:abstract=…``; of several, separated by
        semicolons, the first that accepts is taken.
    :param enable_fds: whether messages can carry file descriptors.
    :param timeout: seconds for all of it.
    :returns: a connection whose ``unique_name`` is set; the caller closes it.
    :raises ConfigurationError: the address cannot be understood.
    :raises DBusError: transient when nobody listens there, or nobody answers in time.

    Cancellation closes the socket.
    """
    sockets = _sockets(address)
    with trio.move_on_after(timeout):
        stream = await _open(sockets, address)
        connection = Connection(stream.socket, enable_fds=enable_fds)
        try:
            await _authenticate(stream, enable_fds)
            connection.unique_name = await _hello(connection, address)
        except UnreadableError as error:
            await connection.aclose()
            raise DBusError(DISCONNECTED, f"no bus answers at {address}: {error}") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel) as error:
            await connection.aclose()
            raise DBusError(DISCONNECTED, f"the bus at {address} closed the connection at once") from error
        except AuthenticationError as error:
            await connection.aclose()
            raise DBusError(AUTH_FAILED, f"the bus at {address} refused user id {os.geteuid()}: {error}") from error
        except BaseException:
            await connection.aclose()
            raise
        return connection
    raise DBusError(NO_REPLY, f"the bus at {address} accepted no connection within {timeout:g} s")


def _sockets(address: str) -> list[str]:
    try:
        return list(get_connectable_addresses(address.strip(";")))
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"cannot use the D-Bus address {address!r}",
            hint="give one like unix:path=/var/run/dbus/system_bus_socket, also in DBUS_SYSTEM_BUS_ADDRESS",
        ) from error


async def _open(sockets: list[str], address: str) -> trio.SocketStream:
    failure: OSError | None = None
    for each in sockets:
        try:
            return await trio.open_unix_socket(each)
        except OSError as error:
            failure = error
    denied = isinstance(failure, PermissionError)
    reason = failure.strerror or str(failure) if failure else "it names no socket"
    raise DBusError(
        ACCESS_DENIED if denied else NO_SERVER, f"cannot connect to the bus at {address}: {reason}"
    ) from failure


async def _authenticate(stream: trio.SocketStream, enable_fds: bool) -> None:
    """The SASL conversation of the D-Bus specification, "Authentication Protocol"."""
    authenticator = Authenticator(enable_fds=enable_fds, inc_null_byte=False)
    await stream.send_all(b"\0")
    for line in authenticator:
        await stream.send_all(line)
        answer = await stream.receive_some()
        if not answer:
            raise trio.EndOfChannel
        authenticator.feed(bytes(answer))
    await stream.send_all(BEGIN)


async def _hello(connection: Connection, address: str) -> str:
    """The first call on every connection; its answer is our unique name."""
    serial = next(connection.outgoing_serial)
    await connection.send(message_bus.Hello(), serial=serial)
    while True:
        message = await connection.receive()
        if message.header.fields.get(HeaderFields.reply_serial) == serial:
            break
    if message.header.message_type is MessageType.error:
        name = str(message.header.fields.get(HeaderFields.error_name))
        raise DBusError(name, f"the bus at {address} refused the connection with {name}")
    if not message.body:
        raise UnreadableError("its answer to Hello names nobody")
    return str(message.body[0])
