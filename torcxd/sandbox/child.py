"""Processes that do not outlive the sandbox, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import IO

import trio


@asynccontextmanager
async def child(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdout: IO[bytes] | int | None,
    stderr: IO[bytes] | int | None,
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run *command* for the length of the block; leaving it kills the process and what it started, if it still runs.

    It has a session of its own, so that Ctrl-C reaches only the sandbox, which then ends it. When the sandbox itself is
    killed, the kernel ends it.

    :param stdout, stderr: as :class:`subprocess.Popen` takes them.
    :raises OSError: the command, or setpriv, is not installed.
    """
    # Spawned from this thread, not by trio from a worker: the kernel sends the parent-death signal when the *thread*
    # that forked ends, and trio's idle workers do.
    process = subprocess.Popen(  # noqa: ASYNC220
        ["setpriv", "--pdeathsig=KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of *process*; returns its exit code. Cancellation leaves it running."""
    descriptor = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    return process.wait()
