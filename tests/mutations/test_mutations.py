"""Each invariant's checker can fail: broken builds of the program break what it names, and the program does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.explored import Explored
from tests.integration.bootstrap.conftest import MEMORY, program  # noqa: F401
from tests.integration.bootstrap.program import ForkServer
from tests.mutations import builds, scenarios
from tests.mutations.scenarios import Scenario

# The build, where its mistake shows, and exactly what is found: what goes with the first one follows from it.
MUTATIONS: Final[dict[str, tuple[Scenario, str]]] = {
    "publishes_before_the_reboot": (scenarios.an_update, "I1"),
    "publishes_half_a_file": (scenarios.an_update, "I1"),
    "forgets_what_the_installer_gave": (scenarios.an_update, "I1"),
    "believes_every_digest": (scenarios.a_wrong_image, "I2"),
    "believes_every_signature": (scenarios.a_foreign_key, "I2"),
    "pins_nothing": (scenarios.an_update, "I3"),
    "places_nothing": (scenarios.an_operator_that_asks, "I3"),
    "reboots_without_another_look": (scenarios.a_set_that_is_damaged_late, "I3"),
    "takes_an_unknown_version_for_none": (scenarios.an_update_without_a_name, "I3 I4"),
    "never_looks_at_update_engine_again": (scenarios.an_update_that_comes_late, "I3 I4"),
    "removes_the_current_store": (scenarios.an_update, "I1 I5"),
    "removes_newer_stores": (scenarios.an_update, "I5"),
    "never_cleans_docker": (scenarios.an_update, "I6"),
    "always_cleans_docker": (scenarios.an_update_with_the_same_docker, "I6"),
    "asks_for_each_reboot_again": (scenarios.a_process_that_is_started_again, "I7"),
    "never_gives_a_target_up": (scenarios.rollbacks, "I7"),
    "writes_the_state_in_place": (scenarios.deaths, "I8"),
    "writes_no_checksum": (scenarios.a_damaged_state, "I8"),
    "believes_every_state": (scenarios.a_damaged_state, "I8"),
    "throws_a_damaged_state_away": (scenarios.a_damaged_state, "I8"),
}
SCENARIOS: Final = {scenario.__name__: scenario for scenario, _ in MUTATIONS.values()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    parent = MEMORY if os.access(MEMORY, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="torcxd-mutations-", dir=parent) as directory:
        yield Path(directory)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_program_itself_breaks_nothing(disk: Path, program: ForkServer, name: str) -> None:  # noqa: F811
    assert await SCENARIOS[name](disk, program) == []


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_broken_build_is_caught(
    disk: Path,
    program: ForkServer,  # noqa: F811
    explored: Explored,
    name: str,
) -> None:
    scenario, expected = MUTATIONS[name]
    found = await scenario(disk, program.broken(f"{builds.__name__}:{name}"))
    assert " ".join(sorted({each[:2] for each in found})) == expected, found
    explored.count("mutations", "broken builds caught")
