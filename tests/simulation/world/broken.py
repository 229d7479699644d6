"""Builds of torcxd that are broken on purpose, each in one place: what the simulation has to find."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import trio

from tests.simulation.world.story import Event, Story, make
from torcxd.addons.signature import Verifier
from torcxd.daemon import engine
from torcxd.host import docker_cleanup, files
from torcxd.lifecycle import memory
from torcxd.lifecycle.effects import RetryAt
from torcxd.lifecycle.facts import Plan


def _trust(_: Verifier, result: Any, _allowed: object, _where: str) -> str:
    """Whoever signed, and whatever."""
    return str(result.pubkey_fingerprint)


async def _schedule_nothing(*_: object) -> None:
    await trio.lowlevel.checkpoint()


def _name_only(_: Path) -> None:
    """Names are left to the kernel, which writes them when it likes."""


def _write_carelessly(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Content is left to the kernel; only its name is made durable."""
    files.make_directory(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        os.fchmod(descriptor, mode)
    files.rename(Path(temporary), path)


async def _give_up(self: engine.Engine, effect: Any) -> None:
    """An effect that failed is not tried again."""
    if isinstance(effect, RetryAt):
        await trio.sleep_forever()
    await _RUN(self, effect)


def _unheard(_: object, plan: Plan) -> Plan:
    return plan


_RUN: Final = engine.Engine._run_effect


# An update, and a reboot for it that somebody forces: the power is cut as soon as the operator has been answered.
_FORCED: Final = (
    Event(60.0, "update", {"version": "1576.4.0", "seconds": 30.0}),
    Event(61.0, "power_at_call", {"calls": 100_000}),
)


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken build.

    :param owner, name: what is replaced.
    :param seed: of a story that shows it.
    :param violates: what is found then, one of these.
    :param events: what happens instead of the seed's own events, where these would need many seeds.
    """

    owner: Any
    name: str
    replacement: Callable[..., Any]
    seed: int
    violates: frozenset[str]
    events: tuple[Event, ...] | None = None

    def story(self, seed: int) -> Story:
        """The story of a *seed* that is to show it."""
        made = make(seed)
        return made if self.events is None else replace(made, attendant="daemon", events=self.events)


BROKEN: Final[Mapping[str, Broken]] = {
    "signatures by anybody": Broken(Verifier, "_judge", _trust, 73, frozenset({"I2", "I3"})),
    "Docker's data kept": Broken(docker_cleanup, "schedule", _schedule_nothing, 4, frozenset({"I6"})),
    "no second try": Broken(engine.Engine, "_run_effect", _give_up, 82, frozenset({"END"})),
    "names not made durable": Broken(files, "fsync_directory", _name_only, 1, frozenset({"I3"}), _FORCED),
    "contents not made durable": Broken(
        files, "write_atomic", _write_carelessly, 11, frozenset({"I1", "I3", "I8", "N2"})
    ),
    "an installed update overheard": Broken(memory, "_as_heard", _unheard, 4, frozenset({"END"})),
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Build torcxd that way while the block runs."""
    build = BROKEN[name]
    with patch.object(build.owner, build.name, build.replacement):
        yield
