"""The one-shot hook, under both of its names: prepares the node, answers once, and ends."""

from __future__ import annotations

import signal

import pytest

from tests.integration.bootstrap.bench import QUIET
from tests.integration.bootstrap.program import Process
from tests.integration.daemon.bench import IMAGE, NODE, OpenService, Service
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, OperatorNames
from torcxd.sandbox.sandbox import NEW_OS

ORIGINAL = "tectonic-torcx-hook-pre"


async def hook(node: Service, *flags: str, entry: str = "torcxd") -> Process:
    """Run the hook to its end."""
    async with node.hook(*flags, entry=entry) as process:
        await process.ended()
    return process


@pytest.mark.accepts("A26", "A27", "A37", "I3")
@pytest.mark.parametrize("names", [FLATCAR, CONTAINER_LINUX])
async def test_the_hook_prepares_the_node_answers_and_ends(service: OpenService, names: OperatorNames) -> None:
    async with service(names=names) as node:
        await node.install()
        node.ask()
        ended = await hook(node)
        assert ended.code == 0, ended.stderr
        assert node.answered
        assert f"{NEW_OS}/{IMAGE}" in node.stored()
        assert node.events("TorcxRebootReady") == ["prepared for the reboot"]


@pytest.mark.accepts("A26", "A37")
async def test_the_original_answers_by_the_annotation_that_it_is_given(service: OpenService) -> None:
    async with service() as node:
        node.box.node.write("/pubring.gpg", node.box.key.public)
        await node.install()
        node.ask()
        flags = ["--node-annotation=site.example/pre-hook-ok", "--sleep=0", "--torcx-bin=/usr/bin/torcx"]
        ended = await hook(node, *flags, entry=ORIGINAL)
        assert ended.code == 0, ended.stderr
        assert node.annotations["site.example/pre-hook-ok"] == "true"
        assert node.annotation not in node.annotations


@pytest.mark.accepts("A37")
async def test_the_original_without_an_annotation_ends_when_the_node_is_prepared(service: OpenService) -> None:
    async with service() as node:
        node.box.node.write("/pubring.gpg", node.box.key.public)
        await node.install()
        ended = await hook(node, entry=ORIGINAL)
        assert ended.code == 0, ended.stderr
        assert f"{NEW_OS}/{IMAGE}" in node.stored()
        assert node.patches() == []


@pytest.mark.accepts("A37")
async def test_asked_to_sleep_it_stays_until_its_pod_is_ended(service: OpenService) -> None:
    async with service() as node:
        node.ask()
        async with node.hook("--sleep=1") as process:
            await process.says("sleeping until the pod is ended")
            assert node.answered
            process.send(signal.SIGTERM)
        assert process.code == 0


async def test_ended_before_it_has_answered_it_has_failed(service: OpenService) -> None:
    async with service() as node:
        async with node.hook() as process:
            await process.says("→ done")
            process.send(signal.SIGTERM)
        assert process.code == 128 + signal.SIGTERM
        assert node.told == []


@pytest.mark.accepts("A23")
async def test_in_a_pod_the_service_account_is_used(service: OpenService) -> None:
    async with service(QUIET) as node:
        server = node.box.api_server
        assert server is not None
        # A service account has a token, and its server asks for no client certificate.
        node.path("/etc/kubernetes/kubeconfig").unlink()
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        node.box.node.write(f"{account}/ca.crt", node.box.api.authority.pem)
        node.box.node.write(f"{account}/token", "very-secret")
        node.box.node.write(f"{account}/namespace", "tectonic-system")
        node.secrets.append("very-secret")
        node.box.api.token = "very-secret"
        node.ask()
        async with node.box.api.serve() as pods_server:
            environment = {
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(pods_server.port),
                "NODE": NODE,
            }
            async with node.hook(named=False, environment=environment) as process:
                await process.ended()
        assert process.code == 0, process.stderr
        assert node.answered
        assert server.requests == []
