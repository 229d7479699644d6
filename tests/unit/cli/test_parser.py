"""Wrong usage is told as such before anything is done."""

from __future__ import annotations

import pytest

from torcxd.cli.parser import build, build_original_hook
from torcxd.errors import EX_USAGE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["history", "--lines=0"], "-n/--lines: '0' is not a number from 1 on"),
        (["history", "-n", "-1"], "-n/--lines: '-1' is not a number from 1 on"),
        (["history", "-n", "many"], "-n/--lines: 'many' is not a number from 1 on"),
        (["hook", "--sleep=-1"], "--sleep: '-1' is not a number from 0 on"),
        (["hook", "--sleep=1h"], "--sleep: '1h' is not a number from 0 on"),
    ],
)
def test_a_number_out_of_range_is_wrong_usage(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build().parse_args(words)
    assert caught.value.code == EX_USAGE
    assert message in capsys.readouterr().err


@pytest.mark.accepts("A37")
def test_the_numbers_that_are_in_range_are_taken() -> None:
    assert build().parse_args(["history", "-n", "1"]).lines == 1
    assert build_original_hook().parse_args(["--sleep=0"]).sleep == 0
    assert build_original_hook().parse_args(["--sleep=86400"]).sleep == 86400
