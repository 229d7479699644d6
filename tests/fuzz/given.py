"""Values out of the fuzzer's bytes, for input that has to be of some form to get anywhere."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Given:
    """Takes values off the front of *data*; where it is used up, all further ones are zero and empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, below: int) -> int:
        """A number from 0 up, below 256 at most."""
        return (self.take(1) or b"\0")[0] % below

    def choice(self, values: Sequence[T]) -> T:
        """One of *values*."""
        return values[self.number(len(values))]

    def long(self) -> int:
        """A signed number of 64 bits."""
        return int(struct.unpack("<q", self.take(8).ljust(8, b"\0"))[0])

    def double(self) -> float:
        """Any float, infinities and what is no number included."""
        return float(struct.unpack("<d", self.take(8).ljust(8, b"\0"))[0])

    def text(self) -> str:
        """A text of up to 255 bytes, without what D-Bus and files do not take: NUL and what is no character."""
        return self.take(self.number(256)).decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
