"""A message bus in memory: the wire protocol of D-Bus over simulated sockets, and the ways in which a bus disappoints.

It routes what a system bus routes: calls by name, signals by match rules, names and who owns them, descriptors.
"""

from __future__ import annotations

import array
import math
import re
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from jeepney import HeaderFields, MessageFlag, MessageType, Parser, new_error, new_method_return, new_signal
from jeepney.fds import FileDescriptor
from jeepney.wrappers import DBusAddress

from tests.simulation.world.network import Network, listen
from tests.simulation.world.sockets import Socket

_DBUS: Final = "org.freedesktop.DBus"
_PATH: Final = "/org/freedesktop/DBus"
_RULE: Final = re.compile(r"(\w+)='([^']*)'")
# How many bytes of descriptors a message may bring along.
_ANCILLARY: Final = 4096
_READ: Final = 65536


@dataclass(slots=True)
class _Client:
    """A connection; its messages to it go out one after the other."""

    name: str
    socket: Socket
    outbox: trio.MemorySendChannel[bytes | tuple[bytes, list[int]]]
    rules: list[dict[str, str]] = field(default_factory=list)
    owned: list[str] = field(default_factory=list)
    serial: int = 0


@dataclass(slots=True)
class Bus:
    """The bus.

    :ivar faults: what becomes of the next signals of services, one each: ``lose``, ``repeat``, ``late`` or ``swap``.
    :ivar reply_faults: likewise of the next answers of services: ``lose`` or ``late``.
    :ivar late: how many seconds late is.
    :ivar fired: counts those that happened to a message for somebody.
    """

    network: Network
    path: str
    fired: Counter[str] = field(default_factory=Counter)
    faults: deque[str] = field(default_factory=deque)
    reply_faults: deque[str] = field(default_factory=deque)
    late: float = 3.0
    _clients: dict[str, _Client] = field(default_factory=dict)
    _owners: dict[str, _Client] = field(default_factory=dict)
    _swapped: list[Any] = field(default_factory=list)
    _numbers: int = 0
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _nursery: trio.Nursery | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept connections until cancelled or stopped."""
        listener = trio.SocketListener(await listen(self.network, self.path))
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(trio.serve_listeners, self._serve_client, [listener])
                task_status.started()
        listener.socket.close()
        self._clients.clear()
        self._owners.clear()
        self._swapped.clear()

    def stop(self) -> None:
        """It crashes: every connection ends."""
        self._scope.cancel()

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        connection = stream.socket
        assert isinstance(connection, Socket)
        client: _Client | None = None
        try:
            rest = await _authenticate(connection)
            if rest is None:
                return
            self._numbers += 1
            outbox, pending = trio.open_memory_channel[Any](math.inf)
            client = _Client(f":1.{self._numbers}", connection, outbox)
            self._clients[client.name] = client
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, connection, pending)
                with suppress(OSError):
                    await self._read(client, rest)
                nursery.cancel_scope.cancel()
        finally:
            connection.close()
            if client is not None:
                self._leave(client)

    async def _read(self, client: _Client, rest: bytes) -> None:
        parser = Parser()
        parser.add_data(rest)
        while True:
            while (message := parser.get_next_message()) is not None:
                await self._route(client, message)
            data, ancillary, _, _ = await client.socket.recvmsg(_READ, _ANCILLARY)
            if not data:
                return
            parser.add_data(data, FileDescriptor.from_ancdata(ancillary))

    async def _write(self, connection: Socket, pending: trio.MemoryReceiveChannel[Any]) -> None:
        with suppress(OSError):
            async for data, descriptors in pending:
                try:
                    sent = 0
                    if descriptors:
                        rights = array.array("i", [each.fileno() for each in descriptors])
                        sent = await connection.sendmsg([data], [(1, 1, rights)])
                    while sent < len(data):
                        sent += await connection.send(data[sent:])
                finally:
                    for each in descriptors:
                        each.close()

    # Routing.

    async def _route(self, client: _Client, message: Any) -> None:
        fields = message.header.fields
        fields[HeaderFields.sender] = client.name
        destination = fields.get(HeaderFields.destination)
        if destination == _DBUS:
            self._answer(client, message)
        elif destination is not None:
            receiver = self._clients.get(destination) or self._owners.get(destination)
            if receiver is None:
                if message.header.message_type is MessageType.method_call:
                    self._refuse(client, message, "ServiceUnknown", f"The name {destination} is not known")
            elif client.owned and message.header.message_type is not MessageType.method_call and self.reply_faults:
                fault = self.reply_faults.popleft()
                self.fired[f"bus: reply {fault}"] += 1
                if fault == "late":
                    self._later(receiver, message)
            else:
                self._deliver(receiver, message)
        elif message.header.message_type is MessageType.signal:
            self._broadcast(client, message)

    def _broadcast(self, client: _Client, message: Any) -> None:
        fault = self.faults.popleft() if self.faults and client.owned else ""
        receivers = [each for each in self._clients.values() if any(_matches(rule, message) for rule in each.rules)]
        swapped, self._swapped = self._swapped, []
        # One that is overtaken by nothing is late, not swapped.
        self.fired["bus: signal swap"] += bool(swapped and receivers and fault != "lose")
        if fault not in ("", "swap") and receivers:
            self.fired[f"bus: signal {fault}"] += 1
        for each in receivers:
            match fault:
                case "lose":
                    continue
                case "late":
                    self._later(each, message)
                case "swap":
                    self._swapped.append((each, message))
                case "repeat":
                    self._deliver(each, message)
                    self._deliver(each, message)
                case _:
                    self._deliver(each, message)
        for receiver, earlier in swapped:
            self._deliver(receiver, earlier)

    def _deliver(self, client: _Client, message: Any) -> None:
        found = [each for each in message.body or () if isinstance(each, FileDescriptor)]
        numbers = array.array("i")
        if found:
            message.body = tuple(each.fileno() if isinstance(each, FileDescriptor) else each for each in message.body)
        data = message.serialise(serial=message.header.serial, fds=numbers if found else None)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            client.outbox.send_nowait((data, found))

    def _later(self, client: _Client, message: Any) -> None:
        async def deliver() -> None:
            await trio.sleep(self.late)
            if client.name in self._clients:
                self._deliver(client, message)

        assert self._nursery is not None
        self._nursery.start_soon(deliver)

    # The bus's own object.

    def _answer(self, client: _Client, message: Any) -> None:
        member, body = message.header.fields.get(HeaderFields.member), message.body
        match member:
            case "Hello":
                self._return(client, message, "s", client.name)
            case "RequestName":
                taken = body[0] in self._owners
                if not taken:
                    self._owners[body[0]] = client
                    client.owned.append(body[0])
                self._return(client, message, "u", 3 if taken else 1)
                if not taken:
                    self._owner_changed(body[0], "", client.name)
            case "AddMatch":
                client.rules.append(dict(_RULE.findall(body[0])))
                self._return(client, message)
            case "RemoveMatch":
                with suppress(ValueError):
                    client.rules.remove(dict(_RULE.findall(body[0])))
                self._return(client, message)
            case "NameHasOwner":
                self._return(client, message, "b", body[0] in self._owners)
            case "GetNameOwner" if body[0] in self._owners:
                self._return(client, message, "s", self._owners[body[0]].name)
            case "GetNameOwner":
                self._refuse(client, message, "NameHasNoOwner", f"Could not get owner of name '{body[0]}'")
            case _:
                self._refuse(client, message, "UnknownMethod", f"the simulated bus has no {member}")

    def _return(self, client: _Client, message: Any, signature: str | None = None, *body: Any) -> None:
        if not message.header.flags & MessageFlag.no_reply_expected:
            self._say(client, new_method_return(message, signature, body))

    def _refuse(self, client: _Client, message: Any, name: str, text: str) -> None:
        self._say(client, new_error(message, f"{_DBUS}.Error.{name}", "s", (text,)))

    def _say(self, client: _Client, message: Any) -> None:
        message.header.fields[HeaderFields.sender] = _DBUS
        client.serial += 1
        message.header.serial = client.serial
        self._deliver(client, message)

    def _owner_changed(self, name: str, old: str, new: str) -> None:
        signal = new_signal(DBusAddress(_PATH, interface=_DBUS), "NameOwnerChanged", "sss", (name, old, new))
        for each in self._clients.values():
            if any(_matches(rule, signal) for rule in each.rules):
                self._say(each, signal)

    def _leave(self, client: _Client) -> None:
        self._clients.pop(client.name, None)
        for each in client.owned:
            if self._owners.get(each) is client:
                del self._owners[each]
                self._owner_changed(each, client.name, "")


def _matches(rule: dict[str, str], message: Any) -> bool:
    fields = message.header.fields
    first = message.body[0] if message.body else None
    said = {
        "type": "signal",
        "path": fields.get(HeaderFields.path),
        "interface": fields.get(HeaderFields.interface),
        "member": fields.get(HeaderFields.member),
        "sender": fields.get(HeaderFields.sender, _DBUS),
        "arg0": first,
    }
    # A sender's well-known name would have to be looked up; nobody here asks for one but that of the bus.
    return all(said.get(key) == value for key, value in rule.items())


async def _authenticate(connection: Socket) -> bytes | None:
    """The server's side of the SASL conversation; returns what came after it, or None if it did not come to its end."""
    answers = {b"AUTH": b"OK 0123456789abcdef0123456789abcdef\r\n", b"NEGOTIATE_UNIX_FD": b"AGREE_UNIX_FD\r\n"}
    buffer = b""
    with suppress(OSError):
        while True:
            while b"\r\n" not in buffer:
                data = await connection.recv(_READ)
                if not data:
                    return None
                buffer += data
            line, buffer = buffer.split(b"\r\n", 1)
            command = line.lstrip(b"\0").split(b" ")[0]
            if command == b"BEGIN":
                return buffer
            await connection.send(answers[command])
    return None
