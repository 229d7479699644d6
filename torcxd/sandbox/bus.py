"""A private message bus: a real dbus-daemon of one's own, which ends with its creator."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

import trio

from torcxd.errors import PermanentError

# The kernel's limit for the path of a socket, with its final zero byte; unix(7).
_SOCKET_PATH_LIMIT: Final = 107

# Everyone who may connect, which is the same user, may own any name and call anything: the system bus's policy is
# about users, and here is only one.
ALLOW_ALL: Final = """\
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>"""
_CONFIGURATION: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
{policy}
</busconfig>
"""


class PrivateBus:
    """A bus that can be stopped and started again at the same address. Made by :func:`private_bus`."""

    def __init__(self, directory: Path, policy: str = ALLOW_ALL) -> None:
        self._policy = policy
        self._socket = directory / "bus"
        self._configuration = directory / "bus.conf"
        self._process: subprocess.Popen[bytes] | None = None
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_LIMIT:
            raise ValueError(f"{self._socket} is too long for a socket: choose a directory with a shorter path")
        self.address: Final = f"unix:path={self._socket}"

    async def start(self) -> None:
        """Start the daemon; it accepts connections when this returns.

        :raises PermanentError: it did not start; with its own words.
        """
        configuration = _CONFIGURATION.format(address=self.address, policy=self._policy)
        self._configuration.write_text(configuration, encoding="utf-8")
        self._socket.unlink(missing_ok=True)
        # Kept, and shown only where it matters: a daemon that works also speaks, of limits that it may not raise.
        with tempfile.TemporaryFile() as said:
            self._process, ready = self._spawn(said)
            with ready:
                if await trio.to_thread.run_sync(ready.readline):
                    return
            await self.stop()
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip()
        raise PermanentError(
            f"dbus-daemon did not start at {self.address}: {words or 'it said nothing'}",
            hint="see whether this user may run dbus-daemon",
        )

    async def stop(self) -> None:
        """End the daemon, and with it every connection."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(process.wait)
            self._socket.unlink(missing_ok=True)

    async def restart(self) -> None:
        """End the daemon and start a new one at the same address: all clients lose their connection."""
        await self.stop()
        await self.start()

    def _spawn(self, said: IO[bytes]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        """The process, and the pipe on which it prints its address once it listens.

        :param said: gets its messages.

        Spawned from this thread, not by trio from a worker: the kernel sends the parent-death signal when the *thread*
        that forked ends, and trio's idle workers do.
        """
        reader, writer = os.pipe()
        try:
            command = [
                "setpriv",
                "--pdeathsig=KILL",
                "dbus-daemon",
                "--nofork",
                "--nopidfile",
                f"--config-file={self._configuration}",
                f"--print-address={writer}",
            ]
            # A session of its own: Ctrl-C is for its creator, which then ends it.
            process = subprocess.Popen(
                command, pass_fds=[writer], stdin=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return process, os.fdopen(reader, "rb")


@asynccontextmanager
async def private_bus(directory: Path, policy: str = ALLOW_ALL) -> AsyncIterator[PrivateBus]:
    """Run a message bus with its socket and configuration in *directory*, for the length of the block.

    It also ends when this process is killed.

    :param policy: who may do what, in the language of dbus-daemon(1)'s configuration.
    :raises ValueError: the directory's path is too long for a socket.
    :raises PermanentError: the daemon did not start.
    :raises OSError: dbus-daemon is not installed, or the directory is not writable.
    """
    bus = PrivateBus(directory, policy)
    try:
        await bus.start()
        yield bus
    finally:
        await bus.stop()
