"""Bodies: whatever the pieces in which they arrive, the same bytes come out."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.http.body import Body, CountedBody, FramedBody, body_of, keeps_alive


def conversation(answer: bytes, method: str = "GET") -> tuple[h11.Connection, h11.Response]:
    """h11 after it has read the head of *answer*."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    head = connection.next_event()
    assert isinstance(head, h11.Response)
    return connection, head


def start(answer: bytes, method: str = "GET") -> Body:
    connection, head = conversation(answer, method)
    return body_of(connection, method, head)


def collect(body: Body, pieces: list[bytes]) -> bytes:
    """Feed *pieces* one by one, and collect the body to its end."""
    content = b""
    arriving = iter(pieces)
    while (piece := body.next_piece()) != b"":
        if piece is None:
            body.feed(next(arriving))
        else:
            content += piece
    return content


def chop(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(each % (len(data) + 1) for each in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.binary(min_size=1), CUTS, st.booleans())
def test_a_counted_body(content: bytes, cuts: list[int], head_alone: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    pieces = chop(content, cuts)
    body = start(head) if head_alone else start(head + pieces.pop(0))
    assert isinstance(body, CountedBody)
    assert collect(body, pieces) == content
    assert body.is_complete()


@given(st.lists(st.binary(min_size=1), max_size=4), CUTS)
def test_a_chunked_body(chunks: list[bytes], cuts: list[int]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
    body = start(head)
    assert isinstance(body, FramedBody)
    assert collect(body, chop(raw, cuts)) == b"".join(chunks)
    assert body.is_complete()


@given(st.binary(min_size=2), CUTS)
def test_a_counted_body_that_is_cut_short(content: bytes, cuts: list[int]) -> None:
    body = start(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
    with pytest.raises(h11.RemoteProtocolError, match=f"{len(content) - 1} of {len(content)} bytes arrived"):
        collect(body, [*chop(content[:-1], cuts), b""])
    assert not body.is_complete()


def test_what_follows_a_body_spoils_the_connection() -> None:
    body = start(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n")
    assert collect(body, []) == b"ok"
    assert not body.is_complete()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
)
def test_a_body_that_is_none_is_complete_unread(method: str, answer: bytes) -> None:
    assert start(answer, method).is_complete()
    body = start(answer, method)
    assert collect(body, []) == b""
    assert body.next_piece() == b""  # and stays so
    assert body.is_complete()


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 204 No Content\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.1 204 No Content\r\nConnection: x\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 204 No Content\r\n", False),
    ],
)
def test_whether_the_server_keeps_the_connection(head: bytes, kept: bool) -> None:
    assert keeps_alive(conversation(head + b"\r\n")[1]) is kept
