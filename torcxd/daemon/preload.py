"""Loads at the start what a process that stays may need later only.

An upgrade replaces the program's files while it runs, and its restart comes when it comes: what is loaded in between
would be of another version, or not be there at all. Commands that end soon load these when they need them.
"""

from __future__ import annotations

import torcxd.addons.gpg  # noqa: F401 - for its being loaded
from torcxd.charts import load_chart
from torcxd.kube.mappings import builtin_mappings


def preload() -> None:
    """Load all of the program's own files that are read late.

    Metrics are no part of it: who switches them on by a reload has to restart the daemon after an upgrade first.
    """
    load_chart()
    builtin_mappings()
