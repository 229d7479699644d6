"""What answers in the API server's place: status, content type and body of any kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from tests.fuzz.oracle import demand, refusing
from tests.fuzz.peers import SpokenClient
from torcxd.errors import TorcxdError
from torcxd.kube.access import ClusterAccess
from torcxd.kube.client import KubeClient
from torcxd.kube.nodes import Node, get_node, patch_annotations
from torcxd.kube.operators import detect
from torcxd.kube.watch import watched_config_map, watched_node
from torcxd.lifecycle.versions import KubeVersion

IMPORTANT: Final = True
_STATUSES: Final = (200, 200, 200, 401, 403, 404, 409, 410, 422, 500, 503, 302)
_NODE: Final = Node("node-1", "u", "7", {}, {})
WORDS: Final = (
    '{"gitVersion":"v1.8.4+coreos.0"}', '{"kind":"Status","message":', '"reason":', '"code":410',
    '"details":{"causes":',
    '"kind":"ConfigMap"', '"data":{', '"kind":"Node"', '"metadata":{', '"name":"node-1"', '"uid":"u"',
    '"resourceVersion":"7"', '"labels":{', '"annotations":{', '"items":[', "testing value", "null", "1e999", "\\ud800",
    "container-linux-update.v1.coreos.com/before-reboot",
)  # fmt: skip


def check(data: bytes) -> None:
    """The first byte chooses the status; the rest is the body of every answer."""
    status, body = _STATUSES[data[0] % len(_STATUSES)] if data else 200, data[1:]
    head = b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    trio.run(_ask_all, head + body)


async def _ask_all(answer: bytes) -> None:
    async def version(client: KubeClient) -> None:
        KubeVersion.parse(await client.version())

    async def config_map(client: KubeClient) -> None:
        data = await client.config_map("tectonic-system", "tectonic-torcx-runtime-mappings")
        demand(all(isinstance(each, str) for each in data.values()), "data that is no text")

    async def node(client: KubeClient) -> None:
        detect(await get_node(client, "node-1"))

    async def patch(client: KubeClient) -> None:
        await patch_annotations(client, _NODE, {"a/b": "true"})

    async def nodes(client: KubeClient) -> None:
        await watched_node(client, "node-1").current()

    async def config_maps(client: KubeClient) -> None:
        await watched_config_map(client, "tectonic-system", "m").current()

    asking: tuple[Callable[[KubeClient], Awaitable[None]], ...] = (version, config_map, node, patch, nodes, config_maps)
    for ask in asking:
        http = SpokenClient([answer], 1 << 20)
        with refusing(TorcxdError):
            await ask(KubeClient(ClusterAccess("the kubeconfig", "https://api.example"), http))
