"""The systemd units: the directives that the flow's document and its users rely on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from torcxd import __version__

PROJECT = Path(__file__).resolve().parents[2]
SYSTEMD = PROJECT / "systemd"
BOOTSTRAP_UNITS = ["k8s-node-bootstrap.service", "container/k8s-node-bootstrap.service"]
# The mounts under which the original is documented to run in a container.
MOUNTS = [
    "/usr/share:/usr/share:ro",
    "/usr/lib/os-release:/usr/lib/os-release:ro",
    "/usr/share/ca-certificates/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro",
    "/var/lib/torcx:/var/lib/torcx",
    "/run/torcx:/run/torcx:ro",
    "/run/metadata:/run/metadata:ro",
    "/var/run/dbus:/var/run/dbus",
    "/etc/coreos:/etc/coreos:ro",
    "/etc/torcx:/etc/torcx",
    "/etc/kubernetes:/etc/kubernetes",
]


def directives(name: str) -> dict[str, list[str]]:
    """A unit's directives, ``Section.Key`` to its values in order; see systemd.syntax(7)."""
    text = (SYSTEMD / name).read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    section = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


@pytest.mark.accepts("A34", "C3")
@pytest.mark.parametrize("name", BOOTSTRAP_UNITS)
def test_the_bootstrap_unit_has_the_documented_directives(name: str) -> None:
    unit = directives(name)
    assert unit["Unit.ConditionPathExists"] == ["!/etc/kubernetes/kubelet.env"]
    assert unit["Unit.Before"] == ["kubelet.service"]
    assert unit["Service.Restart"] == ["on-failure"]
    assert unit["Service.ExecStart"] == ['/usr/bin/echo "node components bootstrapped"']
    assert unit["Install.WantedBy"] == ["multi-user.target kubelet.service"]


@pytest.mark.parametrize("name", BOOTSTRAP_UNITS)
def test_the_bootstrap_unit_has_the_installers_directives(name: str) -> None:
    unit = directives(name)
    assert unit["Service.Type"] == ["simple"]
    assert unit["Service.RemainAfterExit"] == ["yes"]
    assert unit["Service.RestartSec"] == ["10"]
    assert unit["Service.TimeoutStartSec"] == ["1h"]
    for key in ("Unit.Wants", "Unit.After"):
        assert {"network-online.target", "update-ca-certificates.service"} <= set(unit[key][0].split())


@pytest.mark.accepts("C4")
@pytest.mark.parametrize("name", BOOTSTRAP_UNITS)
def test_no_start_limit_ends_the_retries(name: str) -> None:
    assert directives(name)["Unit.StartLimitIntervalSec"] == ["0"]


@pytest.mark.accepts("C4", "C9")
def test_both_units_of_a_node_are_enabled_by_default() -> None:
    preset = (SYSTEMD / "preset/50-tectonic-node.preset").read_text(encoding="utf-8").splitlines()
    assert {"enable k8s-node-bootstrap.service", "enable kubelet.service"} <= set(preset)


@pytest.mark.accepts("C5")
def test_the_work_is_done_before_the_unit_counts_as_started() -> None:
    unit = directives("k8s-node-bootstrap.service")
    assert unit["Service.ExecStartPre"] == ["/opt/torcxd/bin/torcxd bootstrap"]


@pytest.mark.accepts("A31")
def test_the_container_has_exactly_the_documented_mounts() -> None:
    command = directives("container/k8s-node-bootstrap.service")["Service.ExecStartPre"][-1]
    assert command.startswith("/usr/bin/docker run ")
    assert re.findall(r" -v (\S+)", command) == MOUNTS
    assert "--tmpfs /tmp " in command


@pytest.mark.accepts("A38")
def test_proxy_variables_reach_the_program() -> None:
    assert directives("k8s-node-bootstrap.service")["Service.EnvironmentFile"] == ["-/etc/torcxd/environment"]
    container = directives("container/k8s-node-bootstrap.service")
    assert container["Service.EnvironmentFile"] == ["-/etc/torcxd/environment"]
    passed = re.findall(r"--env (\S+)", container["Service.ExecStartPre"][-1])
    assert {each.upper() for each in passed} == {"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}
    assert len(passed) == 6


def test_the_container_unit_names_this_version_of_the_image() -> None:
    assert directives("container/k8s-node-bootstrap.service")["Service.Environment"] == [
        f"TORCXD_IMAGE=torcxd:{__version__}"
    ]


@pytest.mark.accepts("C7", "C9")
def test_the_kubelet_has_the_documented_directives() -> None:
    unit = directives("kubelet.service")
    assert "/etc/kubernetes/kubelet.env" in unit["Service.EnvironmentFile"]
    assert unit["Service.ExecStart"][0].startswith("/usr/lib/coreos/kubelet-wrapper ")
    assert unit["Service.Restart"] == ["always"]
    assert unit["Unit.StartLimitIntervalSec"] == ["0"]
    assert unit["Install.WantedBy"] == ["multi-user.target"]
