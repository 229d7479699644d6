"""Calls and signals over one connection to a message bus, with deadlines and a single error type.

jeepney's router is not used: when the bus dies it raises KeyError in pending calls, ends filters as if all were well,
and raises an exception group from its nursery. Here one task receives, and whatever ends the connection reaches every
pending call and every reader of signals as a :class:`DBusError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

import trio
from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_method_call
from jeepney.fds import FileDescriptor

from torcxd.dbus.connection import Connection, connect, system_bus_address
from torcxd.dbus.errors import DISCONNECTED, NO_REPLY, DBusError
from torcxd.dbus.parser import UnreadableError
from torcxd.dbus.signals import (
    BUS_NAME,
    BUS_PATH,
    OwnerChange,
    Rule,
    Signal,
    Signals,
    T,
    check_signature,
    owner_change,
    owner_rule,
)

# Seconds for an answer; libdbus's and sd-bus's default, which services are written for.
CALL_TIMEOUT: Final = 25.0

# Seconds for taking back a match rule when a reader leaves. It is a courtesy to the bus, which forgets all rules of a
# connection that closes; a bus that does not read for a second is not worth waiting for.
_FAREWELL_TIMEOUT: Final = 1.0

_PROPERTIES: Final = "org.freedesktop.DBus.Properties"


class _Reply:
    """A call that waits; ``message`` stays None when the connection ends first."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.message: Any = None


class Bus:
    """A connection to a message bus. Made by :func:`open_bus`; any number of tasks may use it at once."""

    def __init__(self, connection: Connection, address: str) -> None:
        self.address = address
        self._connection = connection
        self._pending: dict[int, _Reply] = {}
        self._subscriptions: list[Signals[Any]] = []
        # Who owns the names whose signals are received; None until the bus has said so. It owns its own.
        self._owners: dict[str, str | None] = {BUS_NAME: BUS_NAME}
        self._following = trio.Lock()
        self._ended: str | None = None

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        method: str,
        signature: str = "",
        *args: Any,
        returns: str | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> tuple[Any, ...]:
        """Call a method and wait for its answer.

        :param signature: the D-Bus signature of *args*. Variants are (signature, value) pairs.
        :param returns: the signature that the answer must have; None for any.
        :param timeout: seconds for sending and for the answer together.
        :returns: the answer's arguments, as jeepney decodes them.
        :raises DBusError: the peer answered with an error, is not there, did not answer in time, or the connection
            ended; ``name`` says which.
        :raises ValueError: *returns* promises a file descriptor, and the connection was opened without
            ``enable_fds``: the bus would withhold the answer.

        Cancellation gives up waiting; the call may still take effect.
        """
        if "h" in (returns or "") and not self._connection.enable_fds:
            raise ValueError(f"{method} returns a file descriptor: open the bus with enable_fds=True")
        address = DBusAddress(path, bus_name=destination, interface=interface)
        message = new_method_call(address, method, signature or None, args)
        what = f"{interface}.{method} of {destination}"
        with trio.move_on_after(timeout):
            reply = await self._exchange(message)
            if reply.header.message_type is MessageType.error:
                name = str(reply.header.fields.get(HeaderFields.error_name))
                detail = f": {reply.body[0]}" if reply.body and isinstance(reply.body[0], str) else ""
                raise DBusError(name, f"calling {what} failed with {name}{detail}")
            if returns is not None:
                check_signature(reply.header.fields.get(HeaderFields.signature, ""), returns, f"the answer to {what}")
            return tuple(reply.body)
        raise DBusError(NO_REPLY, f"{what} gave no answer within {timeout:g} s")

    async def get_property(self, destination: str, path: str, interface: str, name: str) -> Any:
        """Read a property.

        :raises DBusError: as :meth:`call`.
        """
        arguments = (interface, name)
        ((_, value),) = await self.call(destination, path, _PROPERTIES, "Get", "ss", *arguments, returns="v")
        return value

    def signals(
        self, path: str, interface: str, member: str, *, sender: str | None = None
    ) -> AbstractAsyncContextManager[Signals[tuple[Any, ...]]]:
        """Receive a signal: ``async with bus.signals(…) as bodies: async for body in bodies: …``.

        :param sender: as in :class:`Rule`.
        :raises DBusError: on entering as :meth:`call`; while iterating, transient, when the connection ends.
        """
        return self.subscribe(lambda signal: signal.body, Rule(path, interface, member, sender=sender))

    def owner_changes(self, name: str) -> AbstractAsyncContextManager[Signals[OwnerChange]]:
        """Follow the starts and stops of the service that owns *name*.

        :raises DBusError: as :meth:`signals`.
        """
        return self.subscribe(owner_change, owner_rule(name))

    @asynccontextmanager
    async def subscribe(self, convert: Callable[[Signal], T], *rules: Rule) -> AsyncIterator[Signals[T]]:
        """Receive the signals of several rules in one stream, in the order in which the bus sent them.

        :param convert: what the reader gets for a signal; may raise a :class:`TorcxdError`.
        :raises DBusError: as :meth:`signals`.
        """
        signals = Signals(rules, convert)
        if self._ended is not None:
            raise self._lost()
        self._subscriptions.append(signals)
        added: list[str] = []
        try:
            for rule in rules:
                if rule.sender is not None:
                    await self._follow_owner(rule.sender)
            for each in signals.rules():
                await self._call_bus("AddMatch", each)
                added.append(each)
            yield signals
        finally:
            self._subscriptions.remove(signals)
            await self._remove_matches(added)

    async def _follow_owner(self, name: str) -> None:
        """Know from now on who owns *name*."""
        # One after the other: who comes second must not rely on one that is cancelled before it knows.
        async with self._following:
            if name in self._owners:
                return
            self._owners[name] = None
            try:
                await self._call_bus("AddMatch", owner_rule(name).match_rule().serialise())
                try:
                    (owner,) = await self._call_bus("GetNameOwner", name, returns="s")
                except DBusError as error:
                    if not error.absent:
                        raise
                    owner = ""
            except BaseException:
                del self._owners[name]
                raise
            # Unless it has changed hands meanwhile.
            if self._owners[name] is None:
                self._owners[name] = owner

    async def _call_bus(self, method: str, argument: str, returns: str | None = None) -> tuple[Any, ...]:
        return await self.call(BUS_NAME, BUS_PATH, BUS_NAME, method, "s", argument, returns=returns)

    async def _remove_matches(self, rules: list[str]) -> None:
        address = DBusAddress(BUS_PATH, bus_name=BUS_NAME, interface=BUS_NAME)
        with (
            trio.move_on_after(_FAREWELL_TIMEOUT, shield=True),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            for each in rules:
                message = new_method_call(address, "RemoveMatch", "s", (each,))
                message.header.flags |= MessageFlag.no_reply_expected
                await self._connection.send(message)

    async def _exchange(self, message: Any) -> Any:
        if self._ended is not None:
            raise self._lost()
        serial = next(self._connection.outgoing_serial)
        reply = self._pending[serial] = _Reply()
        try:
            await self._connection.send(message, serial=serial)
            await reply.arrived.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._lost() from error
        finally:
            self._pending.pop(serial, None)
        if reply.message is None:
            raise self._lost()
        return reply.message

    def _lost(self) -> DBusError:
        return DBusError(DISCONNECTED, f"lost the connection to the bus at {self.address}: {self._ended or 'broken'}")

    async def _receive(self) -> None:
        """Hand out what arrives until the connection ends, for whatever reason; never raises but by cancellation."""
        try:
            while True:
                self._dispatch(await self._connection.receive())
        except trio.EndOfChannel:
            self._ended = "the bus closed it"
        except UnreadableError as error:
            self._ended = str(error)
        except Exception as error:
            # A broken socket: what comes after it makes no sense.
            self._ended = f"{type(error).__name__}: {error}"
        finally:
            self._ended = self._ended or "closed"
            for reply in self._pending.values():
                reply.arrived.set()
            for signals in self._subscriptions:
                signals.end(self._lost)

    def _dispatch(self, message: Any) -> None:
        fields = message.header.fields
        match message.header.message_type:
            case MessageType.method_return | MessageType.error:
                reply = self._pending.pop(fields.get(HeaderFields.reply_serial), None)
                if reply is None:
                    _close_descriptors(message.body)
                    return
                reply.message = message
                reply.arrived.set()
            case MessageType.signal:
                signal = Signal(
                    interface=fields.get(HeaderFields.interface, ""),
                    member=fields.get(HeaderFields.member, ""),
                    signature=fields.get(HeaderFields.signature, ""),
                    body=tuple(message.body),
                )
                sender = fields.get(HeaderFields.sender, "")
                if sender == BUS_NAME and signal.member == "NameOwnerChanged" and signal.signature == "sss":
                    self._note_owner(owner_change(signal))
                for each in self._subscriptions:
                    each.offer(message, signal, lambda name: self._owners.get(name) == sender)
            case _:
                # A method call: this connection exports no object, and callers have their own deadlines.
                _close_descriptors(message.body)

    def _note_owner(self, change: OwnerChange) -> None:
        if change.name in self._owners:
            self._owners[change.name] = change.new


@asynccontextmanager
async def open_bus(address: str | None = None, *, enable_fds: bool = False) -> AsyncIterator[Bus]:
    """Connect to a message bus for the length of an ``async with`` block.

    :param address: ``unix:path=…`` or ``unix:abstract=…``; None for the system bus.
    :param enable_fds: needed for calls whose answer carries file descriptors.
    :raises ConfigurationError: the address cannot be understood.
    :raises DBusError: transient when nobody listens or answers there.

    What the block raises comes out as it is, not in an exception group. A lost connection does not cancel the block:
    its calls and iterators raise.
    """
    where = address or system_bus_address()
    connection = await connect(where, enable_fds=enable_fds)
    bus = Bus(connection, where)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus._receive)
            try:
                yield bus
            except trio.Cancelled:
                raise
            except BaseException as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        # The exception's traceback refers to this frame: without this they would keep each other alive.
        del failure
        await connection.aclose()


def _close_descriptors(body: Any) -> None:
    """Close what nobody waits for any more: the answer of a call that was given up."""
    for each in body or ():
        if isinstance(each, FileDescriptor):
            each.close()
