"""sources.json, which ``status`` reads while a daemon of any version may be writing it."""

from __future__ import annotations

import json
from typing import Final

from tests.fuzz.oracle import emptied, put
from torcxd.cli import status
from torcxd.paths import Layout

WORDS: Final = ('"update_engine":', '"up":true', '"since":', '"heard_at":', '"detail":""', "null", "NaN", "1e999")


def check(data: bytes) -> None:
    layout = Layout(emptied("sources"))
    put(layout.sources_file, data)
    report, _ = status.read(str(layout.root))
    status.render(report, 1.6e9).encode()
    json.dumps(report)
