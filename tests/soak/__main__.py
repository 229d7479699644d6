"""``python -m tests.soak [PART …]``: the long tests, for as long as one cares to wait.

Each part is a module in here with ``NAME``, ``HELP``, ``SHARE`` and ``run(budget, explored)``: it explores until it is
through or the budget of seconds is used up, counts what it explored, and returns the violations that it found, each one
line that names what repeats it. Ends with 1 where there are any.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import time
from typing import Protocol, cast

import tests.soak
from tests.e2e.tree import PROJECT
from tests.explored import Explored


class Part(Protocol):
    """A module of this package that tests something for long."""

    NAME: str
    HELP: str
    # How many seconds of an hour it gets where all run; together they are 3,600.
    SHARE: float

    @staticmethod
    def run(budget: float, explored: Explored) -> list[str]:
        """Explore for *budget* seconds at most; returns what is violated."""


def parts() -> dict[str, Part]:
    """All parts, by name: the quick ones first, so that what is wrong is seen early."""
    names = [each.name for each in pkgutil.iter_modules(tests.soak.__path__) if each.name != "__main__"]
    modules = [cast("Part", importlib.import_module(f"tests.soak.{each}")) for each in names]
    return {each.NAME: each for each in sorted(modules, key=lambda part: part.SHARE)}


def main() -> int:
    """The program."""
    known = parts()
    told = "\n".join(f"  {name:12} {part.HELP}" for name, part in known.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Run the long tests.",
        epilog=f"parts:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to run (default: all)")
    parser.add_argument("--hours", type=float, default=1, help="how long all of it may take (default: %(default)g)")
    options = parser.parse_args()
    unknown = set(options.parts) - set(known)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    os.chdir(PROJECT)
    chosen = [known[each] for each in options.parts or known]
    scale = 3600 * options.hours / sum(each.SHARE for each in chosen)
    violations: list[str] = []
    for part in chosen:
        print(f"== {part.NAME}: {part.HELP}", flush=True)
        explored, started = Explored(), time.monotonic()
        found = part.run(part.SHARE * scale, explored)
        for line in (*explored.lines(), *(f"VIOLATION {each}" for each in found)):
            print(line, flush=True)
        print(f"{part.NAME}: {len(found)} violations in {time.monotonic() - started:.0f} s", flush=True)
        violations += found
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
