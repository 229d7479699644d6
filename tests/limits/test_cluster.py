"""What an API server may send: objects of any size, events without pause, lines without end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import trio

from tests.explored import Explored
from tests.limits import cases
from tests.limits.measured import measure
from torcxd.sandbox.http_server import Handler, Request, Response, serve

MB: Final = 1_000_000
# As many events as an API server sends while a controller and an operator fight for some hours, all at once.
EVENTS: Final = 10_000
JSON: Final = {"Content-Type": "application/json"}


def node(revision: int, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": cases.NODE, "uid": "u", "resourceVersion": str(revision), "annotations": annotations or {}}
    return {"kind": "Node", "apiVersion": "v1", "metadata": metadata}


def large_node(size: int) -> dict[str, Any]:
    """A node with *size* bytes of annotations, of 1 kB each."""
    return node(2, {f"example.com/{each:05}": "x" * 1000 for each in range(size // 1000)})


def listing(*nodes: dict[str, Any]) -> Response:
    return Response.from_json({"kind": "NodeList", "metadata": {"resourceVersion": "1"}, "items": nodes})


def event(document: dict[str, Any]) -> bytes:
    return json.dumps({"type": "MODIFIED", "object": document}).encode() + b"\n"


async def test_a_node_with_ten_megabytes_of_annotations_is_read(explored: Explored) -> None:
    body = json.dumps(large_node(10 * MB)).encode()

    async def answer(_: Request) -> Response:
        return Response(200, JSON, body)

    async with serve(answer) as server:
        measured = await measure(cases.node, server.url)
    assert measured.result == 10 * MB
    # As it arrives, as one text, and as what it says.
    assert measured.grown < 5 * len(body) / 1e6
    assert measured.descriptors == 0
    explored.count("limits", "MB of annotations", 10)


async def test_a_watch_tells_of_a_node_with_ten_megabytes_of_annotations(explored: Explored) -> None:
    line = event(large_node(10 * MB))

    async def answer(request: Request) -> Response:
        if "watch" not in request.query:
            return listing(node(1))

        async def body() -> AsyncIterator[bytes]:
            yield line
            await trio.sleep_forever()

        return Response(200, JSON, body())

    async with serve(answer) as server:
        measured = await measure(cases.watched, server.url, 2)
    assert measured.result == [2, "2"]
    assert measured.grown < 7 * len(line) / 1e6
    explored.count("limits", "MB of annotations", 10)


async def test_an_object_without_end_is_refused(explored: Explored) -> None:
    sent = 0

    async def answer(_: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            yield b'{"metadata":{"name":"'
            while True:
                sent += MB
                yield b"x" * MB

        return Response(200, JSON, body())

    async with serve(answer) as server:
        measured = await measure(cases.node_error, server.url)
    assert "the answer is larger than 16777216 bytes" in measured.result
    assert measured.grown < 60
    assert sent < 100 * MB
    explored.count("limits", "endless answers")


async def test_a_line_of_a_watch_without_end_is_refused(explored: Explored) -> None:
    async def answer(request: Request) -> Response:
        if "watch" not in request.query:
            return listing(node(1))

        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * MB

        return Response(200, JSON, body())

    async with serve(answer) as server:
        measured = await measure(cases.watch_error, server.url)
    assert "a line of more than 16777216 bytes" in measured.result
    assert measured.grown < 60
    explored.count("limits", "endless answers")


def burst(events: int) -> Handler:
    """A server that sends the revisions 2 to *events* of a node, 2 kB each, as fast as it can."""
    line = event(node(0, {"example.com/ballast": "x" * 2000})).replace(b'"0"', b'"%d"')

    async def answer(request: Request) -> Response:
        if "watch" not in request.query:
            return listing(node(1))

        async def body() -> AsyncIterator[bytes]:
            for first in range(2, events + 1, 100):
                yield b"".join(line % each for each in range(first, min(first + 100, events + 1)))
            await trio.sleep_forever()

        return Response(200, JSON, body())

    return answer


async def test_a_burst_of_events_is_not_piled_up(explored: Explored) -> None:
    async with serve(burst(EVENTS)) as server:
        measured = await measure(cases.watched, server.url, EVENTS)
    # None is lost on the way, the last one counts, and of the 20 MB only what is being read was ever there.
    assert measured.result == [EVENTS, str(EVENTS)]
    assert measured.grown < 10
    explored.count("limits", "watch events in a burst", EVENTS)
