"""``python -m tests.crash JOURNEY [MOMENT …]``: one journey, killed at those moments, and what is wrong with it.

A moment is a number, or a text as a violation tells it. Without any, all moments of the journey are listed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.crash.explore import Explorer
from tests.crash.journeys import JOURNEYS
from tests.crash.server import watched_server
from tests.crash.watch import Strike


async def travel(journey: str, strikes: list[Strike]) -> int:
    """Go on that journey, and tell about it."""
    explorer = Explorer(journey)
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, watched_server(Path(directory)) as server:
        if not strikes:
            arrival = await explorer.undisturbed(server)
            for number, each in enumerate(arrival.watch.moments, 1):
                print(f"{number:5} {each}")
            return 0
        if not await explorer.strike(server, *strikes):
            print("not every kill came: the journey had no such moment")
    for violation in explorer.violations:
        print(violation.replace(" | ", "\n"))
    if not explorer.violations:
        print("nothing is wrong")
    return 1 if explorer.violations else 0


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill the program at chosen moments.")
    parser.add_argument("journey", choices=JOURNEYS)
    parser.add_argument("moments", nargs="*", help="numbers or texts; each is looked for behind the one before")
    options = parser.parse_args()
    strikes: list[Strike] = [int(each) if each.isdigit() else each for each in options.moments]
    return trio.run(travel, options.journey, strikes)


if __name__ == "__main__":
    sys.exit(main())
