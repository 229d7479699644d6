"""What was asked of the stand-ins, kept for checkers: in memory, and one JSON object a line in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Records:
    """An append-only list of requests.

    :param path: where to append, or None for memory only.
    :param context: adds keys to each record, e.g. the boot id.
    """

    def __init__(self, path: Path | None = None, context: Callable[[], Mapping[str, Any]] = dict) -> None:
        self.entries: list[dict[str, Any]] = []
        self._path = path
        self._context = context

    def add(self, service: str, member: str, *args: Any) -> None:
        """Keep a request: ``{"at": …, "service": …, "member": …, "args": […]}`` and the context.

        ``at`` is the time of its arrival, in seconds since the epoch.
        """
        entry = {"at": time.time(), "service": service, "member": member, "args": list(args), **self._context()}
        self.entries.append(entry)
        if self._path is not None:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry, default=str) + "\n")

    def of(self, member: str) -> list[list[Any]]:
        """The arguments of each request of *member*, in order."""
        return [each["args"] for each in self.entries if each["member"] == member]
