"""The API server stand-in answers as a real kube-apiserver did (tests/fixtures/kube-apiserver)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from torcxd.sandbox.apiserver import ApiServer, Fault

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-apiserver"
CONFIG_MAP = "/api/v1/namespaces/tectonic-system/configmaps/tectonic-torcx-runtime-mappings"
# Of the flow control that came after the versions at hand, and the time.
IGNORED = {"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid", "Date"}
# What differs from one cluster and one build to the next.
VARYING = {"uid", "resourceVersion", "creationTimestamp", "time", "goVersion"}

NODE = "/api/v1/nodes/node-1"
BEFORE_REBOOT = "container-linux-update.v1.coreos.com/before-reboot"
REBOOT_NEEDED = "container-linux-update.v1.coreos.com/reboot-needed"

Fetch = Callable[..., Awaitable[Any]]
# One question: method, path, content type, body.
Question = tuple[str, str, str, Any]


def recorded(name: str) -> tuple[int, dict[str, str], Any]:
    head, _, body = (FIXTURES / name).read_bytes().partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status_line.split(" ")[1]), headers, json.loads(body)


def comparable(value: Any) -> Any:
    """*value* with the type in place of what varies."""
    if isinstance(value, dict):
        return {key: type(each) if key in VARYING else comparable(each) for key, each in value.items()}
    return [comparable(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def api() -> ApiServer:
    api = ApiServer(token="t0ken")
    data = recorded("configmap.http")[2]["data"]
    api.put_config_map("tectonic-system", "tectonic-torcx-runtime-mappings", data)
    return api


@pytest.mark.parametrize(
    ("name", "path", "token", "fault"),
    [
        ("version.http", "/version", "t0ken", None),
        ("configmap.http", CONFIG_MAP, "t0ken", None),
        ("401.http", "/version", "other", None),
        ("401.http", "/version", "t0ken", Fault.UNAUTHORIZED),
        ("403.http", CONFIG_MAP, "t0ken", Fault.FORBIDDEN),
        ("404.http", "/api/v1/namespaces/tectonic-system/configmaps/none", "t0ken", None),
    ],
)
async def test_it_answers_as_the_real_one_did(
    api: ApiServer, fetch: Fetch, name: str, path: str, token: str, fault: Fault | None
) -> None:
    api.fault = fault
    async with api.serve() as server:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await fetch(server.url + path, api.authority.client_context(), headers)
    status, headers, body = recorded(name)
    assert answer.status == status
    assert comparable(json.loads(answer.body)) == comparable(body)
    # The order of fields is the API's, too.
    assert list(json.loads(answer.body)) == list(body)
    names = {key.lower() for key in headers.keys() - IGNORED}
    assert {key.lower() for key in answer.headers} == names
    assert answer.headers["Content-Type"] == headers["Content-Type"]
    assert answer.headers["Cache-Control"] == headers["Cache-Control"]


def json_patch(path: str, value: str) -> Question:
    """A patch that tests and sets one value."""
    operations = [{"op": "test", "path": path, "value": value}, {"op": "add", "path": path, "value": value}]
    return "PATCH", NODE, "application/json-patch+json", operations


# What was recorded with the recorded fixture's own requests, as far as they show in it.
QUESTIONS: dict[str, Question] = {
    "node.http": ("GET", NODE, "", None),
    "node-list.http": ("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dnode-1", "", None),
    "patch.http": (
        "PATCH",
        NODE,
        "application/merge-patch+json",
        {"metadata": {"labels": {BEFORE_REBOOT: "true"}, "annotations": {REBOOT_NEEDED: "true"}}},
    ),
    "patch-404.http": ("PATCH", "/api/v1/nodes/none", "application/merge-patch+json", {"metadata": {}}),
    "patch-409-conflict.http": (
        "PATCH",
        NODE,
        "application/merge-patch+json",
        {"metadata": {"resourceVersion": "1", "annotations": {REBOOT_NEEDED: "false"}}},
    ),
    "json-patch-422-test-failed.http": json_patch("/metadata/labels/kubernetes.io~1hostname", "another"),
    "patch-403.http": json_patch("/metadata/labels/kubernetes.io~1hostname", "node-1"),
    "event-201.http": (
        "POST",
        "/api/v1/namespaces/default/events",
        "application/json",
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"generateName": "node-1.", "namespace": "default"},
            "involvedObject": {"kind": "Node", "name": "node-1", "uid": "node-1"},
            "reason": "AddonStaged",
            "message": "docker 17.03 staged for 1576.4.0",
            "source": {"component": "torcxd", "host": "node-1"},
            "firstTimestamp": "2026-11-20T00:00:00Z",
            "lastTimestamp": "2026-11-20T00:00:00Z",
            "count": 1,
            "type": "Normal",
        },
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_it_takes_what_the_real_one_took(api: ApiServer, fetch: Fetch, name: str) -> None:
    method, path, content_type, document = QUESTIONS[name]
    api.put_node("node-1", labels={"kubernetes.io/hostname": "node-1"})
    if name == "patch-403.http":
        api.forbidden.add(("patch", "nodes"))
    body = b"" if document is None else json.dumps(document).encode()
    async with api.serve() as server:
        headers = {"Authorization": "Bearer t0ken", "Content-Type": content_type, "User-Agent": "curl/7.88.1"}
        answer = await fetch(server.url + path, api.authority.client_context(), headers, method, body)
    status, _, recorded_body = recorded(name)
    given = json.loads(answer.body)
    assert answer.status == status
    for each in (given, recorded_body):
        # Drawn by lot.
        each["metadata"].pop("name", None)
        # Written by the stand-in itself in place of curl.
        for item in each.get("items", [each]):
            for entry in item["metadata"].get("managedFields", []):
                entry.pop("manager")
    assert comparable(given) == comparable(recorded_body)
    assert list(given) == list(recorded_body)
    assert list(given["metadata"]) == list(recorded_body["metadata"])


async def test_nothing_changes_with_a_patch_that_is_refused_or_changes_nothing(api: ApiServer, fetch: Fetch) -> None:
    api.put_node("node-1", labels={"kubernetes.io/hostname": "node-1"})
    before = api.node("node-1")
    async with api.serve() as server:
        for name in ("patch-409-conflict.http", "json-patch-422-test-failed.http", "patch-403.http"):
            method, path, content_type, document = QUESTIONS[name]
            headers = {"Authorization": "Bearer t0ken", "Content-Type": content_type}
            body = json.dumps(document).encode()
            await fetch(server.url + path, api.authority.client_context(), headers, method, body)
    assert api.node("node-1") == before


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("POST", CONFIG_MAP, "MethodNotAllowed"),
        ("GET", "/api/v2", "NotFound"),
        ("GET", "/api/v1/namespaces/other/configmaps/tectonic-torcx-runtime-mappings", "NotFound"),
    ],
)
async def test_what_it_has_not_is_a_status(api: ApiServer, fetch: Fetch, method: str, path: str, reason: str) -> None:
    async with api.serve() as server:
        headers = {"Authorization": "Bearer t0ken"}
        answer = await fetch(server.url + path, api.authority.client_context(), headers, method)
    body = json.loads(answer.body)
    assert (body["kind"], body["reason"], body["code"]) == ("Status", reason, answer.status)


async def test_faults_come_once_each_and_then_the_lasting_one(api: ApiServer, fetch: Fetch) -> None:
    api.faults.extend([Fault.INTERNAL, Fault.HTML_ERROR])
    headers = {"Authorization": "Bearer t0ken"}
    async with api.serve() as server:
        context = api.authority.client_context()
        statuses = [(await fetch(f"{server.url}/version", context, headers)).status for _ in range(3)]
        api.fault = Fault.UNAVAILABLE
        statuses += [(await fetch(f"{server.url}/version", context, headers)).status for _ in range(2)]
    assert statuses == [500, 502, 200, 503, 503]


async def test_it_comes_back_at_the_same_port(api: ApiServer, fetch: Fetch) -> None:
    async with api.serve() as server:
        port = server.port
    async with api.serve(port) as server:
        headers = {"Authorization": "Bearer t0ken"}
        answer = await fetch(f"https://127.0.0.1:{port}/version", api.authority.client_context(), headers)
    assert answer.status == 200
