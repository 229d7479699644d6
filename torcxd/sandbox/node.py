"""A Container Linux node in a folder: its files, and what a boot makes of them."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torcxd.paths import Layout
from torcxd.sandbox import torcx

# The alias under which every OS version's vendor profile names its own Docker.
VENDOR_ALIAS: Final = "com.coreos.cl"
_IMAGE_URL: Final = "quay.io/coreos/hyperkube"


@dataclass(frozen=True, slots=True)
class VendorDocker:
    """The Docker that is part of an OS version's image.

    :param image: the torcx image's bytes.
    """

    reference: str
    image: bytes


class Node:
    """The folder. Everything below ``layout.root`` is the node's; :meth:`boot` does what a machine does by itself.

    :param vendor: each OS version's own Docker, by version.
    :ivar os_version: what runs.
    :ivar pending: the OS version that the next boot brings, None for the same again.
    :ivar boots: how often it has booted.
    """

    def __init__(self, root: Path, *, os_version: str, board: str, vendor: dict[str, VendorDocker]) -> None:
        self.layout = Layout(root)
        self.os_version = os_version
        self.board = board
        self.pending: str | None = None
        self.boots = 0
        self._vendor = vendor

    def write(self, path: str, content: str | bytes) -> Path:
        """Write the node's file *path* (absolute on the node), with its folders."""
        target = self.layout.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def install(self, *, kube_version: str) -> None:
        """Everything that the OS image and the installer bring before the first boot.

        :param kube_version: the version that the installer knows.
        """
        self._install_os()
        tag = kube_version.replace("+", "_")
        self.write(
            "/etc/kubernetes/installer/kubelet.env",
            f'KUBELET_IMAGE_URL="{_IMAGE_URL}"\nKUBELET_IMAGE_TAG="{tag}"\n',
        )
        self.write("/var/lib/docker/image-store", "layers of the Docker that ran before\n")

    def boot(self, *, clean_docker: bool = False) -> str:
        """Come up again: a pending OS version runs, /run is empty, torcx applies its profiles, and the units that are
        enabled run before Docker does.

        :param clean_docker: whether somebody removes Docker's data on the way.
        :returns: why torcx applied nothing, empty when it did.
        """
        if clean_docker:
            shutil.rmtree(self.layout.docker_data, ignore_errors=True)
        for volatile in ("/run/torcx", "/run/metadata"):
            shutil.rmtree(self.layout.at(volatile), ignore_errors=True)
        if self.pending is not None:
            self.os_version, self.pending = self.pending, None
            self._install_os()
        self.boots += 1
        self.write("/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
        problem = torcx.apply(self.layout.root, self.os_version)
        self._clean_docker()
        return problem

    def _clean_docker(self) -> None:
        """What the unit does that torcxd has enabled, and which it describes: its script would not stay in the folder.

        systemd finds the unit only where its link is there and leads to a file.
        """
        link = self.layout.at("/etc/systemd/system/multi-user.target.wants/torcxd-docker-cleanup.service")
        due, sealed = self.layout.at("/var/lib/torcx/docker-cleanup-due"), self.layout.at("/run/torcx/profile.json")
        if not (link.exists() and due.exists() and sealed.exists()):
            return
        applied = "".join(sealed.read_text().split())
        if any(each in applied for each in due.read_text().splitlines()):
            shutil.rmtree(self.layout.docker_data, ignore_errors=True)
            due.unlink()

    def add_vendor(self, os_version: str, docker: VendorDocker) -> None:
        """There is one more OS version that the node can boot into."""
        self._vendor[os_version] = docker

    def offer(self, os_version: str, *, like: str) -> None:
        """Let there be another OS version, whose own Docker is that of the version *like*."""
        self._vendor[os_version] = self._vendor[like]

    def vendored(self, os_version: str) -> set[str]:
        """The names of the image files in an OS version's own store."""
        docker = self._vendor[os_version].reference
        return {f"docker:{reference}.torcx.tgz" for reference in (docker, VENDOR_ALIAS)}

    def _install_os(self) -> None:
        self.write(
            "/usr/lib/os-release",
            f'NAME="Container Linux by CoreOS"\nID=coreos\nVERSION={self.os_version}\nVERSION_ID={self.os_version}\n'
            f'PRETTY_NAME="Container Linux by CoreOS {self.os_version} (Ladybug)"\nCOREOS_BOARD="{self.board}"\n',
        )
        store = self.layout.at("/usr/share/torcx/store")
        shutil.rmtree(store, ignore_errors=True)
        docker = self._vendor[self.os_version]
        self.write(f"/usr/share/torcx/store/docker:{docker.reference}.torcx.tgz", docker.image)
        alias = store / f"docker:{VENDOR_ALIAS}.torcx.tgz"
        alias.symlink_to(f"docker:{docker.reference}.torcx.tgz")
        images = [{"name": "docker", "reference": VENDOR_ALIAS}]
        profile = {"kind": "profile-manifest-v0", "value": {"images": images}}
        self.write("/usr/share/torcx/profiles/vendor.json", json.dumps(profile))
