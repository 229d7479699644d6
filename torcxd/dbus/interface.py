"""What an object on a bus offers: methods, read-only properties and signals, by interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


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
        sent as file descriptors and closed. It may raise :class:`ErrorReply`, and is cancelled at the deadline.
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
    """What one interface of one object offers.

    :param signals: maps a signal's name to the signature of its arguments.
    :param argument_names: for people who introspect: the names of a signal's arguments, by its name.
    """

    name: str
    methods: Mapping[str, Method] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    signals: Mapping[str, str] = field(default_factory=dict)
    argument_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
