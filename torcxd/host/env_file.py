r"""Files of ``NAME=value`` lines: systemd's EnvironmentFile= and os-release(5), which systemd reads with one parser.

The quoting rules are those of systemd's ``env-file.c``: ``'single'`` takes everything literally; ``"double"`` knows the
escapes ``\" \\ \` \$``; an unquoted value ends with its line, less trailing white space; a backslash takes the next
character literally, and before a line's end it continues the line. Lines that start with ``#`` or ``;`` are comments.
Where systemd ignores what it cannot read (no ``=``, a bad name, a quote that is never closed), this is an error here:
half of a kubelet's settings is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.host.files import read_bytes
from torcxd.lifecycle.versions import KubeVersion

# Such files hold a few lines; a larger one is not what it should be.
LARGEST: Final = 64 * 1024

IMAGE_TAG: Final = "KUBELET_IMAGE_TAG"
IMAGE_URL: Final = "KUBELET_IMAGE_URL"
# What the kubelet's container wrapper takes when the file names no image.
DEFAULT_IMAGE_URL: Final = "quay.io/coreos/hyperkube"

_WHITESPACE: Final = " \t\n\r"
_NEWLINE: Final = "\n\r"
_COMMENT: Final = "#;"
# The characters that a backslash escapes inside double quotes, as in a POSIX shell.
_ESCAPED: Final = '"\\`$'
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# systemd drops an assignment with one of these; tab and newline are fine.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One ``NAME=value``.

    :param line: the line, from 1, on which the name stands.
    """

    name: str
    value: str
    line: int


def parse_assignments(data: bytes, where: str) -> tuple[Assignment, ...]:
    """Read every assignment, in order, repeated names included.

    :param where: the file's path, for messages.
    :raises PermanentError: exit code 65; the message names file and line.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(where, data[: error.start].count(b"\n") + 1, "is not UTF-8 text") from error
    if "\0" in text:
        raise _wrong(where, text[: text.index("\0")].count("\n") + 1, "contains a NUL byte: not a text file")
    return tuple(_Scanner(text, where).assignments())


def parse_env_file(data: bytes, where: str) -> dict[str, str]:
    """Read an environment file; of a repeated name the last value counts, as for systemd.

    :raises PermanentError: exit code 65; the message names file and line.
    """
    return {each.name: each.value for each in parse_assignments(data, where)}


def read_env_file(path: Path) -> dict[str, str]:
    """Read the environment file *path*.

    :raises TorcxdError: unreadable (typed by the errno) or malformed (:class:`PermanentError`, exit code 65).
    """
    return parse_env_file(read_bytes(path, limit=LARGEST), str(path))


def render(variables: Mapping[str, str]) -> bytes:
    """The environment file that :func:`parse_env_file`, systemd and a POSIX shell read back as *variables*.

    The lines stand in the mapping's order; every value is in double quotes.

    :raises ValueError: a name or value that no environment file can hold, e.g. with a NUL or control character.
    """
    lines = []
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"not the name of an environment variable: {name!a}")
        if _CONTROL.search(value):
            raise ValueError(f"the value of {name} contains a control character")
        quoted = "".join(f"\\{each}" if each in _ESCAPED else each for each in value)
        lines.append(f'{name}="{quoted}"\n')
    return "".join(lines).encode("utf-8")


def kubelet_env(installer: Mapping[str, str], version: str) -> dict[str, str]:
    """The content of kubelet.env.

    :param installer: the installer's file, whose other keys are kept in their order; empty when there is none.
    :param version: the Kubernetes version; ``+`` becomes ``_``, since an image tag cannot hold it.
    """
    variables = dict(installer) or {IMAGE_URL: DEFAULT_IMAGE_URL}
    variables[IMAGE_TAG] = version.replace("+", "_")
    return variables


def installer_kube_version(installer: Mapping[str, str], where: str) -> str:
    """The Kubernetes version of the installation, from the image tag in the installer's kubelet.env.

    :param where: the file's path, for messages.
    :returns: the version with ``+`` where the tag has ``_``.
    :raises PermanentError: exit code 65: the tag is missing, empty or no version; the message names file and key.
    """
    tag = installer.get(IMAGE_TAG)
    hint = f"set {IMAGE_TAG} there, or pass --force-kube-version"
    if not tag:
        what = "has no" if tag is None else "has an empty"
        raise PermanentError(f"{where} {what} {IMAGE_TAG}", hint=hint, exit_code=EX_DATAERR)
    version = tag.replace("_", "+")
    try:
        KubeVersion.parse(version)
    except ValueError as error:
        raise PermanentError(f"{where}: {IMAGE_TAG}: {error}", hint=hint, exit_code=EX_DATAERR) from error
    return version


def _wrong(where: str, line: int, what: str, hint: str = "correct that line") -> PermanentError:
    return PermanentError(f"{where}:{line}: {what}", hint=hint, exit_code=EX_DATAERR)


class _Scanner:
    """Reads a text from its start to its end, one assignment at a time."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._at = 0
        self._line = 1

    def assignments(self) -> Iterator[Assignment]:
        while (first := self._next_outside(_WHITESPACE)) is not None:
            if first in _COMMENT:
                self._skip_line()
            else:
                line = self._line
                name = self._name(first)
                yield Assignment(name, self._value(name), line)

    def _take(self) -> str:
        """The next character; empty at the end."""
        character = self._text[self._at : self._at + 1]
        self._at += 1
        self._line += character == "\n"
        return character

    def _next_outside(self, skipped: str) -> str | None:
        while character := self._take():
            if character not in skipped:
                return character
        return None

    def _skip_line(self) -> None:
        # A backslash at a comment's end does not continue it (systemd since 254).
        while (character := self._take()) and character not in _NEWLINE:
            pass

    def _name(self, first: str) -> str:
        line = self._line
        name, character = "", first
        while character != "=":
            name += character
            character = self._take()
            if not character or character in _NEWLINE:
                raise _wrong(self._where, line, "there is no = on this line", "write NAME=value")
        name = name.rstrip(_WHITESPACE)
        if name.startswith(("export ", "export\t")):
            raise _wrong(self._where, line, "export is shell, and not allowed here", "remove the word export")
        if not _NAME.fullmatch(name):
            raise _wrong(self._where, line, f"not the name of a variable: {name[:100]!a}")
        return name

    def _value(self, name: str) -> str:
        """Read a value and the end of its line.

        White space between quoted parts vanishes and so does that at the end, unless it was quoted or escaped.
        """
        line = self._line
        value = ""
        kept = 0  # so much of the value is quoted, escaped or visible: white space after it is dropped at the end
        bare = False  # inside an unquoted part, where quotes are plain characters
        while (character := self._take()) and character not in _NEWLINE:
            if character == "\\":
                escaped = self._take()
                value += "" if escaped in _NEWLINE else escaped
                kept, bare = len(value), True
            elif character in "'\"" and not bare:
                value += self._single(line, name) if character == "'" else self._double(line, name)
                kept = len(value)
            elif character not in _WHITESPACE:
                value += character
                kept, bare = len(value), True
            elif bare:
                value += character
        value = value[:kept]
        if _CONTROL.search(value):
            raise _wrong(self._where, line, f"the value of {name} contains a control character")
        return value

    def _single(self, line: int, name: str) -> str:
        start = self._at
        while (character := self._take()) != "'":
            self._never_ends(character, line, name)
        return self._text[start : self._at - 1]

    def _double(self, line: int, name: str) -> str:
        value = ""
        while (character := self._take()) != '"':
            self._never_ends(character, line, name)
            if character == "\\":
                character = self._take()
                self._never_ends(character, line, name)
                if character == "\n":
                    continue
                if character not in _ESCAPED:
                    value += "\\"
            value += character
        return value

    def _never_ends(self, character: str, line: int, name: str) -> None:
        if not character:
            raise _wrong(self._where, line, f"the value of {name} opens a quote that never ends")
