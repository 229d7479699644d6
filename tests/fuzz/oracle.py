"""What any parser owes to any input: a typed error or none, and a message that can stand in a log."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from torcxd.errors import TorcxdError

# A message quotes a name, a path or a few of each; what is longer is the input itself, on its way into the journal.
LONGEST_MESSAGE: Final = 3000
# A shorter secret can be a part of any message by chance.
SHORTEST_SECRET: Final = 6


class Violation(AssertionError):
    """The program did something that it must not do with any input."""


@contextlib.contextmanager
def refusing(*kinds: type[TorcxdError], secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Let the errors of *kinds* pass, if they can be told as they are; every other exception is a finding.

    :param secrets: what no message may show.
    """
    try:
        yield
    except kinds as error:
        fit_for_a_log(f"{error.message} {error.hint}", secrets)


def fit_for_a_log(text: str, secrets: tuple[str, ...] = ()) -> None:
    """Raise unless *text* is one line that every sink can take, without a secret."""
    if len(text) > LONGEST_MESSAGE:
        raise Violation(f"a message of {len(text)} characters: {text[:200]!a}…")
    wrong = next((each for each in text if not each.isprintable()), None)
    if wrong is not None:
        raise Violation(f"a message holds {wrong!a}: {text[:200]!a}")
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET and secret in text:
            raise Violation(f"a message shows the secret {secret!a}: {text[:200]!a}")


@cache
def scratch(name: str) -> Path:
    """A directory of this process for the target *name*, in memory where that is possible."""
    atexit.register(forget, os.getpid())
    return Path(tempfile.mkdtemp(prefix=f"fuzz.{os.getpid()}.{name}.", dir=_memory()))


def forget(pid: int) -> None:
    """Remove the scratch directories of a process that has ended, or is about to: libFuzzer's own end runs nothing."""
    for each in _memory().glob(f"fuzz.{pid}.*"):
        shutil.rmtree(each, ignore_errors=True)


def _memory() -> Path:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


def emptied(name: str) -> Path:
    """:func:`scratch`, with nothing in it."""
    directory = scratch(name)
    for each in directory.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    return directory


def put(path: Path, data: bytes) -> Path:
    """Write *data* to *path*, its folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def demand(condition: bool, what: str) -> None:
    """Raise unless *condition* holds."""
    if not condition:
        raise Violation(what)
