"""The cluster moves on: Docker is planned for anew, and kubelet.env follows where that is wanted."""

from __future__ import annotations

import pytest

from tests.integration.daemon.bench import NODE, OpenService
from torcxd.sandbox.apiserver_faults import Fault as ApiFault
from torcxd.sandbox.sandbox import NEW_OS

MOVED = "kind: VersionManifestV1\nversions:\n  k8s:\n    1.8:\n      docker: {}\n    1.9:\n      docker: {}\n"
DUE = "/var/lib/torcx/docker-cleanup-due"


@pytest.mark.accepts("A30", "C20", "I6")
async def test_another_docker_is_planned_for_and_its_data_cleaned_in_the_reboot(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon("--version-interval=0.05s") as daemon:
            await daemon.says("→ done")
            node.set_mappings(MOVED.format('["17.03"]', '["1.12"]'))
            node.box.api.version = "v1.9.1"
            await daemon.says("→ reboot-pending")
            # The clean-up is scheduled before the operator is answered.
            node.ask()
            await node.until_answered()
            assert "1.12" in node.path(DUE).read_text()
        await node.box.reboot()
        async with node.daemon("--version-interval=0.05s") as daemon:
            await daemon.says("the boot brought the set")
        assert not node.path("/var/lib/docker/image-store").exists()


@pytest.mark.accepts("C20", "I6")
async def test_a_clean_up_that_was_scheduled_touches_nothing_when_docker_stays_after_all(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            node.set_mappings(MOVED.format('["1.12"]', '["1.12"]'))
            await daemon.says("is cleaned in the boot")
            await daemon.says("→ reboot-pending")
            before = len(daemon.stderr)
            node.set_mappings(MOVED.format('["17.03"]', '["17.03"]'))
            await daemon.says("staged → done", since=before)
            node.ask()
            await node.until_answered()
            assert "1.12" in node.path(DUE).read_text()
        await node.box.reboot()
        assert node.path("/var/lib/docker/image-store").exists()


@pytest.mark.accepts("C20", "I6", "N9")
async def test_a_boot_before_the_announced_update_is_installed_cleans_for_its_docker(service: OpenService) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            await daemon.says("→ done")
            node.box.api.fault = None
            await node.announce()
            before = len(daemon.stderr)
            node.set_mappings(MOVED.format('["1.12"]', '["1.12"]'))
            await daemon.says("is cleaned in the boot", since=before)
        await node.box.reboot()
        assert node.box.node.os_version != NEW_OS
        assert not node.path("/var/lib/docker/image-store").exists()


@pytest.mark.accepts("A30")
@pytest.mark.parametrize("restart", [False, True])
async def test_kubelet_follows_where_that_is_wanted(service: OpenService, restart: bool) -> None:
    async with service() as node:
        flags = ["--version-interval=0.05s", "--update-kubelet", f"--restart-kubelet={str(restart).lower()}"]
        node.box.api.version = "v1.8.9+coreos.1"
        async with node.daemon(*flags) as daemon:
            await daemon.says("kubelet.env follows the cluster from v1.8.4+coreos.0 to v1.8.9+coreos.1")
            node.ask()
            await node.until_answered()
            if restart:
                await daemon.says("Restarted kubelet.service")
        assert node.kubelet_env["KUBELET_IMAGE_TAG"] == "v1.8.9_coreos.1"
        assert len(node.box.records.of("RestartUnit")) == int(restart)


@pytest.mark.accepts("A30")
@pytest.mark.parametrize("how", ["not-wanted", "forced", "no-api-server"])
async def test_kubelet_follows_nobody_but_the_api_server(service: OpenService, how: str) -> None:
    flags = {"not-wanted": [], "forced": ["--update-kubelet", "--force-kube-version=v1.8.9"]}
    async with service() as node:
        before = node.kubelet_env
        node.box.api.version = "v1.8.9"
        if how == "no-api-server":
            node.box.api.fault = ApiFault.UNAVAILABLE
        async with node.daemon(*flags.get(how, ["--update-kubelet"])) as daemon:
            await daemon.says("→ done")
            assert NODE in {each["metadata"]["name"] for each in node.box.api.store.objects.values()}
        assert node.kubelet_env == before
