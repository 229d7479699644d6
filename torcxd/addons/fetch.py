"""Downloads of images into the staging directory: parallel, resumed where they were cut, hashed while they stream.

One call makes one attempt at each URL; when to try again is the caller's business, and every attempt goes on where the
last one was cut. That needs a server that recognises its own content (a strong ``ETag``, or a ``Last-Modified`` that is
one; RFC 9110 sections 8.8 and 13.1.5): others are asked for the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import trio

from torcxd.addons.download import Attempt, ContentError, Download, Progress
from torcxd.addons.staging import Staging
from torcxd.errors import EX_DATAERR, Kind, PermanentError, TorcxdError
from torcxd.http import HttpClient, HttpError
from torcxd.lifecycle.catalog import Digest

__all__ = ["MAX_BYTES", "ContentError", "Download", "Fetcher", "Progress"]

log = logging.getLogger(__name__)

# An image is some 25 to 100 MB. Ten times that is surely not one, and must not fill the disk.
MAX_BYTES: Final = 1 << 30


@dataclass(slots=True)
class _Flight:
    """A download that is under way, for all who want the same bytes.

    :param error: why it failed. Neither path nor error: whoever carried it out was cancelled.
    """

    landed: trio.Event = field(default_factory=trio.Event)
    path: Path | None = None
    error: TorcxdError | None = None


class Fetcher:
    """Fetches images into a staging directory.

    Calls of :meth:`fetch` may overlap: equal digests are fetched once, whoever asks.

    :param parallel: how many downloads run at the same time.
    :param max_bytes: the largest acceptable image.
    """

    def __init__(
        self,
        http: HttpClient,
        staging: Staging,
        *,
        parallel: int = 4,
        progress: Progress | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._http = http
        self._staging = staging
        self._limiter = trio.CapacityLimiter(parallel)
        self._progress = progress
        self._max_bytes = max_bytes
        self._flights: dict[Digest, _Flight] = {}

    async def fetch(self, downloads: Iterable[Download]) -> dict[Digest, Path]:
        """Bring each image into staging, unless it is there: one attempt at each of its URLs, in order.

        The first failure ends the call, and cuts the other downloads off; what has arrived of them stays for the next
        call to go on with, as it does on cancellation.

        :returns: the staged files, digest checked and durable.
        :raises ContentError: with exit code 65 (EX_DATAERR): wrong digest or too large, at every URL.
        :raises HttpError: no answer, or none that helps.
        :raises TorcxdError: the staging directory or its disk fails.
        """
        wanted: dict[Digest, Download] = {}
        for each in downloads:
            known = wanted.setdefault(each.digest, each)
            wanted[each.digest] = replace(known, urls=tuple(dict.fromkeys((*known.urls, *each.urls))))
        paths: dict[Digest, Path] = {}
        failures: list[TorcxdError] = []

        async def one(download: Download) -> None:
            try:
                paths[download.digest] = await self._join(download)
            except TorcxdError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for each in wanted.values():
                nursery.start_soon(one, each)
        if failures:
            raise failures[0]
        return paths

    async def _join(self, download: Download) -> Path:
        """Carry the download out, or wait for the one that does; take over if that one is cancelled."""
        while (flight := self._flights.get(download.digest)) is not None:
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.path is not None:
                return flight.path
        flight = self._flights[download.digest] = _Flight()
        try:
            async with self._limiter:
                flight.path = await self._obtain(download)
            return flight.path
        except TorcxdError as error:
            flight.error = error
            raise
        finally:
            del self._flights[download.digest]
            flight.landed.set()

    async def _obtain(self, download: Download) -> Path:
        if await self._staging.holds(download.digest):
            return self._staging.path(download.digest)
        failures: list[TorcxdError] = []
        with await trio.to_thread.run_sync(self._staging.open_partial, download.digest) as partial:
            await trio.to_thread.run_sync(partial.rehash)
            if partial.found() == download.digest:
                # Cut off between its last byte and its final name.
                return await trio.to_thread.run_sync(self._staging.finish, partial)
            for url in download.urls:
                attempt = Attempt(self._http, url, download, partial, self._max_bytes, self._progress)
                try:
                    await attempt.run()
                    return await trio.to_thread.run_sync(self._staging.finish, partial)
                except (HttpError, ContentError) as error:
                    if len(download.urls) > 1:
                        log.info("%s could not be had from one of its URLs. %s", download.label, error.message)
                    failures.append(error)
        if not failures:
            raise PermanentError(f"{download.label} has no URL to be fetched from", exit_code=EX_DATAERR)
        # While one of the URLs may get better, there is hope.
        raise next((each for each in failures if each.kind is Kind.TRANSIENT), failures[0])
