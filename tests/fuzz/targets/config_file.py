"""config.yaml, and the same settings as variables."""

from __future__ import annotations

from typing import Final

from tests.fuzz.oracle import demand, emptied, put, refusing
from torcxd.config_files import load
from torcxd.errors import ConfigurationError
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, OPTIONS, combine, from_environment

WORDS: Final = (
    *(f"{each.name}: " for each in OPTIONS), "true", "90s", "{{.Board}}", '"\\U00110000"', '"\\ud800"', "&a", "*a",
    "<<:",
    "127.0.0.1:9100", "%YAML 1.1\n---\n", "? ", "!!binary ",
)  # fmt: skip


def check(data: bytes) -> None:
    layout = Layout(emptied("config"))
    put(layout.configuration()[1] / "config.yaml", data)
    with refusing(ConfigurationError):
        values = load(layout)
        demand(values.keys() <= BY_NAME.keys(), "a setting that does not exist")
        combine(values)
    lines = (line.partition(b": ") for line in data.split(b"\n"))
    environment = {
        f"TORCXD_{name.decode('ascii', 'replace').upper()}": value.decode("utf-8", "surrogateescape")
        for name, colon, value in lines
        if colon
    }
    with refusing(ConfigurationError):
        combine(from_environment(environment))
