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


# A quarter of an hour: what a server that sheds load asks for is shorter; a day is more likely a mistake of its.
LONGEST_ASKED: Final = 900.0
# No wait between two attempts is longer, whatever a server asks for and whatever the clock says meanwhile.
LONGEST: Final = LONGEST_ASKED * (1 + 2 * JITTER)


def delay(attempt: int, jitter: float, asked: float | None = None) -> float:
    """Seconds to wait after the failed attempt number *attempt* (from 1).

    :param jitter: a random number in [0, 1).
    :param asked: the seconds that the server asked for (``Retry-After``); the next attempt is not made earlier, up to
        :data:`LONGEST_ASKED`.
    """
    # The exponent is bounded because attempts are not, and a float overflows at 1024 doublings.
    exponential = FIRST_DELAY * FACTOR ** min(attempt - 1, 16)
    own = min(exponential, LONGEST_DELAY) * (1 - JITTER + 2 * JITTER * jitter)
    # All nodes are asked for the same wait: spread as widely, but only to later.
    return max(own, min(asked or 0.0, LONGEST_ASKED) * (1 + 2 * JITTER * jitter))
