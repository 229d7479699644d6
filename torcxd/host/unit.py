"""One description of a systemd unit, for both ways in which systemd takes one: over D-Bus and as a file.

The two differ in names (``TimeoutStopUSec``, ``TimeoutStopSec=``), in types, and in what has to be escaped. Here a unit
is a table of directives, each value knows how it is written either way, and a value that one of the ways could not
carry unchanged is refused. See org.freedesktop.systemd1(5), systemd.syntax(7), and systemd.service(5), "Command lines".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torcxd.dbus.systemd1 import Variant

# What stands in a unit file for itself, unquoted, in a list as well as in a command line.
_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_@:./-]+")
# What would end a line, or is lost at its ends.
_PLAIN_LINE: Final = re.compile(r"(?![\s])[^\x00-\x1f\\]+(?<!\s)")


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean."""

    value: bool

    def over_dbus(self) -> Variant:
        """Signature and value."""
        return "b", self.value

    def in_file(self) -> str:
        """What stands after the equals sign."""
        return "yes" if self.value else "no"


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text, taken as it is: a per cent sign begins no specifier.

    :raises ValueError: a line break, a backslash, or a space at either end.
    """

    value: str

    def __post_init__(self) -> None:
        if not _PLAIN_LINE.fullmatch(self.value):
            raise ValueError(f"{self.value!r} is not one line of plain text")

    def over_dbus(self) -> Variant:
        """Signature and value."""
        return "s", self.value

    def in_file(self) -> str:
        """What stands after the equals sign."""
        return self.value.replace("%", "%%")


@dataclass(frozen=True, slots=True)
class Words:
    """A list of units' names or paths.

    :raises ValueError: one of them would have to be quoted.
    """

    value: tuple[str, ...]

    def __post_init__(self) -> None:
        for each in self.value:
            if not _PLAIN_WORD.fullmatch(each):
                raise ValueError(f"{each!r} cannot be written without quotes")

    def over_dbus(self) -> Variant:
        """Signature and value."""
        return "as", list(self.value)

    def in_file(self) -> str:
        """What stands after the equals sign."""
        return " ".join(self.value)


@dataclass(frozen=True, slots=True)
class Microseconds:
    """A time span."""

    value: int

    def over_dbus(self) -> Variant:
        """Signature and value."""
        return "t", self.value

    def in_file(self) -> str:
        """What stands after the equals sign."""
        return f"{self.value}us"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, whose arguments reach the program as they are here: no variables, no specifiers.

    :raises ValueError: no absolute path to the program, a control character, or a semicolon. systemd 252 writes one
        that came over D-Bus escaped into the unit's file, and does not read it back so after a reload.
    """

    argv: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0].startswith("/") or not _PLAIN_WORD.fullmatch(self.argv[0]):
            raise ValueError(f"{self.argv} does not begin with the absolute path of a program")
        if any(character == ";" or not character.isprintable() for each in self.argv for character in each):
            raise ValueError(f"{self.argv} has a semicolon or a control character")

    def over_dbus(self) -> Variant:
        """Signature and value: path, arguments, and whether failure is ignored."""
        # systemd replaces variables when it runs the command, wherever that came from; specifiers only in a file.
        arguments = [each.replace("$", "$$") for each in self.argv]
        return "a(sasb)", [(self.argv[0], arguments, False)]

    def in_file(self) -> str:
        """What stands after the equals sign."""
        return " ".join(_quoted(each) for each in self.argv)


Value = Flag | Text | Words | Microseconds | Command


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of a unit.

    :param section: ``Unit`` or ``Service``.
    :param key: its name in a unit file.
    """

    section: str
    key: str
    value: Value

    @property
    def property_name(self) -> str:
        """Its name over D-Bus, where time spans are in microseconds and say so."""
        return f"{self.key.removesuffix('Sec')}USec" if isinstance(self.value, Microseconds) else self.key


def properties(directives: Sequence[Directive]) -> dict[str, Variant]:
    """The unit as StartTransientUnit takes it."""
    return {each.property_name: each.value.over_dbus() for each in directives}


def file_text(directives: Sequence[Directive]) -> str:
    """The unit as a file: a section for each that occurs, in the order of their first directives."""
    sections: dict[str, list[str]] = {}
    for each in directives:
        sections.setdefault(each.section, []).append(f"{each.key}={each.value.in_file()}\n")
    return "\n".join(f"[{name}]\n{''.join(lines)}" for name, lines in sections.items())


def _quoted(argument: str) -> str:
    if _PLAIN_WORD.fullmatch(argument):
        return argument
    for character, escaped in (("\\", r"\\"), ('"', r"\""), ("%", "%%"), ("$", "$$")):
        argument = argument.replace(character, escaped)
    return f'"{argument}"'
