"""The judge: is told of boots, requests and answers, reads the disk, and remembers what it saw before."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from torcxd.sandbox.checker.disk import Disk, Signed, is_older, parse_env, signed_images, state_problem
from torcxd.sandbox.checker.reboots import Reboots, Target

_TAG: Final = re.compile(r"v?\d+\.\d+\.\d+[A-Za-z0-9._-]*")
# How each entry of the history begins.
_ENTRY: Final = b'{"at":'


@dataclass(frozen=True, slots=True)
class Boot:
    """What ran in one boot.

    :param docker: the applied Docker reference, aliases resolved; None when torcx applied nothing.
    :param data_kept: whether Docker's data outlived the way into this boot.
    """

    os_version: str
    docker: str | None
    data_kept: bool


@dataclass(slots=True)
class Checker:
    """The judge of one node. It is told of boots and of requests to reboot, and reads everything else itself.

    :param root: the folder that stands for ``/``.
    :param signed: the manifests that a trusted key has signed so far, each with its OS version.
    :param vendored: the image file names in an OS version's own store.
    :param pending: the OS version that the next boot brings, None for the same again.
    :param requests: the records of login1 and systemd1, each with the boot id and, where known, the time (``at``).
    :param serving: a daemon serves the node after its bootstrap: the recorded plan is ahead of what runs until the node
        has booted into it, so kubelet.env is compared with it in the state ``done`` only.
    :param powered_off: the node is looked at when it is off: what torcx had applied is gone, and not judged.
    """

    root: Path
    signed: Callable[[], Iterable[tuple[str, bytes]]]
    vendored: Callable[[str], Iterable[str]]
    pending: Callable[[], str | None]
    requests: Callable[[], Iterable[Mapping[str, Any]]]
    serving: bool = False
    powered_off: bool = False
    violations: list[str] = field(default_factory=list)
    disk: Disk = field(init=False)
    _boots: list[Boot] = field(default_factory=list)
    _reboots: Reboots = field(default_factory=Reboots)
    _kept: set[Path] = field(default_factory=set)
    _data_of: str | None = None
    _env_seen: tuple[int, int] | None = None
    _damaged: bytes | None = None

    def __post_init__(self) -> None:
        self.disk = Disk(self.root)

    def fork(self) -> Checker:
        """A checker that knows what ran and what the next boot is for, and sees another course of things hence."""
        return replace(
            self,
            violations=[],
            _boots=list(self._boots),
            _reboots=Reboots(self._reboots.expected),
            _kept=set(self._kept),
        )

    # What it is told.

    def booted(self) -> None:
        """The node came up: compare with what ran before."""
        if self._boots:
            self._look_at_kubelet_env(self._boots[-1])
        now = Boot(self.disk.running_os(), self.disk.sealed_docker(), self.disk.has_docker_data())
        self._judge_docker_data(now)
        self._judge_boot(now)
        self._boots.append(now)
        self._kept = set()
        self._note_needed()

    def reboot_requested(self) -> None:
        """A reboot was asked for and accepted: the next boot's set has to be complete now."""
        coming = self._coming_os()
        what = f"a reboot into OS {coming} was asked for"
        target = self._check_next_boot(what, coming)
        self._reboots.asked(self.disk.boot_id(), target)

    def reboot_allowed(self) -> None:
        """The update operator was told that the node may reboot: the same has to be true as at a request."""
        coming = self._coming_os()
        self._check_next_boot(f"the update operator may reboot into OS {coming}", coming)

    def state_damaged(self) -> None:
        """Somebody has just damaged the state file: the program has to keep it aside, and knows nothing of before."""
        self._damaged = self.disk.state()
        self._reboots.forget()

    def state_lost(self) -> None:
        """Somebody has just removed the state file: the program knows nothing of before."""
        if self._damaged not in self.disk.set_aside():
            # It is gone before the program has seen it.
            self._damaged = None
        self._reboots.forget()

    # What it finds.

    def check(self) -> list[str]:
        """Everything that is wrong now, or was when it was looked at before; empty when nothing is."""
        self._look_at_kubelet_env(Boot(self.disk.running_os(), self.disk.sealed_docker(), data_kept=False))
        self._check_kubelet_env()
        self._check_stores()
        self._check_docker_data()
        for each in self._reboots.check(self.requests()):
            self._violate("I7", each)
        self._check_state()
        problem = self.disk.next_profile().problem
        if problem:
            self._violate("N2", f"the next boot applies nothing: {problem}")
        return self.violations

    def _violate(self, invariant: str, what: str) -> None:
        violation = f"{invariant}: {what}"
        if violation not in self.violations:
            self.violations.append(violation)

    # At a request, and at an answer.

    def _check_next_boot(self, what: str, coming: str) -> Target:
        """Whether the next boot's set is complete. Returns what the boot is for."""
        self._note_needed()
        profile, signed = self.disk.next_profile(), self._signed()
        target = Target(coming, profile.images.get("docker"))
        if profile.problem:
            self._violate("I3", f"{what}, and {profile.problem}")
        for name, reference in profile.images.items():
            if not self._serves(coming, name, reference, signed):
                self._violate("I3", f"{what}, whose stores lack {name}:{reference}")
        snapshot = self.disk.recorded()
        plan = snapshot.get("plan")
        if plan is not None:
            if coming not in (plan["target"]["next_os"], plan["target"]["current_os"]):
                self._violate("I4", f"{what}, which is not in the plan")
            if not plan["resolved"]:
                self._violate("I3", f"{what}, and its set is not known yet")
            if plan["docker"] is not None and plan["docker"] != profile.images.get("docker"):
                self._violate("I3", f"{what}, and its profile does not pin docker:{plan['docker']}")
            target = Target(plan["boot_os"], plan["docker"])
        elif snapshot:
            self._violate("I3", f"{what} without a plan")
        for each in self._reboots.expect(what, target):
            self._violate("I7", each)
        return target

    # At a boot.

    def _judge_docker_data(self, now: Boot) -> None:
        """Whose data lie there is known as long as they do, also across a boot in which no Docker ran."""
        owner = self._data_of
        if owner and now.docker and now.data_kept == (owner != now.docker):
            what = "kept" if now.data_kept else "gone"
            self._violate("I6", f"Docker {owner} became {now.docker}, and its data is {what}")
        self._data_of = (now.docker or owner) if now.data_kept else None

    def _judge_boot(self, now: Boot) -> None:
        """Whether it brought what it was asked for."""
        target = self._reboots.expected
        wanted = target.docker if target is not None else None
        brought = wanted is None or self.disk.resolved(wanted) == now.docker
        self._reboots.booted(now.os_version, brought_docker=brought)

    # At any time.

    def _look_at_kubelet_env(self, ran: Boot) -> None:
        """Judge one that appeared since the last look by what *ran* then."""
        seen, self._env_seen = self._env_seen, self.disk.kubelet_env_identity()
        plan = self.disk.recorded().get("plan")
        if self._env_seen in (None, seen) or self.serving or self.powered_off or plan is None:
            return
        if plan["boot_os"] != ran.os_version:
            self._violate("I1", f"kubelet.env appeared while OS {ran.os_version} ran instead of {plan['boot_os']}")
        if plan["docker"] not in (None, ran.docker):
            self._violate("I1", f"kubelet.env appeared while Docker {ran.docker} ran instead of {plan['docker']}")

    def _check_kubelet_env(self) -> None:
        data = self.disk.kubelet_env()
        if data is None:
            return
        values = parse_env(data)
        if values is None:
            self._violate("I1", f"kubelet.env is not whole: {data!r}")
            return
        if not _TAG.fullmatch(values.get("KUBELET_IMAGE_TAG", "")):
            self._violate("I1", f"kubelet.env names no version: {data!r}")
        snapshot = self.disk.recorded()
        plan = snapshot.get("plan")
        if plan is None or (self.serving and snapshot["state"] != "done"):
            return
        if not self.serving:
            self._check_env_values(values, plan["target"]["kube_version"])
        running, sealed = self.disk.running_os(), self.disk.sealed_docker()
        if plan["boot_os"] != running:
            self._violate("I1", f"kubelet.env is there, but OS {running} runs instead of {plan['boot_os']}")
        if plan["docker"] not in (None, sealed) and not self.powered_off:
            self._violate("I1", f"kubelet.env is there, but Docker {sealed} runs instead of {plan['docker']}")
        signed = self._signed()
        for image in plan["images"]:
            if not self._serves(image["os_version"], image["name"], image["reference"], signed):
                self._violate("I1", f"kubelet.env is there, but the stores lack {image['name']}:{image['reference']}")
        pending = self.pending()
        if pending is not None and pending != plan["target"]["next_os"]:
            self._violate("I4", f"kubelet.env is there, though OS {pending} is pending and not in the plan")

    def _check_env_values(self, values: Mapping[str, str], kube_version: str) -> None:
        tag = kube_version.replace("+", "_")
        if values.get("KUBELET_IMAGE_TAG") != tag:
            self._violate("I1", f"kubelet.env has the version {values.get('KUBELET_IMAGE_TAG')}, the plan {tag}")
        for key, value in self.disk.installer_env().items():
            if key != "KUBELET_IMAGE_TAG" and values.get(key) != value:
                self._violate("I1", f"kubelet.env has {key}={values.get(key)!r} instead of the installer's {value!r}")

    def _check_stores(self) -> None:
        signed = self._signed()
        for os_version, match, path in self.disk.stored_images():
            if path.is_symlink() or not path.is_file():
                self._violate("I2", f"{path} is not a regular file")
            elif not self.disk.is_signed(path, os_version, match, signed):
                self._violate("I2", f"{path} has a digest that no trusted key signed for it")
        for each in sorted(self._kept):
            if not each.exists():
                self._violate("I5", f"{each} is gone, though the OS that runs or the next one needs it")
        self._note_needed()

    def _check_docker_data(self) -> None:
        if self._boots and self._boots[-1].data_kept and not self.disk.has_docker_data():
            self._violate("I6", "Docker's data went away while the node ran")

    def _check_state(self) -> None:
        data = self.disk.state()
        problem = state_problem(data) if data is not None else ""
        if problem and data != self._damaged:
            self._violate("I8", f"the state file is damaged: {problem}")
        if self._damaged is not None and self._damaged not in (data, *self.disk.set_aside()):
            self._violate("I8", "a damaged state file was not kept aside")
        for number, line in enumerate(self.disk.history(), 1):
            # A crash may tear the last line; what comes after it has to begin anew.
            if line.count(_ENTRY) > 1:
                self._violate("I8", f"line {number} of the history holds two entries: {line[:80]!r}")

    # Of use to all.

    def _coming_os(self) -> str:
        return self.pending() or self.disk.running_os()

    def _signed(self) -> Signed:
        return signed_images(self.signed())

    def _serves(self, os_version: str, name: str, reference: str, signed: Signed) -> bool:
        try:
            vendored = set(self.vendored(os_version))
        except KeyError:
            # An OS version that nobody made up: its own store is not known.
            vendored = set()
        return self.disk.serves(os_version, name, reference, vendored, signed)

    def _note_needed(self) -> None:
        """Remember what the garbage collection must leave alone in this boot: newer directories, and images in use."""
        running, coming = self.disk.running_os(), self._coming_os()
        wanted = {(running, self.disk.sealed_docker()), (coming, self.disk.next_profile().images.get("docker"))}
        for each in self.disk.store_directories():
            if each.name == coming or not is_older(each.name, running):
                self._kept.add(each)
        for os_version, match, path in self.disk.stored_images():
            if match["name"] == "docker" and (os_version, match["reference"]) in wanted:
                self._kept.add(path)
