"""Counts the examples of each property."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.explored import Explored
from tests.properties.examples import TRIED


@pytest.fixture(autouse=True)
def _counted(explored: Explored) -> Iterator[None]:
    before = TRIED.examples
    yield
    explored.count("properties", "properties")
    explored.count("properties", "examples", TRIED.examples - before)
