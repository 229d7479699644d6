"""The program as the tests run it: real processes, whose every line is an event that can be waited for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

_PIECE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Adversary:
    """Strikes at the first moment of a run that it was not told to spare; see :mod:`forkserver`.

    :param kind: ``"line"``: at each line of the log; ``"call"``: before and after each change of the file system.
    """

    kind: str
    signal: signal.Signals
    spare: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done in a new process before the program.

    :param function: as ``module:name``.
    :param descriptors: its arguments; it gets them as the new process has them.
    """

    function: str
    descriptors: tuple[int, ...] = ()


@dataclass(slots=True)
class Process:
    """A running program.

    :ivar code: its exit code, negative for a signal; None while it runs.
    :ivar struck: the moment at which the adversary struck.
    """

    pid: int = 0
    stdout: str = ""
    stderr: str = ""
    code: int | None = None
    struck: str | None = None
    _changed: trio.Condition = field(default_factory=trio.Condition)

    async def says(self, text: str, *, since: int = 0) -> None:
        """Wait until it has written *text* to its standard error.

        :param since: how many characters of its standard error do not count.
        :raises AssertionError: it ended without.
        """
        async with self._changed:
            while text not in self.stderr[since:]:
                assert self.code is None, f"ended with {self.code} without saying {text!r}:\n{self.stderr}"
                await self._changed.wait()

    async def ended(self) -> None:
        """Wait for its end."""
        async with self._changed:
            while self.code is None:
                await self._changed.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class ForkServer:
    """Starts programs; see :mod:`forkserver`.

    :ivar builds: what is called in each program before it runs, and may break it, as ``module:function``.
    """

    def __init__(self, path: Path, builds: Sequence[str] = ()) -> None:
        self._path = path
        self.builds = tuple(builds)

    def broken(self, *builds: str) -> ForkServer:
        """The same server, whose programs *builds* break, too."""
        return ForkServer(self._path, (*self.builds, *builds))

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
        """Run the program *entry* for the length of the block; it is killed if it runs longer.

        Leaving the block normally waits for its end, and for all of its output.

        :param preparations: are called in the new process before the program, in this order, after :attr:`builds`.
        """
        preparations = [*map(Preparation, self.builds), *preparations]
        process = Process()
        request = {
            "entry": entry,
            "arguments": arguments,
            "environment": dict(environment),
            "preparations": [(each.function, len(each.descriptors)) for each in preparations],
            "adversary": adversary
            and {"kind": adversary.kind, "signal_number": adversary.signal, "spare": sorted(adversary.spare)},
        }
        descriptors = [each for preparation in preparations for each in preparation.descriptors]
        connection, out, err = self._request(request, descriptors)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_collect, process, "stdout", out)
            nursery.start_soon(_collect, process, "stderr", err)
            await nursery.start(_follow, process, stream)
            try:
                yield process
                await process.ended()
            finally:
                process.send(signal.SIGKILL)

    def _request(self, request: dict[str, Any], descriptors: Sequence[int]) -> tuple[socket.socket, int, int]:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._path))
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        data = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [data], [out_end, err_end, *descriptors])
        if sent < len(data):
            connection.sendall(data[sent:])
        os.close(out_end)
        os.close(err_end)
        return connection, out, err


async def _collect(process: Process, name: str, descriptor: int) -> None:
    data = b""
    async with trio.lowlevel.FdStream(descriptor) as stream:
        while piece := await stream.receive_some(_PIECE):
            data += piece
            setattr(process, name, data.decode("utf-8", "replace"))
            await process.notify()


async def _follow(
    process: Process, stream: trio.SocketStream, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    data = b""
    async with stream:
        while piece := await stream.receive_some(_PIECE):
            data += piece
            while b"\n" in data:
                line, _, data = data.partition(b"\n")
                told = json.loads(line)
                if "pid" in told:
                    process.pid = told["pid"]
                    task_status.started()
                process.struck = told.get("moment", process.struck)
                process.code = told.get("status", process.code)
                await process.notify()


@contextmanager
def fork_server(directory: Path, *, module: str = "tests.integration.bootstrap.forkserver") -> Iterator[ForkServer]:
    """Run a fork server for the length of the block.

    :param module: serves; another than usual has imported more.
    """
    path = directory / "fork"
    command = ["setpriv", "--pdeathsig=KILL", sys.executable, "-m", module, str(path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield ForkServer(path)
        finally:
            server.kill()
