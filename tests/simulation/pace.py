"""How long a simulated year is, how fast it goes, and which versions it brings."""

from __future__ import annotations

from typing import Final

from torcxd.kube.reflector import Pace

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
FORTNIGHTS: Final = 26
# From here on memory is counted, which takes as long again: the months before have warmed every cache.
SETTLED: Final = 20

# What an idle node does once a minute is done once a day here: a year of it would take minutes of real time,
# and tells nothing that the hundreds of rounds that are left do not.
POLL: Final = DAY
WATCH: Final = Pace(watch=DAY, silence=DAY + HOUR)
# A year of a well node does not fill the history, so its bounds are drawn closer.
KEPT_ENTRIES: Final = 100
LARGEST_HISTORY: Final = 2 * KEPT_ENTRIES * 300


def os_version(number: int) -> str:
    return f"{1520 + 14 * number}.{number % 9}.0"


def kubernetes(number: int) -> tuple[str, str]:
    """The cluster's version after so many upgrades, and the Docker that it wants."""
    return f"v1.{8 + number}.4", ("17.03", "17.09", "18.06")[number % 3]
