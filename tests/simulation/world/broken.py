"""Builds of torcxd that are broken on purpose, each in one place: what the simulation has to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import trio

from torcxd.addons.signature import Verifier
from torcxd.daemon import engine
from torcxd.host import docker_cleanup
from torcxd.lifecycle import memory
from torcxd.lifecycle.effects import RetryAt
from torcxd.lifecycle.facts import Plan


def _trust(_: Verifier, result: Any, _allowed: object, _where: str) -> str:
    """Whoever signed, and whatever."""
    return str(result.pubkey_fingerprint)


async def _schedule_nothing(*_: object) -> None:
    await trio.lowlevel.checkpoint()


async def _give_up(self: engine.Engine, effect: Any) -> None:
    """An effect that failed is not tried again."""
    if isinstance(effect, RetryAt):
        await trio.sleep_forever()
    await _RUN(self, effect)


def _unheard(_: object, plan: Plan) -> Plan:
    return plan


_RUN: Final = engine.Engine._run_effect


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken build.

    :param owner, name: what is replaced.
    :param seed: of a story that shows it.
    :param violates: what is found then, one of these.
    """

    owner: Any
    name: str
    replacement: Callable[..., Any]
    seed: int
    violates: frozenset[str]


BROKEN: Final[Mapping[str, Broken]] = {
    "signatures by anybody": Broken(Verifier, "_judge", _trust, 2003, frozenset({"I2", "I3"})),
    "Docker's data kept": Broken(docker_cleanup, "schedule", _schedule_nothing, 3, frozenset({"I6"})),
    "no second try": Broken(engine.Engine, "_run_effect", _give_up, 8, frozenset({"END"})),
    "an installed update overheard": Broken(memory, "_as_heard", _unheard, 0, frozenset({"END"})),
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Build torcxd that way while the block runs."""
    build = BROKEN[name]
    with patch.object(build.owner, build.name, build.replacement):
        yield
