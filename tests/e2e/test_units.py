"""The units, as the real systemd reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.machine import Machine
from tests.e2e.tree import PROJECT

pytestmark = pytest.mark.e2e

UNITS = ["k8s-node-bootstrap.service", "container/k8s-node-bootstrap.service", "kubelet.service", "torcxd.service"]
# How exposed systemd-analyze finds the daemon at most: 1.9 of 10, as docs/operations.md says.
EXPOSURE = 19


@pytest.mark.accepts("A34", "C3", "C9")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(new_machine: Callable[[], Machine], name: str) -> None:
    machine = new_machine()
    unit = f"/etc/systemd/system/{name.rpartition('/')[2]}"
    machine.write(unit, (PROJECT / "systemd" / name).read_text(encoding="utf-8"))
    # What a Container Linux node has and a Debian tree has not: systemd looks whether the programs exist.
    for program in ("/usr/bin/docker", "/usr/lib/coreos/kubelet-wrapper"):
        machine.write(program, "#!/bin/sh\n", mode=0o755)
    done = machine.execute("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", unit, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.accepts("C4", "C7", "C9")
def test_the_presets_enable_what_the_install_sections_say(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    for name in ("k8s-node-bootstrap.service", "kubelet.service", "torcxd.service"):
        machine.write(f"/etc/systemd/system/{name}", (PROJECT / "systemd" / name).read_text(encoding="utf-8"))
    preset = "50-tectonic-node.preset"
    machine.write(f"/etc/systemd/system-preset/{preset}", (PROJECT / "systemd/preset" / preset).read_text("utf-8"))
    machine.execute("systemctl", "preset-all")
    wants = machine.path("/etc/systemd/system")
    enabled = {str(each.relative_to(wants)) for each in wants.glob("*.wants/*") if "e2e" not in each.name}
    assert {
        "multi-user.target.wants/k8s-node-bootstrap.service",
        "kubelet.service.wants/k8s-node-bootstrap.service",
        "multi-user.target.wants/kubelet.service",
        "multi-user.target.wants/torcxd.service",
        "k8s-node-bootstrap.service.wants/torcxd.service",
    } <= enabled


def test_the_daemon_is_no_more_exposed_than_documented(new_machine: Callable[[], Machine]) -> None:
    machine = new_machine()
    machine.write("/etc/systemd/system/torcxd.service", (PROJECT / "systemd/torcxd.service").read_bytes())
    analyze = ("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "torcxd.service")
    done = machine.execute(*analyze, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Overall exposure level for torcxd.service: {EXPOSURE / 10}" in done.stdout
