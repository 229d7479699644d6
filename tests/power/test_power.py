"""The power is cut: whatever of a run was not durable may be gone, and the node comes up well and gets there."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.explored import Explored
from tests.integration.bootstrap.bench import QUIET
from tests.integration.bootstrap.program import ForkServer
from tests.power import journey, service
from tests.power.alike import Sight, Watch
from tests.power.cuts import spread
from tests.power.runs import RUNS

# How many images are judged as they come up, and how many of them are taken to the end; `make soak` takes all.
_IMAGES = 50
_TO_THE_END = 2


@pytest.mark.accepts("N2", "I1", "I2", "I3", "I5", "I6", "I7", "I8", "C20")
@pytest.mark.parametrize(
    "label",
    [
        "bootstrap, OS and Docker change, before the reboot",
        "bootstrap, OS and Docker change, after the reboot",
        "daemon, OS and Docker change",
        "hook, OS changes",
    ],
)
async def test_a_node_gets_there_through_a_power_cut_at_any_moment(
    server: ForkServer, folder: Path, watch: Watch, explored: Explored, label: str
) -> None:
    async with RUNS[label](folder, server, label) as run:
        run.restarts.watched_by(watch)
        for number, cut in enumerate(islice(spread(run.cuts), _IMAGES)):
            await run.restart(cut, to_the_end=number < _TO_THE_END)
            if number < _TO_THE_END:
                _assert_left_alone(watch.sight())
    assert not run.restarts.violations, "\n".join(run.restarts.violations)
    explored.count("power loss", "moments", run.moments)
    for unit, number in run.restarts.counts.items():
        explored.count("power loss", unit, number)


@pytest.mark.accepts("N2", "I3", "I6")
@pytest.mark.parametrize("killed", ["dies_at_the_store", "dies_at_the_profile", "dies_at_torcx"])
async def test_what_a_killed_run_left_is_made_durable_before_it_counts(
    server: ForkServer, folder: Path, explored: Explored, killed: str
) -> None:
    async with journey.bootstrap(folder, server, killed, plot=QUIET, killed=killed) as run:
        # The cuts that come last have lost the most, if anything of the first run was not made durable by the second.
        for cut in run.cuts[-_IMAGES:]:
            await run.restart(cut, to_the_end=False)
    assert not run.restarts.violations, "\n".join(run.restarts.violations)
    explored.count("power loss", "disk images", _IMAGES)


@pytest.mark.parametrize(
    ("build", "invariants"),
    [
        # The first bad image may have lost the content of any file, a note of whose data must go among them.
        ("syncs_no_content", ("I8", "N2", "I3", "I2", "I6")),
        ("syncs_no_names", ("I3", "I6", "N2")),
        ("pins_first", ("I3", "I6", "N2")),
        ("trusts_systemd_with_links", ("I6",)),
    ],
)
async def test_a_broken_bootstrap_is_found_out(
    server: ForkServer, folder: Path, explored: Explored, build: str, invariants: tuple[str, ...]
) -> None:
    async with journey.bootstrap(folder, server, build, plot=QUIET, build=build) as run:
        for cut in spread(run.cuts):
            await run.restart(cut, to_the_end=False)
            if run.restarts.violations:
                break
    _assert_found_out(run.restarts.violations, invariants, explored)


async def test_a_broken_daemon_is_found_out(server: ForkServer, folder: Path, explored: Explored) -> None:
    build = "cleans_up_later"
    async with service.update(folder, server, build, docker="1.12", build=build) as run:
        for cut in spread(run.cuts):
            await run.restart(cut, to_the_end=False)
            if run.restarts.violations:
                break
    _assert_found_out(run.restarts.violations, ("I6",), explored)


def _assert_left_alone(sight: Sight) -> None:
    """Nobody looked into what a writer that was killed had begun, nor into what the lock's last holder was."""
    assert sight.contents
    assert not {each for each in (*sight.contents, *sight.sizes) if each.endswith((".tmp", "/lock"))}


def _assert_found_out(found: list[str], invariants: tuple[str, ...], explored: Explored) -> None:
    assert found, "no image tells that this build is broken"
    assert any(each in violation for violation in found for each in invariants), found
    explored.count("power loss", "broken builds found out")
