"""Runs a source for ever: what it loses is told and sought again, and never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from torcxd.errors import TorcxdError
from torcxd.lifecycle import retry
from torcxd.sources.health import HealthBoard

log = logging.getLogger(__name__)


async def keep_running(
    name: str, source: Callable[[], Awaitable[None]], health: HealthBoard, random: Callable[[], float]
) -> None:
    """Run *source* until cancelled; when it fails or ends, start it again after a back-off.

    The back-off starts over once the source was up.
    """
    attempt = 0
    while True:
        try:
            await source()
            detail = "it ended"
        except TorcxdError as error:
            detail = str(error)
        known = health.sources.get(name)
        attempt = 1 if known is not None and known.up else attempt + 1
        health.down(name, detail)
        await trio.sleep(retry.delay(attempt, random()))
