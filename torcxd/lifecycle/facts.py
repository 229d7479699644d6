"""What is known: the target that gathering found, the set that the manifests name, and what runs now.

All plain, immutable data; it is what the state file stores. Versions are strings as the systems spell them
(``1576.4.0``, ``v1.8.4+coreos.0``, ``17.03``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torcxd.lifecycle.catalog import Digest


@dataclass(frozen=True, slots=True)
class OsUpdate:
    """What update_engine was seen to do.

    :param version: the coming OS version; None when there is none, or when it is not known.
    :param pending: it is installed and waits for the reboot; a pending update without a version is one that
        update_engine has forgotten the name of.
    :param installation: which installation it is that is pending, in one opaque word: another one, also of the same
        version, has another. Empty where none is pending, and where it cannot be told.
    """

    version: str | None
    pending: bool
    installation: str = ""

    @property
    def unknown(self) -> bool:
        """Something is coming, and nobody knows what: nothing may be called prepared (I4)."""
        return self.pending and self.version is None

    def names(self, seen: OsUpdate) -> bool:
        """Whether this, on record, is the installation of *seen*, whose version nobody says any more.

        Where no marker is seen, or none was as this was recorded, the record's word has to do. An update that was only
        announced then is not the one that is installed now.
        """
        if not seen.installation or (self.pending and not self.installation):
            return True
        return self.installation == seen.installation


@dataclass(frozen=True, slots=True)
class Target:
    """What the node should become, as gathered from the OS, update_engine and the cluster.

    :param next_os: the version that the next boot brings, None when no update is pending.
    :param next_pending: whether that update is installed; False while update_engine still works on it.
    :param docker_preferences: the Docker versions that the Kubernetes version accepts, best first.
    :param kube_source, mappings_source: where the version and the mappings came from, for people.
    :param stage: whether torcx is set up at all (``--torcx-skip-setup``).
    :param installation: :attr:`OsUpdate.installation` of the pending update.
    """

    board: str
    current_os: str
    next_os: str | None
    kube_version: str
    kube_source: str
    docker_preferences: tuple[str, ...]
    mappings_source: str
    stage: bool = True
    next_pending: bool = True
    installation: str = ""

    @property
    def os_update(self) -> OsUpdate:
        """What was known of update_engine when the target was gathered, or heard of the same version since."""
        return OsUpdate(self.next_os, self.next_pending and self.next_os is not None, self.installation)

    @property
    def coming_os(self) -> str:
        """The OS version that runs after the next boot."""
        return self.next_os or self.current_os

    def same_as(self, other: Target) -> bool:
        """Whether both name the same thing to reach; where the facts came from does not matter."""
        return (
            self.board,
            self.current_os,
            self.next_os,
            self.kube_version,
            self.docker_preferences,
            self.stage,
        ) == (other.board, other.current_os, other.next_os, other.kube_version, other.docker_preferences, other.stage)


@dataclass(frozen=True, slots=True)
class Image:
    """One addon image that one OS version needs.

    :param urls: where it can be downloaded, best first; empty when the OS image carries it.
    :param vendor_path: its path in the OS image's own store: nothing is fetched then.
    """

    os_version: str
    name: str
    reference: str
    digest: Digest
    urls: tuple[str, ...] = ()
    vendor_path: str | None = None

    @property
    def label(self) -> str:
        return f"{self.name}:{self.reference} for {self.os_version}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The target and, once the manifests were read, the exact set of images that reaches it.

    :param boot_os: the OS version that must run before kubelet.env may be published. It is the coming one, unless
        that one was rolled back too often.
    :param docker: the chosen Docker reference; None when nothing is to be staged.
    :param resolved: whether ``docker`` and ``images`` are final.
    """

    target: Target
    boot_os: str
    docker: str | None = None
    images: tuple[Image, ...] = ()
    resolved: bool = False

    @property
    def key(self) -> str:
        """Names what a boot must bring; reboots are counted by it (I7)."""
        return f"os {self.boot_os}, docker {self.docker or '(any)'}"

    @property
    def outcome(self) -> str:
        """What a boot must bring, for people; :attr:`key` is for programs, and never changes."""
        return f"OS {self.boot_os}, Docker {self.docker or '(any)'}"


@dataclass(frozen=True, slots=True)
class Running:
    """What the node runs now.

    :param docker: the Docker reference of the sealed profile with vendor aliases resolved; None when torcx sealed
        no profile or the profile has no Docker.
    :param intact: whether the stores and the profile on disk still hold the recorded set.
    :param detail: for people: why ``docker`` is None or ``intact`` is False.
    """

    os_version: str
    docker: str | None
    intact: bool
    detail: str = ""

    def matches(self, plan: Plan) -> bool:
        """Whether this is the system that *plan* wants, so that kubelet.env may be published (I1)."""
        return self.intact and self.applies(plan)

    def applies(self, plan: Plan) -> bool:
        """Whether OS and Docker are those of *plan*, whatever the disk holds."""
        return self.os_version == plan.boot_os and not self.lacks_docker(plan)

    def lacks_docker(self, plan: Plan) -> bool:
        """Whether another Docker than the one of *plan* is applied, or none."""
        return plan.docker is not None and self.docker != plan.docker
