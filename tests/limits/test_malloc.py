"""Buffers do not end up between small pieces of memory, where the holes that they leave would make the heap grow."""

from __future__ import annotations

from tests.limits import cases
from tests.limits.measured import measure


async def test_buffers_go_back_to_the_kernel() -> None:
    # glibc alone keeps all in its heap, once it has freed a larger one.
    assert (await measure(cases.mapped, False)).result == 0
    # Of ten; one or two may fit into a hole that is there already.
    assert (await measure(cases.mapped, True)).result >= 8
