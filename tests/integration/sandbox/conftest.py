"""What the tests of the stand-ins share: a client that knows nothing of torcxd's own rules."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import trio


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; the headers' names as they were sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Fetch = Callable[..., Awaitable[Answer]]


@pytest.fixture
def fetch() -> Fetch:
    """``await fetch(url, context, headers={}, method="GET", body=b"")``, by the standard library's client."""

    def blocking(url: str, context: ssl.SSLContext, headers: Mapping[str, str], method: str, body: bytes) -> Answer:
        parts = urlsplit(url)
        assert parts.hostname is not None
        # The timeout only ends a test that hangs: no answer takes as long.
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=20)
        try:
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request(method, target, body or None, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    async def fetch(
        url: str,
        context: ssl.SSLContext,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes = b"",
    ) -> Answer:
        return await trio.to_thread.run_sync(blocking, url, context, headers or {}, method, body)

    return fetch
