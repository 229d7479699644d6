"""A short search of each target, the same one every time; ``python -m tests.soak fuzzing`` searches for long."""

from __future__ import annotations

import platform
import sys

import pytest

from tests.explored import Explored
from tests.fuzz import engine

# So many inputs of each target, its corpus included: some seconds for all.
RUNS = 150
# What pyproject.toml asks atheris for: elsewhere there is none, and nothing is collected. The corpus is run everywhere.
SUPPORTED = platform.machine() == "x86_64" and sys.platform == "linux" and sys.version_info < (3, 14)


@pytest.mark.parametrize("targets", [engine.names()] if SUPPORTED else [], ids=["all targets"])
def test_a_short_search_finds_nothing(targets: list[str], explored: Explored) -> None:
    outcomes = engine.fuzz(targets, [f"-runs={RUNS}", "-seed=1"], quiet=True)
    assert {name: each.said for name, each in outcomes.items() if each.failed} == {}
    for name, each in outcomes.items():
        assert each.executions >= RUNS, name
        assert each.coverage > 30, f"{name} reaches next to nothing: is its parser loaded before it is instrumented?"
    explored.count("fuzzing", "executions", sum(each.executions for each in outcomes.values()))
