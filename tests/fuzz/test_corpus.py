"""Every input that is kept, through its target: what was found once stays mended, in a second and without a fuzzer."""

from __future__ import annotations

import pytest

from tests.explored import Explored
from tests.fuzz import engine

# What is kept in git is to be read by people, and to be run in each `make test`.
MOST_INPUTS = 80
LARGEST_INPUT = 4096


@pytest.mark.parametrize("name", engine.names())
def test_what_was_found_stays_mended(name: str, explored: Explored) -> None:
    inputs = engine.corpus(name)
    assert inputs, f"{engine.CORPUS / name} is empty"
    for each in inputs:
        try:
            engine.replay(name, each)
        except Exception as error:
            raise AssertionError(f"python -m tests.fuzz {name} --replay {each.relative_to(engine.PROJECT)}") from error
    explored.count("fuzzing", "kept inputs", len(inputs))


@pytest.mark.parametrize("name", engine.names())
def test_the_corpus_is_small(name: str) -> None:
    inputs = engine.corpus(name)
    assert len(inputs) <= MOST_INPUTS
    assert [each.name for each in inputs if each.stat().st_size > LARGEST_INPUT] == []


def test_each_corpus_has_its_target() -> None:
    assert sorted(each.name for each in engine.CORPUS.iterdir()) == engine.names()
