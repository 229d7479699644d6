"""What takes long to make of files, made once and kept for as long as the files stay the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from torcxd.errors import ConfigurationError, TransientError
from torcxd.host.stamps import Stamps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    key: Hashable
    value: T
    stamps: Stamps


class Kept(Generic[T]):
    """One value and what the files it was made of looked like.

    Any number of tasks may ask for it: one makes it, the others wait.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._held: _Held[T] | None = None

    async def get(self, key: Hashable, make: Callable[[], tuple[T, Stamps]]) -> T:
        """What *make* makes of the files as they are now: what it made the last time, if they have not changed since.

        Files are looked at and *make* runs in a worker thread. Cancellation returns at once and leaves it to itself.

        :param key: what else the value depends on. Another key is another value, which replaces the one before.
        :param make: makes the value, and stamps the files that it is made of before it reads them.
        :raises TransientError: what *make* raises as a :class:`ConfigurationError`, where it could make something of
            these files before: they are being replaced, and may be read in the middle of it.
        """
        async with self._lock:
            held = self._held if self._held is not None and self._held.key == key else None
            try:
                self._held = await trio.to_thread.run_sync(self._current, key, make, held, abandon_on_cancel=True)
            except ConfigurationError as error:
                if held is None:
                    raise
                raise TransientError(f"{error.message}; it was in order before", hint=error.hint) from error
            return self._held.value

    def _current(self, key: Hashable, make: Callable[[], tuple[T, Stamps]], held: _Held[T] | None) -> _Held[T]:
        if held is not None and held.stamps.hold():
            return held
        return _Held(key, *make())
