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

Fetch = Callable[..., Awaitable[Any]]


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
