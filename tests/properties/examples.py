"""How many examples a property is tried with, and how many were."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings

# The long test sets it to so many times as many examples as `make test` has. They differ from run to run then.
FACTOR: Final = "PROPERTIES_FACTOR"


class _Tried:
    """A count, which :mod:`.conftest` reads before and after each test."""

    examples = 0


TRIED: Final = _Tried()


def examples(count: int, steps: int = 30) -> settings:
    """The settings of a property: *count* examples, the same each time.

    :param steps: of a state machine, at most.
    """
    factor = int(os.environ.get(FACTOR, "0"))
    return settings(
        max_examples=count * (factor or 1),
        stateful_step_count=steps,
        derandomize=not factor,
        database=None,
        deadline=None,
        # What the machine does besides must not fail a property.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def tried() -> None:
    """Count one example; each property calls it once for each."""
    TRIED.examples += 1


def folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one example, in memory where that is possible: nothing here depends on a disk."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="properties.", dir=memory if memory.is_dir() else None)
