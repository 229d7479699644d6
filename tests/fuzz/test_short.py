"""A short search of each target, the same one every time; ``python -m tests.soak fuzzing`` searches for long."""

from __future__ import annotations

import platform
import sys

import pytest

from tests.explored import Explored
from tests.fuzz import blind, engine

# So many inputs of each target, its corpus included: some seconds for all.
RUNS = 150
BLIND_RUNS = 40


@pytest.mark.parametrize("name", engine.names())
def test_a_blind_search_finds_nothing(name: str, explored: Explored) -> None:
    blind.search(name, BLIND_RUNS, seed=1)
    explored.count("fuzzing", "executions", BLIND_RUNS)


# As pyproject.toml asks for atheris: on other machines there is none, and blind searches have to do.
if platform.machine() == "x86_64" and sys.platform == "linux" and sys.version_info < (3, 14):

    def test_a_guided_search_finds_nothing(explored: Explored) -> None:
        outcomes = engine.fuzz(engine.names(), [f"-runs={RUNS}", "-seed=1"], quiet=True)
        assert {name: each.said for name, each in outcomes.items() if each.failed} == {}
        for name, each in outcomes.items():
            assert each.executions >= RUNS, name
            assert each.coverage > 30, f"{name} reaches next to nothing: is its parser instrumented?"
        explored.count("fuzzing", "executions", sum(each.executions for each in outcomes.values()))
