"""The history: lines that a crash tore or somebody else wrote."""

from __future__ import annotations

import contextlib
import io
from typing import Final

from tests.fuzz.oracle import demand, emptied, put
from torcxd.cli.history import history
from torcxd.daemon.statefile import StateFile, read_history
from torcxd.paths import Layout

WORDS: Final = (
    '"at":',
    '"from":',
    '"to":',
    '"event":"failed"',
    '"because":',
    '"detail":',
    '"attempt":',
    "\n",
    "NaN",
    "{}",
)


def check(data: bytes) -> None:
    layout = Layout(emptied("history"))
    path = put(layout.history_file, data)
    for as_json in (False, True):
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
            history(layout, lines=1000, as_json=as_json)
    entry = {"at": 1.5, "from": "a", "to": "b"}
    StateFile(layout).record(entry)
    after = read_history(path, most=1001)
    # What has no end was torn, whatever is left of it.
    put(path, data[: data.rfind(b"\n") + 1])
    demand(repr(after) == repr([*read_history(path, most=1000), entry]), "an entry was lost or spoilt")
