"""Runs in the program's processes: notes of which files they ask the size, or anything else that stat(2) tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

# An inode's number, as it is noted.
NUMBER: Final = 8


def note_sizes(descriptor: int) -> None:
    """From now on write the number of each inode that is asked for to *descriptor*, which is appended to."""
    noted: set[int] = set()

    def noting(ask: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def asked(*arguments: Any, **options: Any) -> os.stat_result:
            found = ask(*arguments, **options)
            if found.st_ino not in noted:
                noted.add(found.st_ino)
                os.write(descriptor, found.st_ino.to_bytes(NUMBER))
            return found

        return asked

    # All of them look at the module when they are called: pathlib, os.path, shutil, tempfile.
    for name in ("stat", "lstat", "fstat"):
        setattr(os, name, noting(getattr(os, name)))
