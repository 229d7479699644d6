"""What the metrics count; apart from :mod:`.metrics`, which only those import who export them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """What happened since the process began; kept over a reload of the configuration."""

    transitions: Counter[tuple[str, ...]] = field(default_factory=Counter)
    failures: Counter[tuple[str, ...]] = field(default_factory=Counter)
    retries: int = 0
    downloaded_bytes: int = 0
    refused: int = 0
