"""Back-off: bounded from both sides, and never shorter after one more failure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.examples import examples, tried
from torcxd.lifecycle.retry import FIRST_DELAY, JITTER, LONGEST_DELAY, delay

ATTEMPTS = st.integers(min_value=1, max_value=12) | st.integers(min_value=1, max_value=10**9)
# As random.random() gives them.
RANDOM = st.floats(min_value=0, max_value=1, exclude_max=True)


@examples(200)
@given(ATTEMPTS, RANDOM)
def test_it_is_bounded(attempt: int, random: float) -> None:
    tried()
    assert FIRST_DELAY * (1 - JITTER) <= delay(attempt, random) <= LONGEST_DELAY * (1 + JITTER)


@examples(200)
@given(ATTEMPTS, ATTEMPTS, RANDOM)
def test_later_failures_never_wait_shorter(one: int, other: int, random: float) -> None:
    tried()
    assert delay(min(one, other), random) <= delay(max(one, other), random)


@examples(100)
@given(ATTEMPTS, RANDOM, RANDOM)
def test_what_is_random_about_it_is_small(attempt: int, one: float, other: float) -> None:
    tried()
    middle = delay(attempt, 0.5)
    assert abs(delay(attempt, one) - delay(attempt, other)) <= 2 * JITTER * middle * (1 + 1e-9)
