"""Bad facts: the OS's, the kubeconfig's, the API server's and the mappings'.

What is wrong on the node itself ends the run with the file's and the field's name. What is wrong with the API server
does not: everything it would say has a fallback on the node.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from tests.integration.bootstrap.bench import QUIET, Bench, OpenBench
from torcxd.errors import EX_CONFIG, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE
from torcxd.sandbox.apiserver import ApiServer, Fault

OS_RELEASE = "/usr/lib/os-release"
KUBECONFIG = "/etc/kubernetes/kubeconfig"
INSTALLER_ENV = "/etc/kubernetes/installer/kubelet.env"
INSTALLER_MAPPINGS = "/etc/kubernetes/installer/runtime-mappings.yaml"
GOOD_RELEASE = 'ID=coreos\nVERSION_ID=1520.8.0\nCOREOS_BOARD="amd64-usr"\n'


async def assert_refused(node: Bench, code: int, *words: str, flags: tuple[str, ...] = ()) -> None:
    """The run ends at once; nothing was placed, pinned, published or rebooted, and ``status`` tells why."""
    ended = await node.bootstrap(*flags)
    node.assert_failed(ended, code, *words)
    assert node.stored() == set()
    assert not node.path("/etc/torcx").exists()
    assert node.box.records.entries == []
    told = (await node.status())["last_error"]
    assert all(each in told["message"] + told["hint"] for each in words), told


@pytest.mark.accepts("A16", "A24", "N5")
@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, EX_NOINPUT, ["os-release", "No such file"]),
        ("", EX_DATAERR, ["os-release", "holds no field"]),
        ("ID=coreos\n", EX_DATAERR, ["os-release", "VERSION_ID"]),
        ("ID=coreos\nVERSION_ID=rolling\n", EX_DATAERR, ["os-release", "VERSION_ID", "rolling"]),
        ("ID=coreos\nVERSION_ID=1520.8.0\nVERSION_ID=1576.4.0\n", EX_DATAERR, ["os-release", "VERSION_ID"]),
        (
            "VERSION_ID=1520.8.0\nCOREOS_BOARD=amd64-usr\nFLATCAR_BOARD=arm64-usr\n",
            EX_DATAERR,
            ["os-release", "COREOS_BOARD", "FLATCAR_BOARD"],
        ),
        ('ID=coreos\nVERSION_ID="1520.8.0\n', EX_DATAERR, ["os-release", "VERSION_ID"]),
        (b"\xff\xfe\x00\x01" * 100, EX_DATAERR, ["os-release"]),
    ],
    ids=["missing", "empty", "no-version", "no-number", "two-versions", "two-boards", "torn", "binary"],
)
async def test_an_unusable_os_release_ends_the_run(
    bench: OpenBench, content: str | bytes | None, code: int, words: list[str]
) -> None:
    async with bench(QUIET) as node:
        path = node.path(OS_RELEASE)
        good = path.read_bytes()
        path.unlink()
        if content is not None:
            node.box.node.write(OS_RELEASE, content)
        await assert_refused(node, code, *words)
        path.write_bytes(good)


def edited(node: Bench, *steps: str | int, value: object) -> str:
    """The node's kubeconfig with one field changed; a value of None removes it."""
    document = yaml.safe_load(node.path(KUBECONFIG).read_text())
    *parents, last = steps
    found = document
    for each in parents:
        found = found[each]
    if value is None:
        del found[last]
    else:
        found[last] = value
    return yaml.safe_dump(document)


@pytest.mark.accepts("A23")
@pytest.mark.parametrize(
    ("steps", "value", "words"),
    [
        (("clusters", 0, "cluster", "server"), None, ["server"]),
        (("clusters", 0, "cluster", "server"), "ftp://x", ["server"]),
        (("clusters", 0, "cluster", "certificate-authority-data"), "%%%", ["certificate-authority-data"]),
        (("clusters", 0, "cluster", "certificate-authority-data"), "bm9uZQ==", ["certificate-authority-data"]),
        (("users", 0, "user", "client-key-data"), None, ["client-key"]),
        (("users", 0, "user", "client-key-data"), "bm9uZQ==", ["client-key-data"]),
        (("users", 0, "user"), {"exec": {"command": "aws"}}, ["exec"]),
        (("current-context",), "production", ["current-context"]),
    ],
    ids=["no-server", "scheme", "base64", "certificate", "no-key", "key", "exec", "context"],
)
async def test_a_broken_kubeconfig_ends_the_run(
    bench: OpenBench, steps: tuple[str | int, ...], value: object, words: list[str]
) -> None:
    async with bench(QUIET) as node:
        node.box.node.write(KUBECONFIG, edited(node, *steps, value=value))
        ended = await node.bootstrap()
        node.assert_failed(ended, ended.code or 0, "kubeconfig", *words)
        assert ended.code in (EX_CONFIG, EX_DATAERR, EX_NOINPUT)
        assert node.box.records.entries == []


@pytest.mark.accepts("A23")
@pytest.mark.parametrize("text", ["", "clusters: [", "just words", "\x00\x01"], ids=["empty", "cut", "text", "binary"])
async def test_a_file_that_is_no_kubeconfig_ends_the_run(bench: OpenBench, text: str) -> None:
    async with bench(QUIET) as node:
        node.box.node.write(KUBECONFIG, text)
        await assert_refused(node, EX_CONFIG, "kubeconfig")


@pytest.mark.accepts("A11", "A12", "A15", "A22", "A24")
@pytest.mark.parametrize("fault", list(Fault))
async def test_whatever_the_api_server_does_the_node_falls_back_and_completes(bench: OpenBench, fault: Fault) -> None:
    async with bench(QUIET) as node:
        node.box.api.fault = fault
        # Not what the cluster would say: it shows who was believed.
        node.box.node.write(INSTALLER_ENV, 'KUBELET_IMAGE_TAG="v1.7.3_coreos.0"\n')
        ended = await node.bootstrap()
        assert (ended.code, node.kubelet_env) == (0, {"KUBELET_IMAGE_TAG": "v1.7.3_coreos.0"}), ended.stderr
        assert "The API server does not tell the cluster's version" in ended.stderr
        assert "The API server gives no runtime mappings" in ended.stderr
        assert node.box.api_server is not None
        assert node.box.api_server.connections
        # Kubernetes 1.7 takes Docker 1.12 by the built-in mappings: nothing to change.
        assert node.box.reboots == 0


@pytest.mark.accepts("A12", "A24", "A35")
async def test_an_api_server_that_refuses_connections_is_no_reason_to_fail(bench: OpenBench) -> None:
    async with bench(replace(QUIET, api_server=False)) as node:
        # Nobody listens on the discard port.
        node.box.node.write(KUBECONFIG, node.box.api.kubeconfig("https://127.0.0.1:9"))
        ended = await node.bootstrap()
        assert node.box.reboots == 1
        assert "127.0.0.1:9" in ended.stderr
        await node.box.reboot()
        assert (await node.bootstrap()).code == 0


@pytest.mark.accepts("A11", "A12")
async def test_an_api_server_that_recovers_in_time_is_believed(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.node.write(INSTALLER_ENV, 'KUBELET_IMAGE_TAG="v1.7.3_coreos.0"\n')
        node.box.api.faults.extend([Fault.UNAVAILABLE, Fault.UNAVAILABLE])
        await node.bootstrap("--api-retry-for=20s")
        assert (await node.status())["plan"]["target"]["kube_version"] == "v1.8.4+coreos.0"


@pytest.mark.accepts("A12")
@pytest.mark.parametrize(
    ("installer", "word"),
    [
        (None, "No such file"),
        ('KUBELET_IMAGE_URL="x"\n', "KUBELET_IMAGE_TAG"),
        ("KUBELET_IMAGE_TAG=latest\n", "latest"),
    ],
    ids=["missing", "no-tag", "no-version"],
)
async def test_where_nobody_knows_the_version_both_reasons_are_told(
    bench: OpenBench, installer: str | None, word: str
) -> None:
    async with bench(QUIET) as node:
        node.box.api.fault = Fault.UNAVAILABLE
        node.path(INSTALLER_ENV).unlink()
        if installer is not None:
            node.box.node.write(INSTALLER_ENV, installer)
        await assert_refused(
            node, EX_UNAVAILABLE, "cannot be determined", "503", INSTALLER_ENV, word, "--force-kube-version"
        )


@pytest.mark.accepts("A7")
async def test_a_forced_version_that_is_none_is_a_wrong_configuration(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        ended = await node.bootstrap("--force-kube-version=latest")
        node.assert_failed(ended, EX_CONFIG, "--force-kube-version", "latest")


BAD_MAPPINGS = {
    "wrong-kind": ("kind: VersionManifestV2\nversions:\n  k8s: {}\n", ["kind", "VersionManifestV1"]),
    "no-version": ('kind: VersionManifestV1\nversions:\n  k8s:\n    "1.6":\n      docker: ["1.12"]\n', ["1.8", "1.6"]),
    "no-package": ('kind: VersionManifestV1\nversions:\n  k8s:\n    "1.8":\n      rkt: ["1.0"]\n', ["docker", "1.8"]),
    "empty-list": ('kind: VersionManifestV1\nversions:\n  k8s:\n    "1.8":\n      docker: []\n', ["docker"]),
    "not-yaml": ("kind: [\n", ["YAML"]),
    "empty": ("", ["kind"]),
}


@pytest.mark.accepts("A13", "A14")
@pytest.mark.parametrize("case", BAD_MAPPINGS)
async def test_wrong_mappings_of_the_cluster_end_the_run_and_are_not_replaced(bench: OpenBench, case: str) -> None:
    text, words = BAD_MAPPINGS[case]
    async with bench(QUIET) as node:
        node.set_mappings(text)
        await assert_refused(node, EX_DATAERR, "tectonic-system/tectonic-torcx-runtime-mappings", *words)


@pytest.mark.accepts("A13", "A15")
@pytest.mark.parametrize("case", ["wrong-kind", "no-version", "no-package"])
async def test_wrong_mappings_of_the_installer_end_the_run(bench: OpenBench, case: str) -> None:
    text, words = BAD_MAPPINGS[case]
    async with bench(replace(QUIET, api_server=False)) as node:
        node.box.node.write(INSTALLER_MAPPINGS, text)
        await assert_refused(node, EX_DATAERR, INSTALLER_MAPPINGS, *words)


@pytest.mark.accepts("A13")
@pytest.mark.parametrize("case", ["wrong-kind"])
async def test_wrong_mappings_given_by_hand_end_the_run(bench: OpenBench, case: str) -> None:
    text, words = BAD_MAPPINGS[case]
    async with bench(replace(QUIET, api_server=False)) as node:
        node.box.node.write("/my/versions.yaml", text)
        await assert_refused(
            node, EX_DATAERR, "/my/versions.yaml", *words, flags=("--version-manifest=/my/versions.yaml",)
        )


@pytest.mark.accepts("A13")
async def test_a_version_that_the_built_in_mappings_do_not_know_ends_the_run(bench: OpenBench) -> None:
    async with bench(replace(QUIET, api_server=False)) as node:
        await assert_refused(
            node, EX_DATAERR, "built-in versions.yaml", "1.23", flags=("--force-kube-version=v1.23.0",)
        )


@pytest.mark.accepts("A18")
async def test_a_manifest_without_an_accepted_docker_names_both_sides(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.set_mappings('kind: VersionManifestV1\nversions:\n  k8s:\n    "1.8":\n      docker: ["18.06"]\n')
        await assert_refused(node, EX_DATAERR, "1520.8.0", "17.03, 1.12", "18.06")


@pytest.mark.accepts("A15", "A22")
@pytest.mark.parametrize("data", [{}, {"other": "x"}], ids=["empty", "other-key"])
async def test_a_config_map_without_the_key_counts_as_absent(bench: OpenBench, data: dict[str, str]) -> None:
    async with bench(QUIET) as node:
        node.box.api.put_config_map("tectonic-system", "tectonic-torcx-runtime-mappings", data)
        node.box.node.write(
            INSTALLER_MAPPINGS, 'kind: VersionManifestV1\nversions:\n  k8s:\n    "1.8": {docker: ["1.12"]}\n'
        )
        assert (await node.bootstrap()).code == 0
        assert node.box.reboots == 0


@pytest.mark.accepts("A23", "A24")
async def test_a_token_that_is_not_there_counts_as_an_api_server_that_fails(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.node.write(KUBECONFIG, edited(node, "users", 0, "user", value={"tokenFile": "/nowhere/token"}))
        ended = await node.bootstrap()
        assert "users[0].user.tokenFile" in ended.stderr
        assert "/nowhere/token" in ended.stderr
        assert node.box.reboots == 1


async def test_no_secret_of_the_kubeconfig_is_ever_told(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.secrets += [token := "s3cr3t-t0k3n-0f-a-kubelet", "pw-secret"]
        api = ApiServer(token=token)
        async with api.serve() as server:
            for url, fault in ((server.url, Fault.UNAUTHORIZED), (server.url.replace("//", "//u:pw-secret@"), None)):
                api.fault = fault
                node.box.node.write(KUBECONFIG, api.kubeconfig(url))
                await node.torcxd("plan", "--api-retry-for=0.2s", "--verbose=debug", *node.box.flags)
            api.fault = Fault.FORBIDDEN
            node.box.node.write(KUBECONFIG, api.kubeconfig(server.url))
            assert (await node.to_the_end("--verbose=debug")).code == 0
            assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {token}"}
