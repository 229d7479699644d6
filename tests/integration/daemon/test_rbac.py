"""The rights in ``deploy/`` are those that the daemon uses: none is missing, and none is there for nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tests.integration.daemon.bench import OpenService
from tests.kustomize import deployment
from torcxd.sandbox.apiserver_answers import PATH, VERBS
from torcxd.sandbox.http_server import Request

# A verb, a resource or path, its namespace ("" for the whole cluster), and the name where only one is allowed.
Right = tuple[str, str, str, str]


def granted() -> set[Right]:
    """What the roles allow."""
    rights: set[Right] = set()
    for role in deployment("daemon"):
        for rule in role.get("rules", []):
            for verb in rule["verbs"]:
                for what in rule.get("resources", rule.get("nonResourceURLs", [])):
                    for name in rule.get("resourceNames", [""]):
                        rights.add((verb, what, role["metadata"].get("namespace", ""), name))
    return rights


def used(requests: Iterable[Request], names: set[str]) -> set[Right]:
    """What *requests* took; of the *names* of objects only those are told that a right may be bound to."""
    rights: set[Right] = set()
    for request in requests:
        match = PATH.fullmatch(request.path)
        if match is None:
            rights.add((VERBS[request.method], request.path, "", ""))
            continue
        verb = VERBS[request.method]
        if match["name"] is None and verb == "get":
            verb = "watch" if request.query.get("watch") else "list"
        # A list or watch of one object is one of its name to the API server, too.
        name = match["name"] or request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        resource = match["cluster"] or match["resource"]
        rights.add((verb, resource, match["namespace"] or "", name if name in names else ""))
    return rights


async def test_the_daemon_uses_each_right_and_no_other(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            node.ask()
            await node.install()
            await node.until(lambda: bool(node.events("TorcxRebootReady")))
        assert node.box.api_server is not None
        rights = granted()
        assert used(node.box.api_server.requests, {name for *_, name in rights if name}) == rights
