"""The power is cut: whatever of a bootstrap was not durable may be gone, and the node comes up well and gets there."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.explored import Explored
from tests.integration.bootstrap.bench import QUIET, UPDATING
from tests.integration.bootstrap.program import ForkServer
from tests.power import journey
from tests.power.cuts import spread

# How many images are judged as they come up, and how many of them are taken to the end; `make soak` takes all.
_IMAGES = 80
_TO_THE_END = 4


@pytest.mark.accepts("N2", "I1", "I2", "I3", "I5", "I6", "I7", "I8", "C20")
@pytest.mark.parametrize("after_reboot", [False, True], ids=["before-the-reboot", "after-it"])
async def test_a_bootstrap_gets_there_through_a_power_cut_at_any_moment(
    server: ForkServer, folder: Path, explored: Explored, after_reboot: bool
) -> None:
    label = f"bootstrap {'after' if after_reboot else 'before'} its reboot"
    async with journey.bootstrap(folder, server, label, plot=UPDATING, after_reboot=after_reboot) as run:
        for number, cut in enumerate(islice(spread(run.cuts), _IMAGES)):
            await run.restart(cut, to_the_end=number < _TO_THE_END)
    assert not run.restarts.violations, "\n".join(run.restarts.violations)
    explored.count("power loss", "moments", run.moments)
    for unit, number in run.restarts.counts.items():
        explored.count("power loss", unit, number)


@pytest.mark.parametrize(
    ("build", "invariants"),
    [
        ("syncs_no_content", ("I8", "N2", "I3", "I2")),
        ("syncs_no_names", ("I3", "I6", "N2")),
        ("pins_first", ("I3", "I6", "N2")),
        ("cleans_up_later", ("I6",)),
        ("trusts_systemd_with_links", ("I6",)),
    ],
)
async def test_a_broken_build_is_found_out(
    server: ForkServer, folder: Path, explored: Explored, build: str, invariants: tuple[str, ...]
) -> None:
    async with journey.bootstrap(folder, server, build, plot=QUIET, build=build) as run:
        found = run.restarts.violations
        for cut in spread(run.cuts):
            await run.restart(cut, to_the_end=False)
            if found:
                break
    assert found, f"none of {len(run.cuts)} images tells that the build {build} is broken"
    assert any(each in violation for violation in found for each in invariants), found
    explored.count("power loss", "broken builds found out")
