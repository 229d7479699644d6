"""Subscriptions to signals: which, and the queue between the bus and the reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import trio
from jeepney import MatchRule

from torcxd.dbus.errors import INCONSISTENT_MESSAGE, DBusError

T = TypeVar("T")

# The bus's own name, which it has as its unique one, too, and where it is to be found.
BUS_NAME: Final = "org.freedesktop.DBus"
BUS_PATH: Final = "/org/freedesktop/DBus"

# Signals kept for a slow reader. update_engine sends one for each percent, so a reader may fall two whole downloads
# behind; a lost signal does no harm, because everyone who follows signals also reads the state now and then.
BUFFER: Final = 256


@dataclass(frozen=True, slots=True)
class Rule:
    """Which signals to receive.

    Anybody on the bus may send any signal, to all or to this connection alone. What it says of its sender is the bus's
    word: the unique name (``:1.7``), never the well-known one.

    :param argument0: the first argument must be this string; None for any.
    :param sender: the well-known name whose owner, at that moment, must have sent it; None for whoever it is.
    """

    path: str
    interface: str
    member: str
    argument0: str | None = None
    sender: str | None = None

    def match_rule(self) -> Any:
        """The rule as jeepney knows it, for the bus and for the local filter."""
        rule = MatchRule(type="signal", path=self.path, interface=self.interface, member=self.member)
        if self.argument0 is not None:
            rule.add_arg_condition(0, self.argument0)
        return rule


@dataclass(frozen=True, slots=True)
class Signal:
    """A received signal."""

    interface: str
    member: str
    signature: str
    body: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """A bus name changed hands: a service started, stopped or was replaced.

    :param old: the unique name of the former owner, empty when there was none.
    :param new: the unique name of the new owner, empty when there is none.
    """

    name: str
    old: str
    new: str


def check_signature(actual: str, promised: str, what: str) -> None:
    """Refuse a message whose arguments are not those that its interface promises.

    :raises DBusError: permanent, naming both signatures.
    """
    if actual != promised:
        raise DBusError(INCONSISTENT_MESSAGE, f"{what} has the signature {actual!r} instead of {promised!r}")


def owner_rule(name: str) -> Rule:
    """The rule for changes of the owner of *name*."""
    return Rule(BUS_PATH, BUS_NAME, "NameOwnerChanged", argument0=name, sender=BUS_NAME)


def owner_change(signal: Signal) -> OwnerChange:
    """What a signal selected by :func:`owner_rule` says."""
    check_signature(signal.signature, "sss", "the signal NameOwnerChanged")
    name, old, new = signal.body
    return OwnerChange(name, old, new)


class Signals(Generic[T]):
    """An endless async iterator over received signals, in order of arrival.

    Waiting can be cancelled at any time without losing a signal, and continued. When the reader is slow, the oldest
    signals are dropped, so that the last one read is always the latest state.
    """

    def __init__(self, rules: tuple[Rule, ...], convert: Callable[[Signal], T]) -> None:
        self._rules = [(each.match_rule(), each.sender) for each in rules]
        self._convert = convert
        self._queue: deque[Signal] = deque(maxlen=BUFFER)
        self._arrived = trio.Event()
        self._lost: Callable[[], DBusError] | None = None

    def __aiter__(self) -> Signals[T]:
        return self

    async def __anext__(self) -> T:
        """The next signal.

        :raises DBusError: the connection is gone (transient), or the signal is not what the interface promises.
        """
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._lost is not None:
                raise self._lost()
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._convert(self._queue.popleft())

    def discard(self) -> None:
        """Forget what has arrived and was not read yet."""
        self._queue.clear()

    # For the bus that feeds it.

    def rules(self) -> list[str]:
        """The match rules in the form that the bus takes."""
        return [rule.serialise() for rule, _ in self._rules]

    def offer(self, message: Any, signal: Signal, owned: Callable[[str], bool]) -> None:
        """Queue *signal* if a rule matches *message*.

        :param owned: says of a well-known name whether the sender owns it.
        """
        if any(rule.matches(message) and (sender is None or owned(sender)) for rule, sender in self._rules):
            self._queue.append(signal)
            self._arrived.set()

    def end(self, lost: Callable[[], DBusError]) -> None:
        """No more signals will come; the reader gets the queued ones, then the error that *lost* makes."""
        self._lost = lost
        self._arrived.set()
