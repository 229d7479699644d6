"""The properties of ``tests/properties`` with examples that differ from run to run, many more than in ``make test``."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from typing import Final

from tests.explored import Explored
from tests.properties.examples import FACTOR

NAME: Final = "properties"
HELP: Final = "state machines and properties with other examples each time"
# A round as large as the quick set takes half a minute on an idle processor: there is room for some larger ones.
SHARE: Final = 180.0
# So many times the examples of the quick set in one round, at most.
_FACTOR: Final = 5
# How much longer than the ones before it a round may take, since its examples are others.
_LONGER: Final = 1.3


def run(budget: float, explored: Explored) -> list[str]:
    """Run rounds, each with a seed of its own, until *budget* is over; returns a line for each that failed.

    The first one is as large as the quick set; it tells how large the others may be.
    """
    started = time.monotonic()
    violations: list[str] = []
    # Seconds that the examples of the quick set took, at most.
    longest = 0.0
    while True:
        left = budget - (time.monotonic() - started)
        factor = min(_FACTOR, int(left / (_LONGER * longest))) if longest else 1
        if factor < 1:
            return violations
        begun, seed = time.monotonic(), secrets.randbits(32)
        arguments = ["-q", "-p", "no:cacheprovider", "tests/properties", f"--hypothesis-seed={seed}"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *arguments],
                env={**os.environ, FACTOR: str(factor)},
                capture_output=True,
                text=True,
                check=False,
                timeout=max(left, 0),
            )
        except subprocess.TimeoutExpired:
            print(f"seed {seed}: the time is over, this round of {factor} times the quick set was cut off", flush=True)
            return violations
        took = time.monotonic() - begun
        longest = max(longest, took / factor)
        explored.count("properties", "rounds")
        for number, unit in re.findall(r"([0-9,]+) (examples|files compared with systemd)", done.stdout):
            explored.count("properties", unit, int(number.replace(",", "")))
        said = "FAILED" if done.returncode else "ok"
        print(f"seed {seed}, {factor} times the quick set: {took:.0f} s, {said}", flush=True)
        if done.returncode:
            print(done.stdout[-8000:], flush=True)
            violations.append(f"{FACTOR}={factor} pytest {' '.join(arguments[3:])}")
