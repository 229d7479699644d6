"""A D-Bus service for stand-ins, which can also misbehave on demand."""

from __future__ import annotations

import math
from typing import Any

import trio
from jeepney import HeaderFields

from torcxd.dbus.service import ErrorReply, Service


class StandIn(Service):
    """Objects under one bus name, whose methods can be told to hang or to fail.

    :param name: the well-known name to own.
    """

    def __init__(self, name: str) -> None:
        # Without a deadline: hanging for as long as the caller waits is what a stand-in is for.
        super().__init__(name, enable_fds=True, answer_timeout=math.inf)
        self._faults: dict[str, ErrorReply | None] = {}

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

    async def handle(self, message: Any) -> tuple[str, tuple[Any, ...]]:
        member = message.header.fields[HeaderFields.member]
        if member in self._faults:
            fault = self._faults[member]
            if fault is None:
                await trio.sleep_forever()
            else:
                raise fault
        return await super().handle(message)
