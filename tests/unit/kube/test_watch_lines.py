"""Lines of a watch from pieces that are cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.errors import Kind, PermanentError, TransientError
from torcxd.kube.watch import Lines


@given(pieces=st.lists(st.binary(max_size=6).map(lambda each: each.replace(b"\x00", b"\n")), max_size=20))
def test_however_it_is_cut_the_lines_are_the_same(pieces: list[bytes]) -> None:
    lines = Lines(1000)
    found = [line for piece in pieces for line in lines.feed(piece)]
    whole = b"".join(pieces).split(b"\n")
    assert found == [line for line in whole[:-1] if line.strip()]


def test_a_line_without_an_end_was_cut_off() -> None:
    lines = Lines(1000)
    assert lines.feed(b'{"type":"ADDED"}\n{"ty') == [b'{"type":"ADDED"}']
    with pytest.raises(TransientError, match="in the middle of a line"):
        lines.end()


def test_the_longest_line_is_taken_and_a_longer_one_is_not() -> None:
    lines = Lines(10)
    assert lines.feed(b"0123456789\n") == [b"0123456789"]
    lines.feed(b"0123456789")
    with pytest.raises(PermanentError, match="more than 10 bytes") as caught:
        lines.feed(b"0")
    assert caught.value.kind is Kind.PERMANENT
