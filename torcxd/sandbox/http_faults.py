"""The usual ways in which a server misbehaves, as raw behaviours for :mod:`torcxd.sandbox.http_server`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from http import HTTPStatus

from torcxd.sandbox.http_server import RawBehaviour, Wire


class Ending(Enum):
    """What follows after the last byte."""

    CLOSE = auto()
    ABORT = auto()
    RESET = auto()
    STALL = auto()


def head(status: int, headers: Mapping[str, str] | None = None) -> bytes:
    """A status line and headers, and the blank line after them."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{n}: {v}" for n, v in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def send_then(data: bytes, ending: Ending = Ending.CLOSE) -> RawBehaviour:
    """Send *data* as it is, and end so. A stall lasts until the client leaves."""

    async def behave(wire: Wire) -> None:
        if data:
            await wire.send(data)
        match ending:
            case Ending.ABORT:
                await wire.abort()
            case Ending.RESET:
                await wire.reset()
            case Ending.STALL:
                await wire.until_client_leaves()
            case Ending.CLOSE:
                await wire.stream.aclose()

    return behave


def cut_short(
    body: bytes, missing: int = 1, ending: Ending = Ending.CLOSE, *, headers: Mapping[str, str] | None = None
) -> RawBehaviour:
    """Announce *body* and *missing* bytes more, send *body*, and end so."""
    length = {"Content-Length": str(len(body) + missing)}
    return send_then(head(200, {**(headers or {}), **length}) + body, ending)


def cut_short_chunked(body: bytes, ending: Ending = Ending.CLOSE) -> RawBehaviour:
    """Send *body* as one whole chunk, and end without the last one."""
    return send_then(head(200, {"Transfer-Encoding": "chunked"}) + b"%x\r\n%s\r\n" % (len(body), body), ending)


async def endless_headers(wire: Wire) -> None:
    """Send headers until the client has had enough."""
    await wire.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await wire.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")


async def endless_interim(wire: Wire) -> None:
    """Send interim answers until the client has had enough."""
    while True:
        await wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def endless_body(wire: Wire) -> None:
    """Send a chunked body until the client has had enough."""
    await wire.send(head(200, {"Transfer-Encoding": "chunked"}))
    while True:
        await wire.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
