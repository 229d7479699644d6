"""The world around the core, as small as it can be and still go wrong in every way: a node, its boots, its peers.

Three OS versions, two Dockers, two Kubernetes versions. The old OS's manifest offers Docker 17.03, its own image
carries 1.12, and so it is with the newer ones; Kubernetes 1.8 wants 17.03, and 1.7 wants 1.12.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final, NamedTuple

from torcxd.lifecycle.catalog import Digest, Location, Package, PackageManifest, PackageVersion
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.guards import MOST_BOOTS
from torcxd.lifecycle.mappings import Mappings

OLD: Final = "1520.8.0"
NEW: Final = "1576.4.0"
NEWEST: Final = "1632.3.0"
# They sort as text, too.
VERSIONS: Final = (OLD, NEW, NEWEST)
OWN: Final = "1.12"
OTHER: Final = "17.03"
KUBE: Final = ("v1.8.4", "v1.7.0")
PREFERRED: Final = {"v1.8.4": (OTHER, OWN), "v1.7.0": (OWN,)}
# How far boots in vain are counted: that another one is asked for after so many is what must not be.
MOST_VAIN: Final = MOST_BOOTS

NOTHING: Final = OsUpdate(None, pending=False)

Image = tuple[str, str]


class World(NamedTuple):
    """Everything outside the process.

    :param os: what runs.
    :param engine: update_engine: ``idle``, ``coming``, ``installed``, or ``forgot``: installed, of unknown version.
    :param newer: the OS version that it works on, or has installed; None where it is idle.
    :param marks: whether one installation can be told from another: it is its version then, for one of the same version
        brings the same.
    :param kube: which of :data:`KUBE` the cluster is at.
    :param staged, stored: images by OS version and Docker; ``stored`` have their final names.
    :param pin: the Docker that the user's profile pins for the next boot.
    :param sealed: the Docker that runs.
    :param data: whose data lie in /var/lib/docker; None where nobody can know.
    :param witnessed: whether the process has looked at what runs in this boot.
    :param cleanup: the Dockers in whose boot the data are to be removed.
    :param published: kubelet.env is there.
    :param asked: the targets of the reboots that were granted in this boot, and not lost.
    :param hook: the update operator asks for its check.
    :param answered: the success annotation is on the node.
    :param expected: what the next boot was asked, or allowed, for: the OS version and the Docker.
    :param tried: what boots did not bring, None when there was none in vain since the last that was not.
    :param vain: how many boots in a row did not bring that: the OS, and the Docker on it.
    """

    os: str = OLD
    engine: str = "idle"
    newer: str | None = None
    marks: bool = False
    kube: int = 0
    staged: frozenset[Image] = frozenset()
    stored: frozenset[Image] = frozenset()
    pin: str | None = None
    sealed: str | None = OWN
    data: str | None = OWN
    witnessed: bool = False
    cleanup: frozenset[str] = frozenset()
    published: bool = False
    asked: frozenset[str] = frozenset()
    hook: bool = False
    answered: bool = False
    expected: tuple[str, str | None] | None = None
    tried: tuple[str, str | None] | None = None
    vain: tuple[int, int] = (0, 0)

    @property
    def update(self) -> str | None:
        """The OS version that the next boot brings, if another one."""
        return self.newer if self.engine in ("installed", "forgot") else None

    @property
    def coming(self) -> str:
        return self.update or self.os

    @property
    def seen(self) -> OsUpdate:
        """What update_engine says."""
        if self.engine == "idle":
            return NOTHING
        if self.engine == "coming":
            return update(self.newer, pending=False)
        named = update(self.newer, pending=True, marks=self.marks)
        return forgotten(named) if self.engine == "forgot" else named

    def expecting(self, plan: Plan) -> World:
        """The next boot is asked, or allowed, for *plan*."""
        wanted = (plan.boot_os, plan.docker)
        if self.tried == wanted:
            return self._replace(expected=wanted)
        return self._replace(expected=wanted, tried=None, vain=(0, 0))

    def has(self, os_version: str, docker: str) -> bool:
        """Whether a store has the image for that OS version."""
        return docker == OWN or (os_version, docker) in self.stored

    def next_docker(self, os_version: str) -> str | None:
        """What torcx applies when *os_version* boots; None when it cannot."""
        docker = self.pin or OWN
        return docker if self.has(os_version, docker) else None


def inspect(world: World, plan: Plan | None) -> Running:
    """What the program finds on the node, compared with *plan*."""
    if plan is None or not plan.resolved:
        return running(world.os, world.sealed, intact=False)
    held = all(each.vendor_path or (each.os_version, each.reference) in world.stored for each in plan.images)
    return running(world.os, world.sealed, intact=held and plan.docker in (None, world.pin))


@cache
def update(version: str | None, pending: bool, marks: bool = False) -> OsUpdate:
    return OsUpdate(version, pending, version if marks and pending and version else "")


@cache
def forgotten(update: OsUpdate) -> OsUpdate:
    """An installed update whose version update_engine has forgotten."""
    return replace(update, version=None)


@cache
def running(os_version: str, docker: str | None, intact: bool) -> Running:
    return Running(os_version, docker, intact)


@cache
def target(os_version: str, coming: OsUpdate, kube: str, stage: bool = True) -> Target:
    """What gathering finds."""
    return Target(
        "amd64-usr",
        os_version,
        coming.version,
        kube,
        "the API server",
        PREFERRED[kube],
        "a ConfigMap",
        stage=stage,
        next_pending=coming.pending or coming.version is None,
        installation=coming.installation,
    )


@cache
def manifests() -> dict[str, PackageManifest]:
    """Each OS version's."""
    return {each: _manifest(each) for each in VERSIONS}


def _manifest(os_version: str) -> PackageManifest:
    digest = Digest("sha512", str(VERSIONS.index(os_version)) * 128)
    vendored = PackageVersion(OWN, digest, (Location(path=f"/usr/share/torcx/store/docker:{OWN}.torcx.tgz"),))
    fetched = PackageVersion(OTHER, digest, (Location(url="https://bucket.example/x"),))
    return PackageManifest({"docker": Package("docker", OTHER, (fetched, vendored))})


@cache
def mappings(kube: str) -> Mappings:
    """What a cluster's ConfigMap says that accepts for each minor version what *kube* would."""
    minors = (each[1:].rpartition(".")[0] for each in KUBE)
    return Mappings("a ConfigMap", {each: {"docker": PREFERRED[kube]} for each in minors})


def boot(world: World, *, rolled_back: bool = False, unsealed: bool = False) -> World:
    """The node goes down, in whatever way, and comes up.

    :param rolled_back: the boot loader falls back to the OS version that ran.
    :param unsealed: torcx fails, whatever its stores hold.
    """
    os_version = world.os if rolled_back else world.coming
    docker = None if unsealed else world.next_docker(os_version)
    cleans = docker in world.cleanup
    vain = _count(world, os_version, docker)
    return world._replace(
        os=os_version,
        engine="idle",
        newer=None,
        sealed=docker,
        # A Docker that runs makes data of its own.
        data=docker or (world.data if world.witnessed else None),
        witnessed=False,
        cleanup=frozenset() if cleans else world.cleanup,
        asked=frozenset(),
        hook=False,
        answered=False,
        expected=None,
        tried=None if vain == (0, 0) else world.expected or world.tried,
        vain=vain,
    )


def _count(world: World, os_version: str, docker: str | None) -> tuple[int, int]:
    if world.expected is None:
        return world.vain
    os_vain, docker_vain = world.vain
    if world.expected[0] != os_version:
        return min(os_vain + 1, MOST_VAIN), docker_vain
    if world.expected[1] not in (None, docker):
        return os_vain, min(docker_vain + 1, MOST_VAIN)
    return 0, 0
