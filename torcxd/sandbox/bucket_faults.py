"""What can go wrong with one answer of the bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final

import trio

from torcxd.sandbox.http_faults import Ending, endless_body, head, send_then
from torcxd.sandbox.http_server import RawBehaviour, Response

# Slower than anybody would wait for, and faster than any stall timeout: what never ends without ever standing still.
_TRICKLE_SECONDS: Final = 1.0


class Fault(StrEnum):
    """What a request gets instead of its answer."""

    NOT_FOUND = "not-found"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    HTML = "html"
    HANG = "hang"
    # The connection ends in the middle, politely or not, or nothing more comes.
    TRUNCATED = "truncated"
    RESET = "reset"
    STALLED = "stalled"
    # A byte a second.
    TRICKLE = "trickle"
    # A complete answer, with a complete lie in it.
    SHORTENED = "shortened"
    WRONG_CONTENT = "wrong-content"
    # More bytes than there should be; and no end of them.
    LARGER = "larger"
    ENDLESS = "endless"
    # For a signature: a good one by the right key, of another manifest.
    OTHER_DATA = "other-data"


Spoiled = Response | RawBehaviour


def spoil(answer: Response, fault: Fault, after: int | None) -> Spoiled:
    """What comes instead of *answer*.

    A reset may overtake good bytes that were sent before it, as in every TCP.

    :param after: how many good bytes of the body come first, where there are any; None for half of it.
    """
    body = answer.body if isinstance(answer.body, bytes) else b""
    return _SPOILERS[fault](answer, body, len(body) // 2 if after is None else after)


def _instead(status: int, content_type: str, body: bytes) -> Callable[[Response, bytes, int], Spoiled]:
    return lambda answer, whole, good: Response(status, {"Content-Type": content_type}, body)


def _ending(ending: Ending) -> Callable[[Response, bytes, int], Spoiled]:
    def spoiler(answer: Response, body: bytes, good: int) -> Spoiled:
        return send_then(head(answer.status, _with_length(answer, body)) + body[:good], ending)

    return spoiler


# Every byte becomes another one.
_FLIPPED: Final = bytes(each ^ 0xFF for each in range(256))

# What each fault makes of the answer, its body, and the number of bytes that stay good.
_SPOILERS: Final[Mapping[Fault, Callable[[Response, bytes, int], Spoiled]]] = {
    Fault.NOT_FOUND: _instead(404, "application/xml", b"<Error><Code>NoSuchKey</Code></Error>\n"),
    Fault.FORBIDDEN: _instead(403, "application/xml", b"<Error><Code>AccessDenied</Code></Error>\n"),
    Fault.UNAVAILABLE: _instead(503, "application/xml", b"<Error><Code>SlowDown</Code></Error>\n"),
    Fault.HTML: _instead(200, "text/html", b"<html><body>Log in to this network</body></html>\n"),
    Fault.HANG: lambda answer, body, good: send_then(b"", Ending.STALL),
    Fault.TRUNCATED: _ending(Ending.CLOSE),
    Fault.RESET: _ending(Ending.RESET),
    Fault.STALLED: _ending(Ending.STALL),
    Fault.TRICKLE: lambda answer, body, good: replace(
        answer, headers=_with_length(answer, body), body=_trickle(body, good)
    ),
    Fault.SHORTENED: lambda answer, body, good: replace(answer, body=body[:good]),
    Fault.WRONG_CONTENT: lambda answer, body, good: replace(answer, body=body[:good] + body[good:].translate(_FLIPPED)),
    Fault.LARGER: lambda answer, body, good: replace(answer, body=body + bytes(max(len(body), 1))),
    Fault.ENDLESS: lambda answer, body, good: endless_body,
    # Made by the bucket, which has the key.
    Fault.OTHER_DATA: lambda answer, body, good: answer,
}


def _with_length(answer: Response, body: bytes) -> Mapping[str, str]:
    return {**answer.headers, "Content-Length": str(len(body))}


async def _trickle(body: bytes, good: int) -> AsyncIterator[bytes]:
    yield body[:good]
    for offset in range(good, len(body)):
        await trio.sleep(_TRICKLE_SECONDS)
        yield body[offset : offset + 1]
