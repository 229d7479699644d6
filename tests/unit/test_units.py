"""The systemd units: the directives that the flow's document and its users rely on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import commands
from torcxd import __version__
from torcxd.errors import EX_CONFIG
from torcxd.paths import Layout
from torcxd.settings import BY_NAME

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
# What the unit mounts besides: keys and configuration of the node, and the record.
OWN_MOUNTS = ["/etc/torcxd:/etc/torcxd:ro", "/var/lib/torcxd:/var/lib/torcxd"]


# What the daemon has to write: torcx's stores, staging and profile, kubelet.env, its own state.
DAEMON_WRITES = {
    "/etc/kubernetes",
    "-/etc/torcx",
    "-/var/lib/torcx",
    "-/var/lib/torcxd",
    "-/run/torcxd",
}
# What takes powers away, and is either on or forgotten.
HARDENING = {
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
}


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
def test_the_units_of_a_node_are_enabled_by_default() -> None:
    preset = (SYSTEMD / "preset/50-tectonic-node.preset").read_text(encoding="utf-8").splitlines()
    assert {f"enable {each}.service" for each in ("k8s-node-bootstrap", "kubelet", "torcxd")} <= set(preset)


@pytest.mark.accepts("C5")
def test_the_work_is_done_before_the_unit_counts_as_started() -> None:
    unit = directives("k8s-node-bootstrap.service")
    assert unit["Service.ExecStartPre"] == ["/opt/torcxd/bin/torcxd bootstrap"]


@pytest.mark.accepts("A31")
def test_the_container_has_the_documented_mounts_its_keys_and_its_record() -> None:
    command = directives("container/k8s-node-bootstrap.service")["Service.ExecStartPre"][-1]
    assert command.startswith("/usr/bin/docker run ")
    assert re.findall(r" -v (\S+)", command) == MOUNTS + OWN_MOUNTS
    assert "--tmpfs /tmp " in command
    layout = Layout()
    assert str(layout.state_directory) == OWN_MOUNTS[1].partition(":")[0]
    assert f"--keyring={BY_NAME['keyring'].default} " in command
    assert Path(BY_NAME["keyring"].default).is_relative_to(OWN_MOUNTS[0].partition(":")[0])


@pytest.mark.accepts("A31")
def test_the_drop_in_for_the_original_needs_the_documented_mounts_only() -> None:
    (command,) = (each.text for each in commands(PROJECT / "README.md") if each.text.startswith("docker run "))
    assert re.findall(r" -v (\S+)", command) == MOUNTS


@pytest.mark.accepts("A38")
def test_proxy_variables_reach_the_program() -> None:
    for name in ("k8s-node-bootstrap.service", "torcxd.service"):
        assert directives(name)["Service.EnvironmentFile"] == ["-/etc/torcxd/environment"]
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


def test_the_daemon_comes_after_the_bootstrap_and_stays() -> None:
    unit = directives("torcxd.service")
    assert unit["Service.ExecStart"] == ["/opt/torcxd/bin/torcxd run"]
    assert unit["Unit.ConditionPathExists"] == ["/etc/kubernetes/kubelet.env"]
    assert "k8s-node-bootstrap.service" in unit["Unit.After"][0].split()
    # The bootstrap may succeed at any of its tries: each brings the daemon along.
    assert unit["Install.WantedBy"] == ["multi-user.target k8s-node-bootstrap.service"]
    assert unit["Unit.StartLimitIntervalSec"] == ["0"]
    assert unit["Service.Restart"] == ["on-failure"]
    assert unit["Service.RestartPreventExitStatus"] == [str(EX_CONFIG)]


def test_the_daemon_speaks_to_the_service_manager() -> None:
    unit = directives("torcxd.service")
    assert unit["Service.Type"] == ["notify"]
    assert unit["Service.WatchdogSec"] == ["2min"]
    assert unit["Service.ExecReload"] == ['/bin/sh -c "kill -HUP $MAINPID"']
    # It says that it is ready once update_engine was heard, which may be never.
    assert unit["Service.TimeoutStartSec"] == ["infinity"]


def test_the_daemon_writes_where_it_must_and_has_no_other_powers() -> None:
    unit = directives("torcxd.service")
    assert unit["Service.ProtectSystem"] == ["strict"]
    assert set(unit["Service.ReadWritePaths"][0].split()) == DAEMON_WRITES
    assert {key for key in HARDENING if unit.get(f"Service.{key}") == ["yes"]} == HARDENING
    assert unit["Service.CapabilityBoundingSet"] == ["CAP_DAC_READ_SEARCH"]
    assert unit["Service.RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]
    assert unit["Service.SystemCallFilter"] == ["@system-service", "~@privileged"]


def test_the_daemon_may_write_its_own_paths() -> None:
    layout = Layout()
    written = [
        layout.user_store,
        layout.staging,
        layout.next_profile,
        *layout.profile_directories()[2:],
        layout.state_file,
        layout.keyring_home,
        layout.sources_file,
        layout.docker_cleanup_unit,
        layout.docker_cleanup_due,
        Path(str(BY_NAME["kubelet_env_path"].default)),
    ]
    allowed = [Path(each.removeprefix("-")) for each in DAEMON_WRITES]
    assert [each for each in written if not any(each.is_relative_to(path) for path in allowed)] == []
