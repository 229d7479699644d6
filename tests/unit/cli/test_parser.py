"""Wrong usage is told as such before anything is done."""

from __future__ import annotations

import pytest

from tools.manual import commands
from torcxd.cli.parser import Parser, build, build_original_bootstrap, build_original_hook
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


@pytest.mark.parametrize(
    ("parser", "words", "program", "message"),
    [
        (build(), ["bootstrap", "--nope"], "torcxd bootstrap", "unrecognized arguments: --nope"),
        (build(), ["plan", "--parallel"], "torcxd plan", "argument --parallel: expected one argument"),
        (build(), ["graph", "--format=x"], "torcxd graph", "argument --format: invalid choice: 'x'"),
        (build_original_bootstrap(), ["-x"], "tectonic-torcx-bootstrap", "unrecognized arguments: -x"),
    ],
)
def test_wrong_usage_is_told_in_three_lines_by_the_command_itself(
    parser: Parser, words: list[str], program: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == EX_USAGE
    usage, error, hint = capsys.readouterr().err.splitlines()
    assert usage == f"usage: {program} [OPTION]..."
    assert error.startswith(f"torcxd: error: {message}")
    assert hint == f"  hint: '{program} --help' lists the options"


def test_without_a_command_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build().parse_args([])
    assert caught.value.code == EX_USAGE
    assert capsys.readouterr().err.splitlines()[:2] == [
        "usage: torcxd COMMAND [OPTION]...",
        "torcxd: error: the following arguments are required: COMMAND",
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("name", ["torcxd", *commands(build())])
def test_help_fits_the_terminal_and_tells_each_default_once(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    parser = build()
    text = commands(parser).get(name, parser).format_help()
    # A URL stays whole, so that it can be copied.
    assert [line for line in text.splitlines() if len(line) > width and "://" not in line] == []
    options = text.split("\n  -")
    assert [each for each in options if each.count("default: ") > 1] == []


@pytest.mark.parametrize("name", ["bootstrap", "run", "hook", "plan"])
def test_what_takes_settings_says_where_else_they_come_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = commands(build())[name].format_help().splitlines()
    assert lines[-2].startswith("Settings are also taken from the environment (TORCXD_UPGRADE_OS=false)")
    assert lines[-1].startswith("Exit codes are those of sysexits(3): 0 done,")
