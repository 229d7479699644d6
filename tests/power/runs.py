"""The runs in which the power is cut: what a node goes through in its life."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from tests.integration.bootstrap.bench import QUIET, UPDATING
from tests.integration.bootstrap.program import ForkServer
from tests.power import journey, service
from tests.power.cuts import Cut
from tests.power.restart import Restarts


class Run(Protocol):
    """A recorded run, and the node to restart from its cuts."""

    restarts: Restarts
    cuts: list[Cut]
    moments: int

    async def restart(self, cut: Cut, *, to_the_end: bool) -> None:
        """Judge one cut."""


# Opened with a folder for the node, the server that starts its programs, and a name for messages.
RUNS: Final[dict[str, Callable[[Path, ForkServer, str], AbstractAsyncContextManager[Run]]]] = {
    "bootstrap, Docker changes, before the reboot": partial(journey.bootstrap, plot=QUIET),
    "bootstrap, OS and Docker change, before the reboot": partial(journey.bootstrap, plot=UPDATING),
    "bootstrap, OS and Docker change, after the reboot": partial(journey.bootstrap, plot=UPDATING, after_reboot=True),
    "bootstrap, killed at the store": partial(journey.bootstrap, plot=QUIET, killed="dies_at_the_store"),
    "bootstrap, killed at the profile": partial(journey.bootstrap, plot=QUIET, killed="dies_at_the_profile"),
    "daemon, OS changes": service.update,
    "daemon, OS and Docker change": partial(service.update, docker="1.12"),
    "hook, OS changes": partial(service.update, hook=True),
}
