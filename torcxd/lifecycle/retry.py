"""When to try again: the one place that knows back-off."""

from __future__ import annotations

from typing import Final

# The first retry comes quickly, since most failures on a booting node are a network that is not up yet.
FIRST_DELAY: Final = 1.0
# Doubling reaches the cap after seven failures; slower growth would keep a failing bucket under needless load.
FACTOR: Final = 2.0
# Two minutes: an operator who has mended the cause does not wait long, a hundred nodes ask less than once a second.
LONGEST_DELAY: Final = 120.0
# A tenth either way is enough to spread nodes that failed at the same moment.
JITTER: Final = 0.1


def delay(attempt: int, jitter: float) -> float:
    """Seconds to wait after the failed attempt number *attempt* (from 1).

    :param jitter: a random number in [0, 1).
    """
    # The exponent is bounded because attempts are not, and a float overflows at 1024 doublings.
    exponential = FIRST_DELAY * FACTOR ** min(attempt - 1, 16)
    return min(exponential, LONGEST_DELAY) * (1 - JITTER + 2 * JITTER * jitter)
