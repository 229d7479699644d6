"""A Container Linux node of a Tectonic cluster, as a machine: its OS, its units, and the servers around it.

The machine has the real units and a real system bus; its OS, its update_engine and its kubelet are stand-ins. The
bucket and the API server run in the test itself, on the loopback address that the machine shares.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.e2e.machine import Machine
from tests.e2e.tree import PROJECT
from torcxd.sandbox import update_engine
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.bucket import Bucket
from torcxd.sandbox.checker import Checker
from torcxd.sandbox.http_server import Server
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.keys import Keys
from torcxd.sandbox.node import VENDOR_ALIAS, Node, VendorDocker

BOARD: Final = "amd64-usr"
OLD_OS: Final = "1576.4.0"
NEW_OS: Final = "1632.3.0"
KUBERNETES: Final = "v1.8.4+coreos.0"
# What the built-in mappings prefer for KUBERNETES.
WANTED_DOCKER: Final = "17.03"
OTHER_DOCKER: Final = "1.12"

BOOTSTRAP: Final = "k8s-node-bootstrap.service"
KUBELET_ENV: Final = "/etc/kubernetes/kubelet.env"
_NODE: Final = Path(__file__).with_name("node")
# tcpmux, which nobody serves.
_NOBODY: Final = "https://127.0.0.1:1"
# A retry that waits for nothing but its turn: the tests are about what happens, not about when.
_IMPATIENT: Final = "[Service]\nRestartSec=100ms\n"


@dataclass(frozen=True, slots=True)
class Site:
    """The servers that a node talks to.

    :ivar judge: names what breaks an invariant on the disk of the machine, which is off; called at the end in any case.
    """

    bucket: Bucket
    bucket_server: Server
    api: ApiServer
    api_server: Server
    judge: Callable[[], list[str]]


@asynccontextmanager
async def tectonic_site(
    machine: Machine,
    *,
    docker: str,
    update: bool,
    api_server: bool = True,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """Make *machine* a node that was never bootstrapped, and serve what it needs while the block runs.

    :param docker: the Docker that is part of the old OS version, hence runs now.
    :param update: whether the update server offers the new OS version.
    :param api_server: False for the first node of a cluster: its kubeconfig names a server that does not run yet.
    :param environment: settings for torcxd.
    """
    with Keys() as keys:
        key = keys.make("builder")
        bucket = Bucket(key)
        api = ApiServer(version=KUBERNETES, token="e2e-token")
        # Old: 17.03 is there or in the bucket. New: its own Docker is newer than Kubernetes likes, so 17.03 is fetched.
        wanted = docker_image(WANTED_DOCKER)
        vendored = {f"/usr/share/torcx/store/{wanted.file_name}": wanted}
        if docker == WANTED_DOCKER:
            bucket.publish(BOARD, OLD_OS, vendored=vendored)
        else:
            bucket.publish(BOARD, OLD_OS, wanted)
        bucket.publish(BOARD, NEW_OS, docker_image("17.12"), wanted)
        async with bucket.serve() as server, api.serve() as api_serving:
            _install_os(machine, docker)
            _install_stand_ins(machine, update=update)
            _install_torcxd(machine)
            machine.write("/usr/local/share/ca-certificates/bucket.crt", bucket.authority.pem)
            machine.write("/etc/torcxd/pubring.gpg", key.armored)
            settings = {
                "TORCXD_TORCX_MANIFEST_URL": bucket.manifest_template,
                "TORCXD_API_RETRY_FOR": "1",
                **(environment or {}),
            }
            machine.write("/etc/torcxd/environment", "".join(f"{name}={value}\n" for name, value in settings.items()))
            url = api_serving.url if api_server else _NOBODY
            machine.write("/etc/kubernetes/kubeconfig", api.kubeconfig(url), mode=0o600)
            judge = partial(_judge, machine, bucket, key.fingerprint, docker)
            yield Site(bucket, server, api, api_serving, judge)
            violations = judge()
            assert not violations, "\n".join(violations)


def _judge(machine: Machine, bucket: Bucket, fingerprint: str, docker: str) -> list[str]:
    vendored = {OLD_OS: docker, NEW_OS: "17.12"}
    checker = Checker(
        machine.upper,
        signed=lambda: [(version, data) for by, version, data in bucket.signed if by == fingerprint],
        vendored=lambda version: [f"docker:{each}.torcx.tgz" for each in (vendored[version], VENDOR_ALIAS)],
        pending=lambda: None,
        requests=list,
        # Where the daemon serves it, the record is ahead of what ran.
        serving=machine.path("/etc/systemd/system/torcxd.service").exists(),
        powered_off=True,
    )
    return checker.check()


def _install_os(machine: Machine, docker: str) -> None:
    """The old OS version, and the new one's files where the boot finds them."""
    vendor = {
        OLD_OS: VendorDocker(docker, docker_image(docker).data),
        NEW_OS: VendorDocker("17.12", docker_image("17.12").data),
    }
    Node(machine.upper, os_version=OLD_OS, board=BOARD, vendor=vendor).install(kube_version=KUBERNETES)
    Node(machine.path("/var/lib/node/next-os"), os_version=NEW_OS, board=BOARD, vendor=vendor).install(
        kube_version=KUBERNETES
    )


def _install_stand_ins(machine: Machine, *, update: bool) -> None:
    machine.write("/var/lib/node/boot", (_NODE / "boot").read_bytes(), mode=0o755)
    machine.write("/usr/lib/coreos/kubelet-wrapper", (_NODE / "kubelet-wrapper").read_bytes(), mode=0o755)
    scenario = "update" if update else "no-update"
    machine.write("/etc/node.env", f"UPDATE_SCENARIO={scenario}\nNEXT_OS={NEW_OS}\n")
    machine.write("/etc/dbus-1/system.d/com.coreos.update1.conf", update_engine.POLICY)
    for unit in _NODE.glob("*.service"):
        machine.write(f"/etc/systemd/system/{unit.name}", unit.read_bytes())
    machine.enable("node-boot.service", "sysinit.target")
    machine.enable("docker.service", "multi-user.target")
    machine.enable("update-engine.service", "multi-user.target")


def _install_torcxd(machine: Machine) -> None:
    """The project's units; what enables them is their preset, which systemd applies in the first boot."""
    systemd = PROJECT / "systemd"
    for name in (BOOTSTRAP, "kubelet.service"):
        machine.write(f"/etc/systemd/system/{name}", (systemd / name).read_bytes())
        machine.write(f"/etc/systemd/system/{name}.d/e2e.conf", _IMPATIENT)
    preset = "50-tectonic-node.preset"
    machine.write(f"/etc/systemd/system-preset/{preset}", (systemd / "preset" / preset).read_bytes())


def starts_of(machine: Machine, name: str) -> list[int]:
    """In which boots the machine reported *name*."""
    return [each.boot for each in machine.events if each.name == name]
