"""Answers of HTTP servers, through the whole client: heads, bodies in every framing, redirects, interim answers."""

from __future__ import annotations

from typing import Final

import trio

from tests.fuzz.oracle import demand, refusing
from tests.fuzz.peers import SpokenClient, answers
from torcxd.http import HttpError, Response, raise_for_status

IMPORTANT: Final = True
# The largest body that is asked for: small, so that the limit is met.
_LIMIT: Final = 512
WORDS: Final = (
    "HTTP/1.1 200 OK\r\n", "HTTP/1.1 302 Found\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.0 503 x\r\n",
    "HTTP/1.1 304 x\r\n",
    "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "Location: https://other.example/p\r\n",
    "Location: //h\r\n", "Location: http://[::1]/\r\n", "Location: http://169.254.169.254/\r\n",
    "Connection: close\r\n",
    "Content-Encoding: gzip\r\n", "Retry-After: 120\r\n", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
    "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n", "Set-Cookie: a\r\n", "\r\n\r\n", "\n====\n",
)  # fmt: skip


def check(data: bytes) -> None:
    """The first byte says in pieces of which size it arrives."""
    size, said = data[0] if data else 1, data[1:]
    piecemeal = trio.run(_ask, said, size)
    whole = trio.run(_ask, said, 1 << 20)
    demand(piecemeal == whole, f"in pieces it is {piecemeal}, at once it is {whole}")


async def _ask(said: bytes, size: int) -> tuple[object, ...] | None:
    """What comes of it, in a form that can be compared."""
    client = SpokenClient(answers(said), size)
    outcome: list[tuple[object, ...]] = []
    # The second question finds what the first has left of the connections.
    for _ in range(2):
        with refusing(HttpError):
            answer = await client.get("https://user:hunter2@bucket.example/p", max_bytes=_LIMIT)
            _judge(answer)
            outcome.append((answer.status, dict(answer.headers), answer.body, answer.url))
            with refusing(HttpError, secrets=("hunter2",)):
                raise_for_status(answer)
    await client.aclose()
    demand(all(each.closed for each in client.opener.opened), "a connection stays open")
    # What a peer says beyond its answer spoils the connection or not by how much of it has arrived: only the first
    # answer is the same in any case.
    return outcome[0] if outcome else None


def _judge(answer: Response) -> None:
    demand(len(answer.body) <= _LIMIT, f"a body of {len(answer.body)} bytes")
    demand(answer.url.startswith("https://"), "from https to http")
    demand("hunter2" not in answer.url, "userinfo in the answer's URL")
    demand(answer.status >= 200, "an interim answer is taken for the answer")
