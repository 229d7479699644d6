"""A watch: one JSON object a line, cut anywhere."""

from __future__ import annotations

from typing import Final

import trio

from tests.fuzz.oracle import demand, refusing
from tests.fuzz.peers import SpokenClient
from torcxd.errors import TorcxdError
from torcxd.kube.access import ClusterAccess
from torcxd.kube.client import KubeClient
from torcxd.kube.watch import Change, watched_node

IMPORTANT: Final = True
WORDS: Final = (
    '{"type":"MODIFIED","object":{"kind":"Node","metadata":{"name":"n","uid":"u","resourceVersion":"7"}}}\n',
    '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"8"}}}\n', '{"type":"ERROR","object":{"code":410}}\n',
    '"labels":{', '"annotations":{', '"message":', '"reason":', "ADDED", "DELETED", "\n", "\r\n", "null",
)  # fmt: skip


def check(data: bytes) -> None:
    """The first byte says in pieces of which size it arrives."""
    size, body = max(1, data[0]) if data else 1, data[1:]
    piecemeal, whole = trio.run(_watch, body, size), trio.run(_watch, body, 1 << 20)
    demand(piecemeal == whole, f"in pieces it is {piecemeal}, at once it is {whole}")


async def _watch(body: bytes, size: int) -> list[str]:
    """What it says, in order, its end included."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    client = KubeClient(ClusterAccess("the kubeconfig", "https://api.example"), SpokenClient([head + body], size))
    told: list[str] = []
    try:
        with refusing(TorcxdError):
            async with watched_node(client, "node-1").watch("1", 60, 30) as events:
                async for event in events:
                    demand((event.object is None) == (event.change is Change.BOOKMARK), "a change of nothing")
                    told.append(repr(event))
            told.append("end")
    except TorcxdError as error:
        told.append(f"{type(error).__name__}: {error}")
    return told
