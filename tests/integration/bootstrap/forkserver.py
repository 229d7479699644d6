"""Runs the real program again and again without paying for its imports: a server that has them, and forks.

It listens on a Unix socket. A request is one line of JSON with the two descriptors for standard output and error, and
those that its preparations take; it is answered with lines of JSON: the process's number, the moment at which the
adversary struck, the exit status. The forked process makes its preparations, and calls the program's entry point as its
script would, with the environment and arguments of the request alone.

The adversary is part of the forked process. It knows moments: each line that is logged, and each system call that
changes the file system, by its name, its file and how often that came. At the first moment that it was not told to
spare it sends its own process a signal. So a test can go through all the moments of a run one by one, exactly.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import pkgutil
import re
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# What the program imports when it is needed, imported here once.
import gnupg  # noqa: F401

import torcxd.__main__
import torcxd.cli.bootstrap
import torcxd.cli.dispatch
import torcxd.cli.history
import torcxd.cli.hook
import torcxd.cli.plan
import torcxd.cli.run
import torcxd.cli.status

_ENTRIES: dict[str, Callable[[Sequence[str]], int]] = {
    "torcxd": torcxd.__main__.main,
    "tectonic-torcx-bootstrap": torcxd.__main__.bootstrap_main,
    "tectonic-torcx-hook-pre": torcxd.__main__.hook_main,
}
_CALLS = ("rename", "link", "unlink", "mkdir", "fsync")
# More than any request has.
_MOST_DESCRIPTORS = 8
# What differs from run to run in a file's name: the random end of a temporary one, and digests.
_RANDOM = re.compile(r"(?<=\.)\w{8}(?=\.tmp$)|(?<=/importing-)\w+|(?<=/signature-)\w+|[0-9a-f]{64,}")


def serve(path: str) -> None:
    """Serve until killed."""
    # Runners are not waited for: the kernel forgets them at once.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                message, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, _MOST_DESCRIPTORS)
                while not message.endswith(b"\n"):
                    message += connection.recv(1 << 16)
                if os.fork() == 0:
                    listener.close()
                    _run(connection, json.loads(message), *descriptors)
                for each in descriptors:
                    os.close(each)


def _run(connection: socket.socket, request: dict[str, Any], stdout: int, stderr: int, *others: int) -> None:
    """In a process of its own: start the program, wait for it, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _become(connection, request, stdout, stderr, *others)
    for each in (stdout, stderr, *others):
        os.close(each)
    try:
        _tell(connection, pid=pid)
        _tell(connection, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except OSError:
        os._exit(1)  # The test has gone away.
    os._exit(0)


def _become(connection: socket.socket, request: dict[str, Any], stdout: int, stderr: int, *others: int) -> None:
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["adversary"] is not None:
        _Adversary(connection, **request["adversary"]).lurk()
    code: Any = 1
    try:
        for name, count in request["preparations"]:
            taken, others = others[:count], others[count:]
            pkgutil.resolve_name(name)(*taken)
        code = _ENTRIES[request["entry"]](request["arguments"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell(connection: socket.socket, **what: Any) -> None:
    connection.sendall(json.dumps(what).encode() + b"\n")


class _Adversary:
    """Sends this process a signal at the first moment that is not in *spare*.

    :param kind: ``"line"`` for moments of the log, ``"call"`` for those of the file system.
    """

    def __init__(self, connection: socket.socket, kind: str, signal_number: int, spare: list[str]) -> None:
        self._connection = connection
        self._kind = kind
        self._signal = signal_number
        self._spare = frozenset(spare)
        self._count: collections.Counter[str] = collections.Counter()
        self._struck = False

    def lurk(self) -> None:
        """Lie in wait."""
        if self._kind == "line":
            make = logging.getLogRecordFactory()

            def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
                made = make(*args, **kwargs)
                # What varies from run to run is no moment of its own: numbers and paths.
                self._moment(re.sub(r"\S*/\S*|[0-9.]+ s", "…", made.getMessage()))
                return made

            logging.setLogRecordFactory(record)
            return
        for each in _CALLS:
            self._wrap(each)

    def _wrap(self, name: str) -> None:
        call = getattr(os, name)

        def wrapped(target: Any, *args: Any, **kwargs: Any) -> Any:
            named = str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else os.fspath(target)
            moment = f"{name} {_RANDOM.sub('…', named)}"
            self._moment(f"before {moment}")
            result = call(target, *args, **kwargs)
            self._moment(f"after {moment}")
            return result

        setattr(os, name, wrapped)

    def _moment(self, what: str) -> None:
        self._count[what] += 1
        moment = f"{what} #{self._count[what]}"
        if moment in self._spare or self._struck:
            return
        self._struck = True
        _tell(self._connection, moment=moment)
        os.kill(os.getpid(), self._signal)


if __name__ == "__main__":
    serve(sys.argv[1])
