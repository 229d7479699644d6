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
# Some rounds of a minute or two.
SHARE: Final = 480.0
# So many times the examples of the quick set in one round.
_FACTOR: Final = 5


def run(budget: float, explored: Explored) -> list[str]:
    """Run rounds, each with a seed of its own, until *budget* is over; a round that has begun is ended."""
    started, longest, violations = time.monotonic(), 0.0, []
    # One round in any case; another one if it is likely to fit.
    while not longest or time.monotonic() - started + longest < budget:
        begun = time.monotonic()
        seed = secrets.randbits(32)
        arguments = ["-q", "-p", "no:cacheprovider", "tests/properties", f"--hypothesis-seed={seed}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            env={**os.environ, FACTOR: str(_FACTOR)},
            capture_output=True,
            text=True,
            check=False,
        )
        longest = max(longest, time.monotonic() - begun)
        explored.count("properties", "rounds")
        for number, unit in re.findall(r"([0-9,]+) (examples|files compared with systemd)", done.stdout):
            explored.count("properties", unit, int(number.replace(",", "")))
        print(f"seed {seed}: {time.monotonic() - begun:.0f} s, {'ok' if not done.returncode else 'FAILED'}", flush=True)
        if done.returncode:
            print(done.stdout[-8000:], flush=True)
            violations.append(f"{FACTOR}={_FACTOR} pytest {' '.join(arguments[3:])}")
    return violations
