"""The bootstrap in a container: it sees the node through exactly the mounts that its users give it.

The container is systemd's: a root directory of its own, made of the same two layers as the machine, into which the
mounts of the container unit are bound, read-only where that says so. As a container's, the root is gone after the boot.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine
from tests.e2e.tectonic import BOOTSTRAP, KUBELET_ENV, NEW_OS, OTHER_DOCKER, WANTED_DOCKER, tectonic_site
from tests.e2e.tree import PROJECT

pytestmark = pytest.mark.e2e

_IMAGE = "/run/image/root"
_IMAGE_UNIT = f"""\
[Unit]
Description=Mount the container's image

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/mkdir -p {_IMAGE} /run/image/upper /run/image/work
ExecStart=/usr/bin/mount -t overlay overlay {_IMAGE} \\
    -o lowerdir=/var/lib/image:/layers/torcxd:/layers/debian,upperdir=/run/image/upper,workdir=/run/image/work
"""


# The original's mounts, as the README shows them for those who had it, and those of the container unit.
README = PROJECT / "README.md"
UNIT = PROJECT / "systemd/container/k8s-node-bootstrap.service"


def documented_mounts(document: Path) -> list[tuple[str, str, bool]]:
    """The mounts of the ``docker run`` in *document*: source, target, read-only."""
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"^ +-v ([^:\s]+):([^:\s]+?)(:ro)? \\$", text, re.MULTILINE)
    return [(source, target, bool(read_only)) for source, target, read_only in found]


def in_container(document: Path, command: str) -> str:
    """A drop-in that runs the bootstrap unit's *command* in the container with the mounts of *document*."""
    binds = [
        f"{'BindReadOnlyPaths' if read_only else 'BindPaths'}={source}:{target}"
        for source, target, read_only in documented_mounts(document)
    ]
    return "\n".join(
        [
            "[Unit]",
            "Requires=image.service",
            "After=image.service",
            "[Service]",
            f"RootDirectory={_IMAGE}",
            # Not MountAPIVFS=: a container has its kernel's boot id, and this machine's lies over that in /proc.
            *(f"BindPaths={each}" for each in ("/proc", "/sys", "/dev")),
            "TemporaryFileSystem=/tmp",
            *binds,
            # As in the Dockerfile.
            "Environment=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "EnvironmentFile=",
            "ExecStartPre=",
            f"ExecStartPre={command}",
            "",
        ]
    )


@pytest.mark.accepts("A31", "A37", "C20")
@pytest.mark.parametrize("document", [README, UNIT], ids=["original", "unit"])
async def test_it_bootstraps_a_node_from_a_container(
    new_machine: Callable[[], Machine], layers: tuple[Path, Path], document: Path
) -> None:
    machine = new_machine()
    for name, layer in zip(("torcxd", "debian"), layers, strict=True):
        machine.bind(layer, f"/layers/{name}")
    async with tectonic_site(machine, docker=OTHER_DOCKER, update=True) as site:
        authority = machine.path("/usr/local/share/ca-certificates/bucket.crt")
        machine.write("/usr/share/ca-certificates/ca-certificates.crt", authority.read_bytes())
        # What is not there when a container starts, its engine makes.
        for directory in ("/etc/coreos", "/etc/torcx", "/etc/kubernetes", "/var/lib/torcx"):
            machine.path(directory).mkdir(parents=True, exist_ok=True)
            machine.path("/var/lib/image" + directory).mkdir(parents=True)
        flags = "--verbose=debug"
        if document == UNIT:
            flags += " --keyring=/etc/torcxd/pubring.gpg"
            machine.path("/var/lib/torcxd").mkdir()
            for directory in ("/etc/torcxd", "/var/lib/torcxd"):
                machine.path("/var/lib/image" + directory).mkdir(parents=True)
        else:
            keyring = machine.path("/etc/torcxd/pubring.gpg")
            machine.write("/var/lib/image/pubring.gpg", keyring.read_bytes())
            keyring.unlink()
        machine.write("/etc/systemd/system/image.service", _IMAGE_UNIT)
        command = (
            f"/opt/torcxd/bin/tectonic-torcx-bootstrap {flags} --torcx-manifest-url={site.bucket.manifest_template}"
        )
        machine.write(f"/etc/systemd/system/{BOOTSTRAP}.d/container.conf", in_container(document, command))
        async with machine.running():
            kubelet = await machine.event("kubelet")
            assert kubelet.boot == 2
            await machine.power_off()
    assert machine.path(KUBELET_ENV).exists()
    assert machine.path(f"/var/lib/torcx/store/{NEW_OS}/docker:{WANTED_DOCKER}.torcx.tgz").exists()
    docker = {each.boot: each.fields["data"] for each in machine.events if each.name == "docker"}
    assert docker == {1: "kept", 2: "gone"}
    # What reached the node did so through the mounts.
    assert machine.path("/var/lib/torcxd/state.json").exists() is (document == UNIT)
