"""Power cuts at every moment of a node's life: every disk image is judged as it comes up, and taken to the end."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from tests.explored import Explored
from tests.integration.bootstrap.conftest import MEMORY
from tests.integration.bootstrap.program import ForkServer, fork_server
from tests.power.cuts import spread
from tests.power.runs import RUNS

NAME: Final = "power"
HELP: Final = "power cuts: every disk that may be left comes up well, and the node gets to the end"
# Nine thousand images come up in 10 to 20 ms each, and take about a second each to the end: two to three hours for
# all. A shorter run takes some from all over, and tells how many.
SHARE: Final = 1200.0


def run(budget: float, explored: Explored) -> list[str]:
    """Judge all images as they come up, then take them to the end for as long as *budget* seconds last."""
    with tempfile.TemporaryDirectory(prefix="soak-power-", dir=MEMORY) as folder, fork_server(Path(folder)) as server:
        return trio.run(_run, Path(folder), server, budget, explored)


async def _run(folder: Path, server: ForkServer, budget: float, explored: Explored) -> list[str]:
    violations: list[str] = []
    end = time.monotonic() + budget
    for number, (label, open_run) in enumerate(RUNS.items()):
        # What one run leaves of its part is for those after it.
        until = time.monotonic() + (end - time.monotonic()) / (len(RUNS) - number)
        done = {True: 0, False: 0}
        async with open_run(folder, server, label) as recorded:
            for to_the_end in (False, True):
                for cut in spread(recorded.cuts):
                    if time.monotonic() >= until:
                        break
                    await recorded.restart(cut, to_the_end=to_the_end)
                    done[to_the_end] += 1
        count = len(recorded.cuts)
        print(f"  {label}: {recorded.moments} moments; of {count} images {done[False]} come up, ", end="")
        print(f"{done[True]} of {count} get to the end, {len(recorded.restarts.violations)} violations", flush=True)
        explored.count("power loss", "moments", recorded.moments)
        explored.count("power loss", "disk images", done[False])
        explored.count("power loss", "restarts to the end", done[True])
        violations += dict.fromkeys(recorded.restarts.violations)
    return violations
