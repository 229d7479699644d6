"""python-gnupg with a limit to what it reads of gpg's output; without one it collects that for as long as it comes."""

from __future__ import annotations

from subprocess import Popen
from typing import IO, Any, Final

import gnupg

# Bytes of each stream. gpg tells some 200 bytes about each key that it imports, and 18,000 of the smallest keys fill
# the largest keyring that is accepted, 8 MiB. python-gnupg keeps each line as an object, which for empty ones is 40
# times as much.
MOST_OUTPUT: Final = 4 << 20


class BoundedGpg(gnupg.GPG):  # type: ignore[misc]  # gnupg has no types
    """gpg. Where it tells more than :data:`MOST_OUTPUT` it is killed, and what it was to do has failed."""

    def _open_subprocess(self, args: list[str], passphrase: bool = False) -> Popen[bytes]:
        process: Any = super()._open_subprocess(args, passphrase)
        process.stdout = _Limited(process.stdout, process)
        process.stderr = _Limited(process.stderr, process)
        return process  # type: ignore[no-any-return]


class _Limited:
    """One output of a process, as python-gnupg reads it."""

    def __init__(self, stream: IO[bytes], process: Popen[bytes]) -> None:
        self._stream = stream
        self._process = process
        self._left = MOST_OUTPUT

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left >= 0:
            return data
        self._process.kill()
        return b""

    def close(self) -> None:
        self._stream.close()
