"""python-gnupg with limits: without them it collects gpg's output for as long as it comes, and waits for ever."""

from __future__ import annotations

import threading
from subprocess import Popen
from typing import IO, Any, Final

import gnupg

# Bytes of each stream. gpg tells some 200 bytes about each key that it imports, and 18,000 of the smallest keys fill
# the largest keyring that is accepted, 8 MiB. python-gnupg keeps each line as an object, which for empty ones is 40
# times as much.
MOST_OUTPUT: Final = 4 << 20
# Seconds for one call. It takes milliseconds, and some seconds where the largest keyring is imported.
LONGEST: Final = 120.0


class BoundedGpg(gnupg.GPG):  # type: ignore[misc]  # gnupg has no types
    """gpg. It is killed where it tells more than :data:`MOST_OUTPUT`, or has not ended after :data:`LONGEST`.

    Then what it was to do has failed, with a negative return code as after any signal.

    :ivar told_too_much: why it was killed, if it was.
    """

    told_too_much = False

    def _open_subprocess(self, args: list[str], passphrase: bool = False) -> Popen[bytes]:
        process: Any = super()._open_subprocess(args, passphrase)
        self.told_too_much = False
        deadline = threading.Timer(LONGEST, process.kill)
        # It holds nobody up who ends the program meanwhile.
        deadline.daemon = True
        deadline.start()
        process.stdout = _Limited(process.stdout, process, self, deadline)
        process.stderr = _Limited(process.stderr, process, self, deadline)
        return process  # type: ignore[no-any-return]


class _Limited:
    """One output of a process, as python-gnupg reads it."""

    def __init__(self, stream: IO[bytes], process: Popen[bytes], gpg: BoundedGpg, deadline: threading.Timer) -> None:
        self._stream = stream
        self._process = process
        self._gpg = gpg
        self._deadline = deadline
        self._left = MOST_OUTPUT

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left >= 0:
            return data
        self._gpg.told_too_much = True
        self._process.kill()
        return b""

    def close(self) -> None:
        # python-gnupg closes both once the process has ended.
        self._deadline.cancel()
        self._stream.close()
