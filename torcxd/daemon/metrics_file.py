"""Metrics in a file for node_exporter's textfile collector, which reads ``*.prom`` in its directory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from torcxd.errors import TorcxdError
from torcxd.host import files

log = logging.getLogger(__name__)

# Seconds between two writes. Prometheus scrapes every 15 to 60 seconds; a file older than some minutes then means that
# the daemon is dead (``node_textfile_mtime_seconds``).
INTERVAL: Final = 15.0


async def write_metrics(text: Callable[[], bytes], path: Path) -> None:
    """Write *text* to *path* every :data:`INTERVAL` seconds until cancelled.

    Readers see the old file or the new one. It need not survive a power cut, and so is not fsynced. A directory that
    cannot be written is told once, and tried again.
    """
    failing = False
    while True:
        try:
            # Some kilobytes into the page cache, without waiting for the disk: not worth a thread.
            files.write_volatile(path, text())
            failing = False
        except TorcxdError as error:
            if not failing:
                log.warning("The metrics are not written: %s. It is tried again.", error)
            failing = True
        await trio.sleep(INTERVAL)
