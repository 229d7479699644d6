"""One attempt to download one image from one URL, going on where an earlier one was cut."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from torcxd.addons.partial import PartialFile
from torcxd.addons.ranges import Body, body_of, range_headers, strong_validator
from torcxd.errors import EX_DATAERR, Kind, PermanentError, TorcxdError
from torcxd.http import HttpClient, HttpError, Reason, StreamedResponse, redact
from torcxd.lifecycle.catalog import Digest

log = logging.getLogger(__name__)

# What is handed to the thread that hashes and writes, at least. Measured: at 1 MiB the hand-over costs nothing beside
# the work, and a download, with one such batch on either side, takes 3 MiB of memory.
_BATCH: Final = 1 << 20

# Bytes, and the seconds in which less than that is as good as nothing: an image at that pace would take half a day. A
# server that keeps just ahead of the stall would otherwise hold a download for ever, and the next URL is not asked.
_SLOWEST: Final = 64 << 10
_SLOW_FOR: Final = 120.0

_Pieces = list[bytes | bytearray]


@dataclass(frozen=True, slots=True)
class Download:
    """An image to be had.

    :param urls: where, the best first.
    :param label: what people call it, such as ``"docker:17.03 for 1576.4.0"``.
    """

    digest: Digest
    urls: tuple[str, ...]
    label: str


class Progress(Protocol):
    """Is told how downloads come along; called from trio, a few times per MiB at most."""

    def advanced(self, label: str, done: int, total: int | None) -> None:
        """*label* has *done* of *total* bytes; a total of None is not known."""
        ...


class ContentError(PermanentError):
    """A server has something else than the manifest promises."""

    exit_code = EX_DATAERR


@dataclass(frozen=True, slots=True)
class Attempt:
    """A download from one of its URLs.

    :param partial: what has arrived so far, hashed; the attempt appends to it, and leaves it for the next one.
    :param max_bytes: the largest acceptable image.
    """

    http: HttpClient
    url: str
    download: Download
    partial: PartialFile
    max_bytes: int
    progress: Progress | None

    async def run(self) -> None:
        """Complete the partial file; its digest is the right one then.

        On cancellation, and on errors other than a wrong content, what has arrived stays in the partial file, except
        for at most the last two batches on cancellation.

        :raises ContentError: the content has another digest, or is larger than announced or allowed; the partial file
            is empty then.
        :raises HttpError: no answer, none that helps, or one that was cut short or came too slowly.
        :raises TorcxdError: the disk fails.
        """
        while True:
            resumed_at = await self._stream()
            found = self.partial.found()
            if found == self.download.digest:
                return
            await trio.to_thread.run_sync(self.partial.empty)
            if not resumed_at:
                raise ContentError(
                    f"{redact(self.url)} has the wrong content for {self.download.label}: digest {found} instead of "
                    f"{self.download.digest}",
                    hint="publish the image that the manifest names, or correct the manifest",
                )
            # What was there before may be at fault: damaged on our disk, or of another edition. Only a whole answer
            # convicts the server.
            log.info("%s, resumed at byte %d, has the wrong digest. Starting over.", self.download.label, resumed_at)

    async def _stream(self) -> int:
        """Append what the server sends, to its end.

        :returns: at which byte that began.
        """
        partial = self.partial
        headers = range_headers(partial.size, await trio.to_thread.run_sync(partial.validator_for, self.url))
        async with self.http.stream("GET", self.url, headers=headers) as answer:
            body = body_of(answer, partial.size if headers else 0)
            if body is not None:
                if body.total is not None and body.total > self.max_bytes:
                    raise self._too_large(self.max_bytes)
                if body.start == 0:
                    await trio.to_thread.run_sync(partial.begin, self.url, strong_validator(answer.headers))
                if body.total is not None:
                    await trio.to_thread.run_sync(partial.require_room, body.total - body.start)
                await self._append(answer, body)
                return body.start
        # What is there is not a part of what the server has: longer, or of something else.
        await trio.to_thread.run_sync(partial.empty)
        return await self._stream()

    async def _append(self, answer: StreamedResponse, body: Body) -> None:
        """Read the body, while a thread hashes and writes what was read before."""
        failures: list[TorcxdError] = []
        send, receive = trio.open_memory_channel[_Pieces](0)
        self._advanced(body)

        async def write() -> None:
            try:
                async for pieces in receive:
                    await trio.to_thread.run_sync(self.partial.append, pieces)
                    self._advanced(body)
            except TorcxdError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            try:
                async with send:
                    await self._read(answer, body, send)
            except TorcxdError as error:  # What was read before it is still written.
                failures.append(error)
        if failures:
            if isinstance(failures[0], ContentError):
                await trio.to_thread.run_sync(self.partial.empty)
            raise failures[0]

    async def _read(self, answer: StreamedResponse, body: Body, send: trio.MemorySendChannel[_Pieces]) -> None:
        limit = self.max_bytes if body.total is None else body.total
        arrived = self.partial.size
        batch: _Pieces = []
        batched = 0
        began, since = trio.current_time(), 0
        try:
            async for piece in answer:
                since += len(piece)
                if (now := trio.current_time()) - began >= _SLOW_FOR:
                    self._check_pace(since, now - began)
                    began, since = now, 0
                batch.append(piece)
                batched += len(piece)
                arrived += len(piece)
                if arrived > limit:
                    raise self._too_large(limit)
                if batched >= _BATCH:
                    await send.send(batch)
                    batch, batched = [], 0
        except HttpError:
            await send.send(batch)
            raise
        await send.send(batch)
        if body.total is not None and arrived < body.total:
            raise HttpError(
                f"the answer ended after {arrived} of {body.total} bytes",
                reason=Reason.TRUNCATED,
                kind=Kind.TRANSIENT,
                url=redact(self.url),
            )

    def _check_pace(self, count: int, seconds: float) -> None:
        if count < _SLOWEST:
            raise HttpError(
                f"only {count} bytes arrived in {seconds:.0f} s",
                reason=Reason.STALL,
                kind=Kind.TRANSIENT,
                url=redact(self.url),
            )

    def _advanced(self, body: Body) -> None:
        if self.progress is not None:
            self.progress.advanced(self.download.label, self.partial.size, body.total)

    def _too_large(self, limit: int) -> ContentError:
        return ContentError(
            f"{redact(self.url)} is larger than the {limit} bytes that {self.download.label} may have",
            hint="publish the image that the manifest names there",
        )
