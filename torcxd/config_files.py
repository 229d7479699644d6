"""Configuration files: ``config.yaml`` and ``config.d/*.yaml`` below /usr/lib/torcxd and /etc/torcxd."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from torcxd.errors import EX_NOPERM, ConfigurationError, PermanentError, from_os_error
from torcxd.host.trusted import UntrustedError, check_directory, read_trusted
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, convert, unknown_setting

# Some twenty keys; anything beyond is not a configuration of this program.
LARGEST: Final = 256 << 10
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SYNTAX: Final = "write one 'name: value' a line, indented by nothing; quote a value that YAML reads otherwise"


def load(layout: Layout, origins: dict[str, str] | None = None) -> dict[str, Any]:
    """The settings that files give, the strongest already applied.

    A file below ``config.d`` beats ``config.yaml`` beside it, later names beat earlier ones, and /etc beats /usr/lib.

    :param origins: gets the file and line of each.
    :raises ConfigurationError: naming file and line: not YAML, no mapping, an unknown key, a wrong value; or naming
        the file, which cannot be read as one; or naming the file or directory, which others can write.
    :raises TorcxdError: a file may not be read, or the disk fails.
    """
    values: dict[str, Any] = {}
    for directory in layout.configuration():
        # A link that leads nowhere was meant to be a configuration.
        there = [each for each in _listed(directory) if each.name == "config.yaml"]
        for path in there + [each for each in _listed(directory / "config.d") if each.suffix == ".yaml"]:
            values.update(_read(path, {} if origins is None else origins))
    return values


def _listed(directory: Path) -> list[Path]:
    """What is in *directory*, in order; nothing where there is no such directory."""
    try:
        found = sorted(directory.iterdir())
        check_directory(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        # Passed over, it would be as if nothing were set there.
        raise from_os_error(error, "list", directory) from error
    except UntrustedError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    return found


def _read(path: Path, origins: dict[str, str]) -> dict[str, Any]:
    text = _text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}:{_problem(error, text)}", hint=_SYNTAX) from None
    except RecursionError:
        raise ConfigurationError(f"{path}: it is nested beyond all measure", hint=_SYNTAX) from None
    except (ValueError, OverflowError):
        # PyYAML's own, which it does not check: the escape \U00110000, or a version of a thousand digits.
        raise ConfigurationError(
            f"{path}: it has an escape or a number beyond all that there is", hint=_SYNTAX
        ) from None
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(f"{path}:{node.start_mark.line + 1}: must be a mapping of settings")
    values: dict[str, Any] = {}
    for key, value in node.value:
        where = f"{path}:{key.start_mark.line + 1}"
        name = str(key.value).replace("-", "_")
        option = BY_NAME.get(name)
        if option is None:
            raise unknown_setting(f"{where}: unknown setting {key.value!r}", name, lambda option: option.name)
        if not isinstance(value, yaml.ScalarNode):
            raise ConfigurationError(f"{where}: {key.value} must be a single value")
        if _SURROGATE.search(value.value):
            # As an escape in quotes. No file, URL or log takes it.
            raise ConfigurationError(f"{where}: {key.value} has half a character in it", hint=_SYNTAX)
        if option.name in values:
            raise ConfigurationError(f"{where}: {key.value} is set twice")
        values[option.name] = convert(option, value.value, f"{where}: {key.value}")
        origins[option.name] = where
    return values


def _text(path: Path) -> str:
    try:
        data = read_trusted(path, limit=LARGEST)
    except UntrustedError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    except PermanentError as error:
        if error.exit_code == EX_NOPERM:
            raise
        # A directory, a link that leads nowhere, something far too large: no try succeeds before somebody edits it.
        raise ConfigurationError(error.message, hint=error.hint) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: it is not UTF-8") from None


def _problem(error: yaml.YAMLError, text: str) -> str:
    """Line and reason, as one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.line + 1}: it is not YAML: {error.problem or error.context}"
    # The reader's own, about a character.
    position = getattr(error, "position", 0)
    line = text.count("\n", 0, position) + 1
    return f"{line}: it is not YAML: {text[position : position + 1]!a} cannot be in it"
