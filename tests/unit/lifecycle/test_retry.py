"""Back-off: it grows, it is bounded, and it heeds what a server asks for."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from torcxd.lifecycle import retry

attempts = st.integers(min_value=1, max_value=10**9)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(attempts, jitters, st.none() | st.floats(min_value=0, allow_nan=False))
def test_every_wait_is_bounded(attempt: int, jitter: float, asked: float | None) -> None:
    assert 0.9 * retry.FIRST_DELAY <= retry.delay(attempt, jitter, asked) <= retry.LONGEST


@given(attempts, jitters, st.floats(min_value=0, max_value=retry.LONGEST_ASKED))
def test_no_attempt_is_earlier_than_a_server_asks(attempt: int, jitter: float, asked: float) -> None:
    assert retry.delay(attempt, jitter, asked) >= asked


def test_a_server_that_asks_for_ever_gets_a_quarter_of_an_hour() -> None:
    assert retry.delay(1, 0.0, math.inf) == retry.LONGEST_ASKED


def test_nodes_that_failed_together_do_not_come_back_together() -> None:
    assert len({retry.delay(1, each / 10, 60) for each in range(10)}) == 10
