"""The manifests in ``deploy/``: whole, and made for the program that they run."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from tests.kustomize import DEPLOY, DEPLOYMENTS, deployment, identity
from tests.unit.test_units import MOUNTS
from torcxd import __version__
from torcxd.cli import parser
from torcxd.daemon.cluster import CONFIG_MAP, CONFIG_MAP_KEY
from torcxd.kube.mappings import builtin_mappings, parse_mappings
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR
from torcxd.lifecycle.versions import KubeVersion
from torcxd.paths import Layout
from torcxd.settings import BY_NAME

# Of the published schemas the oldest and the newest; what is used here has been the same since 1.9.
SCHEMAS = ["1.25", "1.37"]
OPERATORS = {"cluo": CONTAINER_LINUX, "fluo": FLATCAR}


def daemon_set(name: str) -> dict[str, Any]:
    (found,) = (each for each in deployment(name) if each["kind"] == "DaemonSet")
    return found


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = daemon_set(name)["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    return dict(found)


def mounts(name: str) -> set[str]:
    """The host's paths in the container, as ``docker run -v`` writes them."""
    host = {each["name"]: each["hostPath"]["path"] for each in pod(name)["volumes"] if "hostPath" in each}
    return {
        f"{host[each['name']]}:{each['mountPath']}{':ro' if each.get('readOnly') else ''}"
        for each in container(name)["volumeMounts"]
        if each["name"] in host
    }


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_objects_have_the_published_shape(name: str, version: str) -> None:
    for each in deployment(name):
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_nothing_is_named_that_is_not_there(name: str) -> None:
    objects = deployment(name)
    there = {identity(each) for each in objects}
    account = ("ServiceAccount", "tectonic-system", pod(name)["serviceAccountName"])
    assert account in there
    for each in objects:
        if "roleRef" in each:
            namespace = each["metadata"].get("namespace", "") if each["roleRef"]["kind"] == "Role" else ""
            assert (each["roleRef"]["kind"], namespace, each["roleRef"]["name"]) in there
            (subject,) = each["subjects"]
            assert (subject["kind"], subject["namespace"], subject["name"]) == account
    labels = daemon_set(name)["spec"]["template"]["metadata"]["labels"]
    assert daemon_set(name)["spec"]["selector"]["matchLabels"] == labels
    volumes = {each["name"] for each in pod(name)["volumes"]}
    assert volumes == {each["name"] for each in container(name)["volumeMounts"]}


def test_each_folder_is_part_of_a_deployment() -> None:
    folders = {str(each.parent.relative_to(DEPLOY)) for each in DEPLOY.rglob("*.yaml")}
    assert folders == {"base", "hook", *DEPLOYMENTS}


@pytest.mark.accepts("A26", "A37")
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_hook_comes_with_the_operators_label(operator: str) -> None:
    assert pod(f"overlays/hook-{operator}")["nodeSelector"] == {OPERATORS[operator].before_reboot: "true"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_node_is_served_whatever_taints_it_has(name: str) -> None:
    assert {each["effect"] for each in pod(name)["tolerations"] if each["operator"] == "Exists"} == {
        "NoSchedule",
        "NoExecute",
    }


@pytest.mark.accepts("A37")
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_hook_takes_its_flags(operator: str) -> None:
    described = container(f"overlays/hook-{operator}")
    assert described["command"][0].endswith("/tectonic-torcx-hook-pre")
    taken = parser.build_original_hook().parse_args(described["args"])
    assert taken.sleep > 0
    assert taken.node_annotation == "tectonic-torcx-pre-hook-ok"
    assert taken.kubeconfig == ""


def test_the_daemon_takes_its_flags() -> None:
    described = container("daemon")
    program, *command = described["command"]
    assert program.endswith("/torcxd")
    taken = parser.build().parse_args([*command, *described["args"]])
    assert (taken.command, taken.kubeconfig) == ("run", "")
    assert taken.keyring == BY_NAME["keyring"].default


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_node_is_told_and_the_image_is_this_version(name: str) -> None:
    described = container(name)
    assert {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}} in described["env"]
    assert described["image"] == f"torcxd:{__version__}"


@pytest.mark.accepts("A31")
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_hook_has_the_documented_mounts_and_the_keys(operator: str) -> None:
    assert mounts(f"overlays/hook-{operator}") == {*MOUNTS, "/etc/torcxd/pubring.gpg:/pubring.gpg:ro"}


def test_the_daemon_keeps_its_record_on_the_node() -> None:
    layout = Layout()
    written = {layout.state_directory, layout.torcx_state, layout.sources_file.parent}
    assert {f"{each}:{each}" for each in written} <= mounts("daemon")


@pytest.mark.accepts("A14")
def test_the_mappings_say_what_is_built_in_and_more() -> None:
    (found,) = (each for each in deployment("daemon") if each["kind"] == "ConfigMap")
    assert identity(found) == ("ConfigMap", "tectonic-system", CONFIG_MAP)
    mappings = parse_mappings(found["data"][CONFIG_MAP_KEY], "deploy/base/runtime-mappings.yaml")
    for version in ("v1.6.13", "v1.7.16", "v1.8.15", "v1.9.11"):
        parsed = KubeVersion.parse(version)
        assert mappings.docker_for(parsed) == builtin_mappings().docker_for(parsed)
    for minor in range(10, 24):
        assert mappings.docker_for(KubeVersion.parse(f"v1.{minor}.0"))
