"""What a stand-in for update_engine plays: the states that an update passes through, and how long each lasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

# What update_engine says where it knows no version.
NULL_VERSION: Final = "0.0.0"
# The size of a Container Linux update of 2018, in bytes.
_SIZE: Final = 280_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """A state that lasts.

    :param operation: one of :class:`torcxd.dbus.update_engine.Operation`, without the prefix.
    :param seconds: how long until the next step; of the last step it means nothing.
    :param progress: 0.0 to 1.0.
    :param version: as sent; of the operation UPDATED_NEED_REBOOT also what is installed.
    :param silent: whether its signal is lost.
    """

    operation: str
    seconds: float = 0.0
    progress: float = 0.0
    version: str = NULL_VERSION
    size: int = 0
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """What AttemptUpdate leads to.

    :param steps: played one after the other.
    :param stale_idle: seconds after AttemptUpdate in which nothing changes yet.
    """

    steps: tuple[Step, ...] = ()
    stale_idle: float = 0.0


def update(version: str, seconds: float, *, stale_idle: float = 0.0) -> Scenario:
    """A successful update.

    :param seconds: from the check to the end, most of it downloading.
    """
    known = partial(Step, version=version, size=_SIZE)
    downloading = [known("DOWNLOADING", seconds * 0.07, progress=tenth / 10) for tenth in range(1, 11)]
    return Scenario(
        (
            Step("CHECKING_FOR_UPDATE", seconds * 0.05),
            known("UPDATE_AVAILABLE", seconds * 0.05),
            *downloading,
            known("FINALIZING", seconds * 0.2),
            known("UPDATED_NEED_REBOOT"),
        ),
        stale_idle,
    )


def no_update(version: str, seconds: float) -> Scenario:
    """A check that finds nothing newer."""
    del version
    return Scenario((Step("CHECKING_FOR_UPDATE", seconds), Step("IDLE")))


def failure(version: str, seconds: float) -> Scenario:
    """An update that fails while it downloads."""
    return Scenario(
        (
            Step("CHECKING_FOR_UPDATE", seconds * 0.1),
            Step("DOWNLOADING", seconds * 0.8, progress=0.4, version=version, size=_SIZE),
            Step("REPORTING_ERROR_EVENT", seconds * 0.1, version=version, size=_SIZE),
            Step("IDLE"),
        )
    )


def stuck(version: str, seconds: float) -> Scenario:
    """An update whose download stands still for ever after *seconds*."""
    return Scenario(
        (
            Step("CHECKING_FOR_UPDATE", seconds),
            Step("DOWNLOADING", progress=0.4, version=version, size=_SIZE),
        )
    )


# By the names that the command line takes; each is made from a version and a duration in seconds.
SCENARIOS: Final[dict[str, Callable[[str, float], Scenario]]] = {
    "update": update,
    "no-update": no_update,
    "failure": failure,
    "stuck": stuck,
    # AttemptUpdate is accepted and nothing ever happens, as when the update server is disabled.
    "ignore": lambda _version, _seconds: Scenario(),
}


def load_scenario(text: str) -> Scenario:
    """Read a scenario: ``{"stale_idle": 0.5, "steps": [{"operation": "IDLE", "seconds": 1.0, …}, …]}``.

    :raises ValueError: it is not JSON.
    :raises TypeError: it has an unknown key.
    """
    document = json.loads(text)
    steps = tuple(Step(**each) for each in document.pop("steps", []))
    return Scenario(steps=steps, **document)
