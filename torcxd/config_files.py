"""Configuration files: ``config.yaml`` and ``config.d/*.yaml`` below /usr/lib/torcxd and /etc/torcxd."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from torcxd.errors import ConfigurationError
from torcxd.host import files
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, convert

# Some twenty keys; anything beyond is not a configuration of this program.
LARGEST: Final = 256 << 10


def load(layout: Layout) -> dict[str, Any]:
    """The settings that files give, the strongest already applied.

    A file below ``config.d`` beats ``config.yaml`` beside it, later names beat earlier ones, and /etc beats /usr/lib.

    :raises ConfigurationError: naming file and line: not YAML, no mapping, an unknown key, a wrong value.
    """
    values: dict[str, Any] = {}
    for directory in layout.configuration():
        main = directory / "config.yaml"
        for path in ([main] if main.exists() else []) + sorted((directory / "config.d").glob("*.yaml")):
            values.update(_read(path))
    return values


def _read(path: Path) -> dict[str, Any]:
    text = files.read_bytes(path, limit=LARGEST).decode("utf-8", errors="replace")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from None
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(f"{path}:{node.start_mark.line + 1}: must be a mapping of settings")
    values: dict[str, Any] = {}
    for key, value in node.value:
        where = f"{path}:{key.start_mark.line + 1}"
        option = BY_NAME.get(str(key.value).replace("-", "_"))
        if option is None:
            raise ConfigurationError(f"{where}: unknown setting {key.value!r}", hint=f"known are {', '.join(BY_NAME)}")
        if not isinstance(value, yaml.ScalarNode):
            raise ConfigurationError(f"{where}: {key.value} must be a single value")
        if option.name in values:
            raise ConfigurationError(f"{where}: {key.value} is set twice")
        values[option.name] = convert(option, value.value, f"{where}: {key.value}")
    return values
