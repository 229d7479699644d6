"""What may become a path component."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.names import LONGEST, component


@pytest.mark.parametrize("text", ["docker", "17.03", "com.coreos.cl", "1576.4.0+2017-12-06", "..17", "a" * LONGEST])
def test_a_name_is_returned_as_it_is(text: str) -> None:
    assert component(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (".", "no name"),
        ("..", "no name"),
        ("a/b", "holds '/'"),
        ("a b", "holds ' '"),
        ("a\nb", r"holds '\\n'"),
        ("a\0", r"holds '\\x00'"),
        ("dÖcker", r"holds '\\xd6'"),
        ("a" * (LONGEST + 1), "longer"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        component(text)


@given(st.text(max_size=120))
def test_what_passes_never_leaves_its_directory(text: str) -> None:
    try:
        component(text)
    except ValueError:
        return
    assert PurePosixPath("/store", text).parent == PurePosixPath("/store")
    assert len(f".{text}:{text}.torcx.squashfs.9999999".encode()) <= 255
