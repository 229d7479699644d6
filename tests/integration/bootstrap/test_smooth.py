"""Bootstraps in which nothing goes wrong: what is done, in which order, what is asked of whom, and what is left."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.integration.bootstrap.bench import KUBELET_ENV, QUIET, UPDATING, Bench, OpenBench
from torcxd.sandbox.http_proxy import ForwardProxy
from torcxd.sandbox.http_server import serve
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.sandbox import BOARD, NEW_OS, OLD_OS

IMAGE = "docker:17.03.torcx.tgz"
CONFIG_MAP = "/api/v1/namespaces/tectonic-system/configmaps/tectonic-torcx-runtime-mappings"
MAPPINGS = 'kind: VersionManifestV1\nversions:\n  k8s:\n    "1.8":\n      docker: {}\n'


def manifest(os_version: str) -> str:
    return f"/manifests/{BOARD}/{os_version}/torcx_manifest.json"


def asked_manifests(node: Bench) -> set[str]:
    return {each for each in node.bucket_paths() if each.startswith("/manifests/")}


def asked_images(node: Bench) -> list[str]:
    return [each for each in node.bucket_paths() if each.startswith("/torcx/")]


@pytest.mark.accepts("A2", "A9", "A10", "A11", "A14", "A17", "A18", "A20", "A21", "A25", "C1", "C20", "C21", "C22")
@pytest.mark.accepts("I1", "I2", "I3", "I6", "I7")
async def test_an_os_update_with_another_docker(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        first = await node.bootstrap()
        # What a run must do in order, each told in the log.
        moments = [
            f"Next OS version: {NEW_OS}",
            "Target: ",
            "gathering → fetching",
            "Set: Docker 17.03",
            "fetching → verified",
            f"Placed docker:17.03 for {NEW_OS}",
            "The torcx profile tectonic pins docker:17.03",
            "verified → staged",
            "staged → reboot-pending",
            "Asking login1 for a reboot",
        ]
        places = [first.stderr.find(each) for each in moments]
        assert -1 not in places
        assert places == sorted(places)
        assert not node.bootstrapped
        assert asked_manifests(node) == {
            manifest(version) + suffix for version in (OLD_OS, NEW_OS) for suffix in ("", ".asc")
        }
        # Where the OS update ends before the fetching ahead does, a download is cut and goes on in the next state.
        assert len(set(asked_images(node))) == 2
        assert node.box.api_server is not None
        assert {each.path for each in node.box.api_server.requests} == {"/version", CONFIG_MAP}
        assert node.stored() == {f"{OLD_OS}/{IMAGE}", f"{NEW_OS}/{IMAGE}"}
        profile = json.loads(node.path("/etc/torcx/profiles/tectonic.json").read_text())
        assert profile["value"]["images"] == [{"name": "docker", "reference": "17.03"}]
        assert node.path("/etc/torcx/next-profile").read_text() == "tectonic\n"
        # The clean-up was in place before the reboot was asked for.
        assert [each["member"] for each in node.box.records.entries] == ["EnableUnitFiles", "Reboot"]

        assert await node.box.reboot() == ""
        asked = (len(node.box.bucket_server.requests), len(node.box.api_server.requests))
        last = await node.bootstrap()
        assert (last.code, node.bootstrapped) == (0, True)
        # Verified from the record, without any network.
        assert asked == (len(node.box.bucket_server.requests), len(node.box.api_server.requests))
        assert node.kubelet_env["KUBELET_IMAGE_TAG"] == "v1.8.4_coreos.0"
        assert node.box.reboots == 1
        assert not node.path("/var/lib/docker").exists()


@pytest.mark.accepts("A1", "C8")
async def test_a_bootstrapped_node_is_left_alone(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        assert (await node.to_the_end()).code == 0
        before = node.end_state()
        asked = (len(node.bucket_paths()), len(node.box.records.entries), node.box.update_engine.attempts)
        again = await node.bootstrap()
        assert again.code == 0
        assert "nothing is left to do" in again.stderr
        assert asked == (len(node.bucket_paths()), len(node.box.records.entries), node.box.update_engine.attempts)
        assert node.end_state() == before


@pytest.mark.accepts("A3", "A17", "A19", "C20", "C21", "I6")
@pytest.mark.parametrize("docker", ['["1.12"]', '["9.99", "1.12", "17.03"]'], ids=["wanted", "best-of-several"])
async def test_without_a_change_there_is_no_reboot_and_the_data_stays(bench: OpenBench, docker: str) -> None:
    async with bench(QUIET) as node:
        node.set_mappings(MAPPINGS.format(docker))
        ended = await node.bootstrap()
        assert (ended.code, node.bootstrapped) == (0, True)
        assert node.box.records.entries == []
        assert node.path("/var/lib/docker/image-store").exists()
        # It is in the OS image's own store: nothing was fetched or stored.
        assert asked_images(node) == []
        assert node.stored() == set()


@pytest.mark.accepts("A3", "C20", "I6")
async def test_an_os_update_with_the_same_docker_keeps_dockers_data(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        node.set_mappings(MAPPINGS.format('["1.12"]'))
        assert (await node.to_the_end()).code == 0
        assert [each["member"] for each in node.box.records.entries] == ["Reboot"]
        assert node.box.node.os_version == NEW_OS
        assert node.path("/var/lib/docker/image-store").exists()


@pytest.mark.accepts("A4")
async def test_without_upgrade_os_no_update_is_started(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        assert (await node.to_the_end("--upgrade-os=false")).code == 0
        assert node.box.update_engine.attempts == 0
        assert node.box.node.os_version == OLD_OS
        assert asked_manifests(node) == {manifest(OLD_OS), manifest(OLD_OS) + ".asc"}


@pytest.mark.accepts("A4", "A17", "I3")
async def test_without_upgrade_os_a_pending_update_counts_all_the_same(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        await node.pending_update()
        assert (await node.to_the_end("--upgrade-os=false")).code == 0
        assert node.box.update_engine.attempts == 0
        assert node.box.node.os_version == NEW_OS
        assert node.stored() == {f"{OLD_OS}/{IMAGE}", f"{NEW_OS}/{IMAGE}"}


@pytest.mark.accepts("A5")
@pytest.mark.parametrize("plot", [QUIET, UPDATING], ids=["quiet", "updating"])
async def test_skipping_the_setup_touches_nothing_of_torcx(bench: OpenBench, plot: object) -> None:
    async with bench(plot) as node:
        ended = await node.to_the_end("--torcx-skip-setup=true")
        assert (ended.code, node.bootstrapped) == (0, True)
        assert node.bucket_paths() == []
        assert not node.path("/var/lib/torcx").exists()
        assert not node.path("/etc/torcx").exists()
        # Only an OS update needs a boot then.
        assert node.box.reboots == (1 if plot is UPDATING else 0)
        assert node.path("/var/lib/docker/image-store").exists()


@pytest.mark.accepts("A7")
async def test_a_forced_version_is_asked_of_nobody(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        assert (await node.to_the_end("--force-kube-version=v1.8.9+x.1")).code == 0
        assert node.box.api_server is not None
        assert {each.path for each in node.box.api_server.requests} == {CONFIG_MAP}
        assert node.kubelet_env["KUBELET_IMAGE_TAG"] == "v1.8.9_x.1"


@pytest.mark.accepts("A21")
async def test_the_profile_gets_the_wanted_name(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        assert (await node.to_the_end("--torcx-profile=site")).code == 0
        assert node.path("/etc/torcx/next-profile").read_text() == "site\n"
        assert [each.name for each in node.path("/etc/torcx/profiles").iterdir()] == ["site.json"]


@pytest.mark.accepts("A21")
async def test_an_existing_profile_is_kept_and_edited(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        images = [{"name": "docker", "reference": "1.12"}, {"name": "extra", "reference": ""}]
        profile = {"kind": "profile-manifest-v1", "value": {"images": images}, "note": "ours"}
        node.box.node.write("/etc/torcx/profiles/ours.json", json.dumps(profile))
        node.box.node.write("/etc/torcx/next-profile", "ours\n")
        assert (await node.to_the_end("--torcx-profile=site")).code == 0
        images[0]["reference"] = "17.03"
        assert json.loads(node.path("/etc/torcx/profiles/ours.json").read_text()) == profile
        assert node.path("/etc/torcx/next-profile").read_text() == "ours\n"
        assert not node.path("/etc/torcx/profiles/site.json").exists()


@pytest.mark.accepts("A25")
async def test_the_installers_other_keys_are_kept(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        installer = 'KUBELET_IMAGE_URL="registry.example/hyperkube"\nKUBELET_IMAGE_TAG="v1.7.0"\nEXTRA="a b"\n'
        node.box.node.write("/etc/kubernetes/installer/kubelet.env", installer)
        assert (await node.to_the_end()).code == 0
        assert node.kubelet_env == {
            "KUBELET_IMAGE_URL": "registry.example/hyperkube",
            "KUBELET_IMAGE_TAG": "v1.8.4_coreos.0",
            "EXTRA": "a b",
        }


@pytest.mark.accepts("A12", "A13", "A22", "A35", "C22")
async def test_the_first_node_of_a_cluster_needs_no_api_server(bench: OpenBench) -> None:
    async with bench(replace(QUIET, api_server=False)) as node:
        assert not node.path("/etc/kubernetes/kubeconfig").exists()
        ended = await node.to_the_end()
        assert ended.code == 0
        assert node.kubelet_env["KUBELET_IMAGE_TAG"] == "v1.8.4_coreos.0"
        status = await node.torcxd("status")
        assert "installer/kubelet.env" in status.stdout


@pytest.mark.accepts("A15", "A22")
async def test_the_installers_mappings_come_before_the_built_in_ones(bench: OpenBench) -> None:
    async with bench(replace(QUIET, api_server=False)) as node:
        node.box.node.write("/etc/kubernetes/installer/runtime-mappings.yaml", MAPPINGS.format('["1.12"]'))
        assert (await node.bootstrap()).code == 0
        assert node.box.reboots == 0


@pytest.mark.accepts("A14")
async def test_the_namespace_of_the_mappings_can_be_set(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.set_mappings(MAPPINGS.format('["1.12"]'), namespace="elsewhere")
        assert (await node.bootstrap("--mappings-namespace=elsewhere")).code == 0
        assert node.box.reboots == 0


@pytest.mark.accepts("A36")
async def test_an_os_without_remote_addons_is_left_as_it_is(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        release = node.path("/usr/lib/os-release")
        release.write_text(release.read_text().replace(OLD_OS, "1465.8.0"))
        ended = await node.bootstrap()
        assert (ended.code, node.bootstrapped) == (0, True)
        assert "1465.8.0 is older than 1520.3.0" in ended.stderr
        assert node.bucket_paths() == []
        assert node.box.records.entries == []
        assert not node.path("/etc/torcx").exists()


@pytest.mark.accepts("A18", "A36")
async def test_from_an_os_without_remote_addons_to_one_with_them(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        release = node.path("/usr/lib/os-release")
        release.write_text(release.read_text().replace(OLD_OS, "1465.8.0"))
        first = await node.bootstrap()
        assert "1465.8.0 is older than 1520.3.0" in first.stderr
        assert asked_manifests(node) == {manifest(NEW_OS), manifest(NEW_OS) + ".asc"}
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0
        assert node.stored() == {f"{NEW_OS}/{IMAGE}"}


@pytest.mark.accepts("A29", "I5")
async def test_stores_of_older_os_versions_go_and_everything_else_stays(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        for each in ("1409.7.0", OLD_OS, NEW_OS, "1600.0.0", "keep-me"):
            node.box.node.write(f"/var/lib/torcx/store/{each}/note", "x")
        node.box.checker.booted()
        await node.bootstrap()
        kept = {each.name for each in node.path("/var/lib/torcx/store").iterdir()}
        assert kept == {OLD_OS, NEW_OS, "1600.0.0", "keep-me"}
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("N7")
async def test_equal_images_of_both_os_versions_are_fetched_once(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        image = docker_image("17.03", 12_345)
        for version in (OLD_OS, NEW_OS):
            node.box.bucket.publish(BOARD, version, image)
        await node.bootstrap()
        assert len(set(asked_images(node))) == 1
        paths = [node.path(f"/var/lib/torcx/store/{version}/{IMAGE}") for version in (OLD_OS, NEW_OS)]
        # One file with two names: its bytes were written once.
        assert paths[0].stat().st_ino == paths[1].stat().st_ino
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("N7")
async def test_an_image_in_the_store_is_not_fetched_again(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        image = docker_image("17.03", QUIET.image_bytes)
        node.box.node.write(f"/var/lib/torcx/store/{OLD_OS}/{IMAGE}", image.data)
        assert (await node.to_the_end()).code == 0
        assert asked_images(node) == []


@pytest.mark.accepts("A38")
async def test_proxies_of_the_environment_are_used(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        bucket = node.box.bucket
        context = bucket.authority.server_context("bucket.example")
        async with serve(bucket.handle, ssl_context=context) as named:
            bucket.url = f"https://bucket.example:{named.port}"
            proxy = ForwardProxy(credentials="user:very-secret")
            node.secrets.append("very-secret")
            async with serve(proxy) as proxied:
                variables = {"HTTPS_PROXY": proxied.url.replace("//", "//user:very-secret@")}
                template = f"--torcx-manifest-url={bucket.manifest_template}"
                await node.bootstrap(template, environment=variables)
                assert node.box.reboots == 1
                assert set(proxy.targets) == {f"bucket.example:{named.port}"}
                # The API server is on a loopback address, which needs no proxy.
                assert node.box.api_server is not None
                assert node.box.api_server.requests


@pytest.mark.accepts("A37")
async def test_the_original_program_with_its_flags(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.node.write("/pubring.gpg", node.box.key.public)
        node.path("/etc/torcxd/pubring.gpg").unlink()
        node.box.node.write("/versions.yaml", MAPPINGS.format('["1.12"]'))
        node.box.node.write("/elsewhere/config", node.path("/etc/kubernetes/kubeconfig").read_text())
        ended = await node.bootstrap(
            "--upgrade-os=false",
            "--torcx-skip-setup=false",
            "--torcx-profile=tectonic",
            "--kubeconfig=/elsewhere/config",
            "--kubelet-env-path=/etc/kubernetes/kubelet.env",
            "--torcx-bin=/usr/bin/torcx",
            "--no-verify-signatures=false",
            "--force-kube-version=",
            "--verbose=debug",
            entry="tectonic-torcx-bootstrap",
        )
        # The cluster's own mappings, from the kubeconfig that was named, beat those of /versions.yaml.
        assert "Docker 17.03, 1.12 accepted" in ended.stderr
        await node.box.reboot()
        assert (await node.bootstrap(entry="tectonic-torcx-bootstrap")).code == 0


@pytest.mark.accepts("A37")
async def test_the_original_program_takes_its_own_mappings(bench: OpenBench) -> None:
    async with bench(replace(QUIET, api_server=False)) as node:
        node.box.node.write("/pubring.gpg", node.box.key.armored)
        node.box.node.write("/versions.yaml", MAPPINGS.format('["1.12"]'))
        assert (await node.bootstrap(entry="tectonic-torcx-bootstrap")).code == 0
        assert node.box.reboots == 0


@pytest.mark.accepts("A5", "C6", "I7")
async def test_systemd_can_be_asked_for_the_reboot(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        assert (await node.to_the_end("--reboot-via=systemd1")).code == 0
        assert node.box.records.of("StartUnit") == [["reboot.target", "isolate"]]
        assert node.box.records.of("Reboot") == []


async def test_a_real_process_does_the_same(bench: OpenBench) -> None:
    """Once without the fork server: started as a service would be."""
    async with bench(QUIET) as node:
        assert await node.box.bootstrap_to_the_end() == 0
        assert node.path(KUBELET_ENV).exists()
