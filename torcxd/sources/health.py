"""How the sources of events are doing: for ``torcxd status``, the metrics, and whoever asks at three in the morning."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from torcxd import messages
from torcxd.clock import Clock
from torcxd.errors import TorcxdError
from torcxd.host import files

log = logging.getLogger(__name__)

# Events come in bursts; who looks does not need to know to the second when the last one was.
_WRITE_INTERVAL: Final = 10.0


@dataclass(slots=True)
class SourceHealth:
    """One source.

    :param up: whether it is connected and in step.
    :param since: when that began, seconds since the epoch.
    :param heard_at: when something was heard last, None for never.
    :param detail: why it is not up, in one clause.
    """

    up: bool
    since: float
    heard_at: float | None = None
    detail: str = ""


class HealthBoard:
    """What all sources report of themselves.

    :param path: a file in /run that programs without this process's memory can read.
    :ivar on_change: called whenever a source has come up, was found missing, or went away.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.sources: dict[str, SourceHealth] = {}
        self.on_change: Callable[[], None] = lambda: None
        self._expected: frozenset[str] = frozenset()
        self._path = path
        self._clock = clock
        self._written_at = float("-inf")

    def up(self, name: str) -> None:
        """*name* is in step: it has heard from its peer."""
        now = self._clock.now()
        known = self.sources.get(name)
        if known is None or not known.up:
            self.sources[name] = SourceHealth(True, now, now)
            self._write(now)
            if known is not None:
                log.info("The source %s is back.", name, extra=messages.SOURCE_BACK.extra({"TORCXD_SOURCE": name}))
            self.on_change()
            return
        known.heard_at = now
        if now - self._written_at >= _WRITE_INTERVAL:
            self._write(now)

    def down(self, name: str, detail: str) -> None:
        """*name* lost its peer; told once, until it is back."""
        now = self._clock.now()
        known = self.sources.get(name)
        if known is not None and not known.up:
            known.detail = detail
            self._write(now)
            return
        self.sources[name] = SourceHealth(False, now, known.heard_at if known else None, detail)
        # Before it is told: who hears of it and looks shall find it.
        self._write(now)
        log.warning(
            "The source %s is not heard: %s. The others go on.",
            name,
            detail,
            extra=messages.SOURCE_LOST.extra({"TORCXD_SOURCE": name, "TORCXD_REASON": detail}),
        )
        self.on_change()

    def expect(self, names: Iterable[str]) -> None:
        """These are the sources that there are."""
        self._expected = frozenset(names)

    def all_tried(self) -> bool:
        """Whether each source that there is has come up or was found missing."""
        return bool(self._expected) and self._expected <= self.sources.keys()

    def missing(self) -> list[str]:
        """The sources that have reported and are not up, by name."""
        return sorted(name for name, each in self.sources.items() if not each.up)

    def _write(self, now: float) -> None:
        self._written_at = now
        content = {name: asdict(each) for name, each in self.sources.items()}
        try:
            files.write_volatile(self._path, json.dumps(content).encode())
        except TorcxdError as error:
            log.debug("%s", error)
