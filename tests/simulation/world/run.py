"""Running a story: everything that could differ from one run to the next is fixed, and put back after it."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import random
import shutil
import ssl
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from tests.simulation.world.peers import BUS_ADDRESS, authority
from tests.simulation.world.program import inline
from tests.simulation.world.story import Story
from tests.simulation.world.trust import Gpg
from tests.simulation.world.world import EPOCH, World
from torcxd.addons import signature
from torcxd.sandbox import apiserver

# Made once: it loads the host's authorities, whom nobody asks here.
_TLS = ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a story.

    :param violations: empty when all is well.
    :param trace: what happened, a line each.
    :param counts: events, crashes, boots and the like.
    :param digest: of every byte that was sent, and when.
    :param fired: the troubles that somebody ran into, by name.
    """

    violations: tuple[str, ...]
    trace: tuple[str, ...]
    counts: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    fired: Counter[str] = field(default_factory=Counter)


def run(story: Story) -> Outcome:
    """Let a story happen. The same story gives the same outcome, in any process."""
    root = Path(tempfile.mkdtemp(prefix="world.", dir="/dev/shm"))
    world = World(story, root)
    try:
        with _fixed(world):
            trio.run(world.live, clock=MockClock(autojump_threshold=0))
    except Exception as error:
        # The world itself failed: to whoever looks for defects that is one, too.
        violations = (*world.violations, f"WORLD: {_flat(error)}")
        world.trace += "".join(traceback.format_exception(error)).splitlines()
    else:
        violations = tuple(world.violations)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    trace = tuple(each.replace(str(root), "").replace(str(os.getpid()), "PID") for each in world.trace)
    counts = Counter(
        stories=1,
        events=len(story.events),
        crashes=world.programs.crashes,
        starts=world.programs.starts,
        boots=world.machine.boots,
        seconds=round(world.length),
    )
    return Outcome(
        tuple(each.replace(str(root), "") for each in violations),
        trace,
        counts,
        world.peers.network.digest.hexdigest(),
        world.fired,
    )


def _flat(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_flat(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"


class _Listener(logging.Handler):
    """Adds what the program logs to the trace; a defect that it notices itself is a violation."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if self._world.programs.dying:
            return
        if record.levelno >= logging.INFO:
            self._world.say(f"{record.levelname.lower()}: {record.getMessage()}")
        # As daemon/failures.py tells of what it did not foresee.
        elif record.exc_info is not None and record.exc_info[1] is not None:
            text = f"DEFECT: {_flat(record.exc_info[1])}"
            if text not in self._world.violations:
                self._world.violations.append(text)
                self._world.trace += "".join(traceback.format_exception(record.exc_info[1])).splitlines()


@contextmanager
def _fixed(world: World) -> Iterator[None]:
    story = world.story
    numbers = random.Random(f"uuid {story.seed}")

    def now() -> float:
        return EPOCH + trio.current_time()

    @contextmanager
    def signals(*wanted: int) -> Iterator[Any]:
        with world.programs.signals(*wanted) as received:
            yield received

    log = logging.getLogger("torcxd")
    replaced: tuple[tuple[Any, str, Any], ...] = (
        (trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        (trio.to_thread, "run_sync", inline),
        (trio, "open_signal_receiver", signals),
        (signature, "_gpg", Gpg),
        (apiserver, "Authority", authority),
        (ssl, "create_default_context", lambda *_, **__: _TLS),
        (tempfile, "_name_sequence", (f"temporary-{number}" for number in itertools.count())),
        (uuid, "uuid4", lambda: uuid.UUID(int=numbers.getrandbits(128), version=4)),
        (time, "time", now),
        (log, "propagate", False),
        (log, "handlers", [_Listener(world)]),
    )
    held = trio_run._r.getstate(), random.getstate()
    collects = gc.isenabled()
    with ExitStack() as stack:
        # Loggers remember whether they are heard: only setLevel() makes them forget.
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.DEBUG)
        stack.enter_context(patch.dict(os.environ, {"DBUS_SYSTEM_BUS_ADDRESS": BUS_ADDRESS}))
        for owner, name, value in replaced:
            stack.enter_context(patch.object(owner, name, value))
        # When garbage is collected depends on everything that ran before.
        gc.disable()
        trio_run._r.seed(story.seed)
        random.seed(story.seed)
        try:
            yield
        finally:
            if collects:
                gc.enable()
            trio_run._r.setstate(held[0])
            random.setstate(held[1])
