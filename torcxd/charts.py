"""Loads the charts that are installed with the program."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from torcxd.lifecycle.chart import Chart, parse_chart
from torcxd.lifecycle.events import TRIGGERS
from torcxd.lifecycle.guards import GUARDS
from torcxd.lifecycle.machine import EFFECTS


def chart_file(name: str) -> Path:
    """Where a chart lies: inside the installed package, or at the top of a source checkout."""
    package = Path(__file__).parent
    installed = package / "states" / f"{name}.yaml"
    return installed if installed.exists() else package.parent / "states" / f"{name}.yaml"


@cache
def load_chart(name: str = "lifecycle") -> Chart:
    """Load and validate a chart.

    :raises ConfigurationError: when the chart is not valid.
    """
    path = chart_file(name)
    return parse_chart(
        path.read_text(encoding="utf-8"),
        str(path),
        triggers=TRIGGERS,
        guards=GUARDS,
        effects=EFFECTS,
    )
