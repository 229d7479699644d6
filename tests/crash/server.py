"""A fork server whose programs are watched."""

from __future__ import annotations

import socket
from array import array
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from tests.crash import stacks
from tests.crash.watch import Watch
from tests.integration.bootstrap.program import Adversary, ForkServer, Preparation, Process, fork_server

_ENTER: Final = "tests.crash.notify:enter"
_ANSWER: Final = "tests.crash.stacks:install"
# Seconds after which a program is asked what it waits for: a journey that is given up is to tell it.
_LONG: Final = 100.0
# What only looks is not watched: the tests ask it.
_LOOKS: Final = frozenset({"status", "plan", "history"})


class WatchedServer(ForkServer):
    """Starts programs as its parent does, and has *watch* decide on their system calls.

    :ivar watch: watches each program that is started; None: nobody does.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.watch: Watch | None = None

    def another(self) -> WatchedServer:
        """The same server with a watch of its own, for another node at the same time."""
        return WatchedServer(self._path)

    @asynccontextmanager
    async def start(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        *,
        entry: str = "torcxd",
        adversary: Adversary | None = None,
        preparations: Sequence[Preparation] = (),
    ) -> AsyncIterator[Process]:
        watch = None if arguments[0] in _LOOKS else self.watch
        ours, theirs = socket.socketpair()
        with ours, theirs:
            async with (
                super().start(
                    arguments,
                    environment,
                    entry=entry,
                    adversary=adversary,
                    preparations=[
                        *([Preparation(_ANSWER), Preparation(_ENTER, (theirs.fileno(),))] if watch else []),
                        *preparations,
                    ],
                ) as process,
                trio.open_nursery() as nursery,
            ):
                theirs.close()
                if watch is not None:
                    listener = await _receive(ours, process)
                    nursery.start_soon(watch.follow, listener, process.pid)
                    nursery.start_soon(_ask, process)
                yield process


async def _ask(process: Process) -> None:
    with trio.move_on_after(_LONG):
        await process.ended()
        return
    process.send(stacks.ASK)


async def _receive(channel: socket.socket, process: Process) -> int:
    """The descriptor that comes through *channel*."""
    received = trio.socket.from_stdlib_socket(channel.dup())
    with received:
        _, ancillary, _, _ = await received.recvmsg(1, socket.CMSG_SPACE(array("i").itemsize))
    if not ancillary:
        await process.ended()
        raise AssertionError(f"system calls cannot be watched here:\n{process.stderr}")
    found = array("i")
    found.frombytes(ancillary[0][2])
    return found[0]


@contextmanager
def watched_server(directory: Path) -> Iterator[WatchedServer]:
    """Run a fork server for the length of the block."""
    with fork_server(directory, module="tests.crash.forkserver"):
        yield WatchedServer(directory / "fork")
