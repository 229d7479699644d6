"""The state file: any bytes, and any content in a whole envelope; for the daemon and for ``status``."""

from __future__ import annotations

import json
import logging
from hashlib import sha256
from typing import Any, Final

from tests.fuzz.oracle import demand, emptied, fit_for_a_log, put, refusing
from torcxd.cli import status
from torcxd.daemon import document
from torcxd.daemon.statefile import StateFile, read_recorded
from torcxd.errors import PermanentError
from torcxd.paths import Layout

WORDS: Final = (
    '"schema":1', '"sha256":', '"snapshot":', '"state":"gathering"', '"since":0', '"boot_id":""', '"plan":',
    '"failure":',
    '"target":', '"images":[', '"boots":{', '"reboot":', "NaN", "1e308", "1e999", "null", "\\ud800",
)  # fmt: skip


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fit_for_a_log(record.getMessage())


_log = logging.getLogger("torcxd.daemon.statefile")


def check(data: bytes) -> None:
    """The first byte says whether what follows is the file, or the snapshot in a whole envelope."""
    handler = _Warnings()
    _log.addHandler(handler)
    _log.propagate = False
    try:
        _check(data)
    finally:
        _log.propagate = True
        _log.removeHandler(handler)


def _check(data: bytes) -> None:
    content = _enveloped(data[1:]) if data[:1] == b"S" else data
    layout = Layout(emptied("state"))
    path = put(layout.state_file, content)
    told, _ = status.read(str(layout.root))
    status.render(told, 1.6e9)
    recorded = read_recorded(layout)
    with refusing(PermanentError):
        state = StateFile(layout)
        snapshot = state.load()
        demand(repr(snapshot) == repr(recorded), "two readers read two things")
        if snapshot is None:
            kept = path.with_name("state.json.damaged").read_bytes()
            demand(not path.exists() and kept == content, "a damaged file is not kept aside as it was")
            return
        # What the daemon took it must be able to write, and to read again.
        state.save(snapshot)
        demand(repr(StateFile(layout).load()) == repr(snapshot), "what was saved is not what is loaded")


def _enveloped(data: bytes) -> bytes:
    try:
        snapshot: Any = json.loads(data)
        canonical = json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
        envelope = {"schema": document.SCHEMA, "sha256": sha256(canonical).hexdigest(), "snapshot": snapshot}
        return json.dumps(envelope).encode()
    except (ValueError, RecursionError):
        return data
