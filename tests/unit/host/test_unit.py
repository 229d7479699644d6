"""A unit's two forms: what systemd is told over D-Bus and what it reads in a file is the same unit."""

from __future__ import annotations

import pytest

from torcxd.host import unit
from torcxd.host.unit import Command, Directive, Flag, Microseconds, Text, Words

UNIT = [
    Directive("Unit", "Description", Text("Half: 50%n of it")),
    Directive("Service", "RemainAfterExit", Flag(True)),
    Directive("Service", "SendSIGHUP", Flag(False)),
    Directive("Unit", "Before", Words(("a@1.service", "b-c.socket"))),
    Directive("Service", "TimeoutStopSec", Microseconds(90_000_000)),
    Directive("Service", "ExecStop", Command(("/bin/sh", "-c", r'echo "$HOME" 100% \n'))),
]


def test_over_the_bus_only_variables_are_escaped() -> None:
    assert unit.properties(UNIT) == {
        "Description": ("s", "Half: 50%n of it"),
        "RemainAfterExit": ("b", True),
        "SendSIGHUP": ("b", False),
        "Before": ("as", ["a@1.service", "b-c.socket"]),
        "TimeoutStopUSec": ("t", 90_000_000),
        "ExecStop": ("a(sasb)", [("/bin/sh", ["/bin/sh", "-c", r'echo "$$HOME" 100% \n'], False)]),
    }


def test_in_a_file_everything_is_escaped_that_systemd_replaces() -> None:
    assert unit.file_text(UNIT) == (
        "[Unit]\n"
        "Description=Half: 50%%n of it\n"
        "Before=a@1.service b-c.socket\n"
        "\n"
        "[Service]\n"
        "RemainAfterExit=yes\n"
        "SendSIGHUP=no\n"
        "TimeoutStopSec=90000000us\n"
        r'ExecStop=/bin/sh -c "echo \"$$HOME\" 100%% \\n"' + "\n"
    )


@pytest.mark.parametrize("text", ["", "a\nb", "a\\", " a", "a "])
def test_a_text_that_a_file_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="plain text"):
        Text(text)


@pytest.mark.parametrize("word", ["", "a b", 'a"b', "50%", "x\\x2dy.mount"])
def test_a_word_that_needs_quotes_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="without quotes"):
        Words((word,))


@pytest.mark.parametrize(
    "argv",
    [(), ("true",), ("-/bin/true",), ("/bin/my program",), ("/bin/sh", "-c", "a; b"), ("/bin/echo", "a\nb")],
)
def test_a_command_that_systemd_would_change_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"program|semicolon"):
        Command(argv)
