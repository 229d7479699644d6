"""Worlds from seeds: whatever happens to a node, the invariants hold, and it comes to the right end."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.explored import Explored
from tests.simulation.world.__main__ import tell
from tests.simulation.world.broken import BROKEN, broken
from tests.simulation.world.faults import CLASSES
from tests.simulation.world.faults import tell as tell_faults
from tests.simulation.world.run import Outcome, run
from tests.simulation.world.shrink import kinds, shrink
from tests.simulation.world.story import Story, make
from tests.soak.simulation import silent

# The seeds of `make test`: as many as half a minute allows. The last ones are for messages in another order, an update
# that nobody has heard the name of, and one that is cut off by a reboot at the very end.
SEEDS = (*range(15), 1167, 20261121000197, 20261121000064)
# How many seeds, from the one that is known, may be needed to find a build that is broken.
MOST_SEEDS = 4
# A story of a handful of events is one that people understand at once.
SHORT = 5


@pytest.mark.accepts("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "N2", "N3", "N4", "N8")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_holds_out_and_comes_to_the_right_end(seed: int, explored: Explored) -> None:
    outcome = outcome_of(seed)
    count(explored, outcome.counts)
    assert not outcome.violations, "\n" + tell(make(seed), outcome.violations)


@functools.cache
def outcome_of(seed: int) -> Outcome:
    """What becomes of the seed's story, which several tests look at."""
    return run(make(seed))


def test_troubles_of_each_class_really_happen(explored: Explored) -> None:
    fired = sum((outcome_of(each).fired for each in SEEDS), Counter())
    for name, counters in CLASSES.items():
        explored.count("troubles", name, sum(fired[each] for each in counters))
        assert any(fired[each] for each in counters), "\n".join(tell_faults(fired))


def test_what_never_happened_is_told() -> None:
    fired = Counter({each: 1 for counters in CLASSES.values() for each in counters})
    assert not any("NEVER" in line for line in tell_faults(fired))
    assert silent(10_000, fired) == []
    del fired["bus: signal lose"]
    assert [line.partition(":")[0] for line in tell_faults(fired) if "NEVER bus: signal lose" in line] == ["lost"]
    assert len(silent(10_000, fired)) == 1
    for each in CLASSES["power cuts"]:
        del fired[each]
    assert any("'power cuts'" in each for each in silent(100, fired))


def count(explored: Explored, counts: dict[str, int]) -> None:
    """Add what became of a story to what was explored."""
    for unit, name in (("stories", "seeds"), ("events", "events"), ("crashes", "crashes"), ("boots", "boots")):
        explored.count("simulation", name, counts[unit])
    explored.count("simulation", "virtual hours", round(counts["seconds"] / 3600))


def test_a_seed_repeats_a_run_to_the_byte_in_any_process() -> None:
    seed = 3
    first, second = run(make(seed)), run(make(seed))
    assert first == second
    command = [sys.executable, "-m", "tests.simulation.world", "--seed", str(seed)]
    # Sets have another order in there.
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert elsewhere.stdout.splitlines()[: len(first.trace)] == list(first.trace)
    assert elsewhere.stdout.splitlines()[-1] == f"every byte sent: {first.digest}"


def test_what_was_logged_before_does_not_change_the_trace() -> None:
    story = make(3)
    before = run(story)
    from_addons = logging.getLogger("torcxd.daemon.addons")
    parent = logging.getLogger("torcxd")
    level = parent.level
    parent.setLevel(logging.ERROR)
    try:
        from_addons.info("This is not heard, which the logger remembers.")
        assert run(story) == before
        assert parent.level == logging.ERROR
    finally:
        parent.setLevel(level)


def test_a_story_survives_being_written_down() -> None:
    story = make(7)
    assert Story.from_json(story.to_json()) == story
    assert story != make(8)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_build_is_found_and_its_story_is_short(name: str) -> None:
    build = BROKEN[name]
    with broken(name):
        for seed in range(build.seed, build.seed + MOST_SEEDS):
            story = build.story(seed)
            found = build.violates & kinds(run(story).violations)
            if found:
                break
        assert found, f"no seed from {build.seed} on finds it"
        short = shrink(story, lambda shorter: bool(found & kinds(run(shorter).violations)), most_runs=20)
        assert len(short.events) <= SHORT, tell(short, run(short).violations)
    assert not run(short).violations
