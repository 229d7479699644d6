"""Power cuts at every moment of a bootstrap: every disk image is judged as it comes up, and taken to the end."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from tests.explored import Explored
from tests.integration.bootstrap.bench import QUIET, UPDATING
from tests.integration.bootstrap.conftest import MEMORY
from tests.integration.bootstrap.program import ForkServer, fork_server
from tests.power import journey
from tests.power.cuts import spread
from torcxd.sandbox.sandbox import Plot

NAME: Final = "power"
HELP: Final = "power cuts: every disk image that may come of a bootstrap comes up well and gets to the end"
# Of the kinds of runs below, in their order: about five thousand images, at half a second to a second and a half each.
SHARE: Final = 1500.0
# What is cut, and which part of the time it gets.
RUNS: Final[dict[str, tuple[Plot, bool, float]]] = {
    "Docker changes, before the reboot": (QUIET, False, 0.3),
    "Docker changes, after the reboot": (QUIET, True, 0.1),
    "OS and Docker change, before the reboot": (UPDATING, False, 0.5),
    "OS and Docker change, after the reboot": (UPDATING, True, 0.1),
}


def run(budget: float, explored: Explored) -> list[str]:
    """Judge all images as they come up, then take them to the end for as long as *budget* seconds last."""
    with tempfile.TemporaryDirectory(prefix="soak-power-", dir=MEMORY) as folder, fork_server(Path(folder)) as server:
        return trio.run(_run, Path(folder), server, budget, explored)


async def _run(folder: Path, server: ForkServer, budget: float, explored: Explored) -> list[str]:
    violations: list[str] = []
    for label, (plot, after_reboot, share) in RUNS.items():
        until = time.monotonic() + budget * share
        async with journey.bootstrap(folder, server, label, plot=plot, after_reboot=after_reboot) as recorded:
            for cut in recorded.cuts:
                await recorded.restart(cut, to_the_end=False)
            finished = 0
            for cut in spread(recorded.cuts):
                if time.monotonic() >= until:
                    break
                await recorded.restart(cut, to_the_end=True)
                finished += 1
        count = len(recorded.cuts)
        print(f"  {label}: {recorded.moments} moments, {count} images; {finished} of {count} to the end", flush=True)
        explored.count("power loss", "moments", recorded.moments)
        explored.count("power loss", "disk images", count)
        explored.count("power loss", "restarts to the end", finished)
        violations += dict.fromkeys(recorded.restarts.violations)
    return violations
