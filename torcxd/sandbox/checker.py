"""Judges a node from the outside: its disk, its boots and what was asked of its peers; names what breaks I1 to I8.

It shares no code with the program that it judges, so that neither hides the other's mistakes. What it knows of the
program are the documented files: the stores and profiles of torcx, kubelet.env, and the state file.

========= =====================================================================================================
I1        kubelet.env is there: it is whole, and the system that runs is the recorded one, stores included
I2        each image with a final name has a digest that a trusted key signed for this OS version
I3        at each request to reboot, and each time that the update operator was told that it may, the next boot's
          profile was served by the next OS version's stores
I4        kubelet.env is never there, and the operator never told so, while an OS update of another version than the
          recorded one is pending
I5        no directory of the user store went away that the current or the next OS version needs
I6        across a boot, Docker's data went away if and only if the Docker version changed
I7        no boot saw two requests to reboot; no boot into the same set was asked for more than three times in a row
I8        the state file is whole, and so is each line of the history but the last
========= =====================================================================================================
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

# torcx's name of an image file.
_IMAGE: Final = re.compile(r"(?P<name>[^:/]+):(?P<reference>[^:/]+)\.torcx\.(tgz|squashfs)")
_OS_VERSION: Final = re.compile(r"\d+\.\d+\.\d+([-+].*)?")
_TAG: Final = re.compile(r"v\d+\.\d+\.\d+[A-Za-z0-9._-]*")
_ASSIGNMENT: Final = re.compile(r'[A-Z_]+="[^"]*"')
# How often the same set may be booted into in vain.
_MOST_BOOTS: Final = 3


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
    :param requests: the records of login1 and systemd1, each with the boot id.
    :param serving: a daemon serves the node after its bootstrap: the recorded plan is ahead of what runs until the node
        has booted into it, so kubelet.env is compared with it in the state ``done`` only.
    """

    root: Path
    signed: Callable[[], Iterable[tuple[str, bytes]]]
    vendored: Callable[[str], Iterable[str]]
    pending: Callable[[], str | None]
    requests: Callable[[], Iterable[Mapping[str, Any]]]
    serving: bool = False
    violations: list[str] = field(default_factory=list)
    _boots: list[Boot] = field(default_factory=list)
    _reboots: list[tuple[str, str | None]] = field(default_factory=list)
    _kept: set[str] = field(default_factory=set)

    # What it is told.

    def booted(self) -> None:
        """The node came up: compare with what ran before."""
        version, docker = self._running_os(), self._sealed_docker()
        data = self.root / "var/lib/docker"
        now = Boot(version, docker, data_kept=data.exists() and any(data.iterdir()))
        if self._boots:
            before = self._boots[-1]
            changed = before.docker != now.docker
            # A boot without Docker cannot use its data, and one after such a boot cannot know whose it is.
            if before.docker and now.docker and before.data_kept and changed == now.data_kept:
                what = "kept" if now.data_kept else "gone"
                self._violate("I6", f"Docker {before.docker} became {now.docker}, and its data is {what}")
        self._boots.append(now)
        self._kept = self._needed()

    def reboot_requested(self) -> None:
        """A reboot was asked for and accepted: the next boot's set has to be complete now."""
        coming = self.pending() or self._running_os()
        self._reboots.append((coming, self._next_images(coming).get("docker")))
        self._kept |= self._needed()
        self._check_next_boot(f"a reboot into OS {coming} was asked for", coming)

    def reboot_allowed(self) -> None:
        """The update operator was told that the node may reboot: the same has to be true as at a request."""
        coming = self.pending() or self._running_os()
        self._check_next_boot(f"the update operator may reboot into OS {coming}", coming)
        plan = self._recorded_plan()
        if plan is None or coming != (plan["target"]["next_os"] or plan["target"]["current_os"]):
            self._violate("I4", f"the update operator may reboot into OS {coming}, which is not in the plan")

    def _check_next_boot(self, what: str, coming: str) -> None:
        for name, reference in self._next_images(coming).items():
            if not self._serves(coming, name, reference):
                self._violate("I3", f"{what}, whose stores lack {name}:{reference}")

    # What it finds.

    def check(self) -> list[str]:
        """Everything that is wrong now, or was when it was looked at before; empty when nothing is."""
        self._check_kubelet_env()
        self._check_stores()
        self._check_requests()
        self._check_state()
        return self.violations

    def _violate(self, invariant: str, what: str) -> None:
        violation = f"{invariant}: {what}"
        if violation not in self.violations:
            self.violations.append(violation)

    def _check_kubelet_env(self) -> None:
        path = self.root / "etc/kubernetes/kubelet.env"
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        if not text.endswith("\n") or not all(_ASSIGNMENT.fullmatch(each) for each in lines):
            self._violate("I1", f"{path} is not whole: {text!r}")
        if not _TAG.fullmatch(values.get("KUBELET_IMAGE_TAG", "").strip('"')):
            self._violate("I1", f"{path} names no version: {text!r}")
        plan = self._recorded_plan()
        if plan is None or (self.serving and self._recorded_state() != "done"):
            return
        if plan["boot_os"] != self._running_os():
            self._violate("I1", f"{path} is there, but OS {self._running_os()} runs instead of {plan['boot_os']}")
        if plan["docker"] is not None and plan["docker"] != self._sealed_docker():
            self._violate("I1", f"{path} is there, but Docker {self._sealed_docker()} runs, not {plan['docker']}")
        for image in plan["images"]:
            if not self._serves(image["os_version"], image["name"], image["reference"]):
                self._violate("I1", f"{path} is there, but the stores lack {image['name']}:{image['reference']}")
        pending = self.pending()
        if pending is not None and pending != plan["target"]["next_os"]:
            self._violate("I4", f"{path} is there, though OS {pending} is pending and not in the plan")

    def _check_stores(self) -> None:
        signed = self._signed_digests()
        for directory in self._store_directories():
            for path in directory.rglob("*"):
                match = _IMAGE.fullmatch(path.name)
                if match is None or path.name.startswith(".") or path.is_dir():
                    continue
                digest = hashlib.sha512(path.read_bytes()).hexdigest()
                if (directory.name, match["name"], match["reference"], digest) not in signed:
                    self._violate("I2", f"{path} has a digest that no trusted key signed for it")
        present = {each.name for each in self._store_directories()}
        for each in sorted(self._kept - present):
            self._violate("I5", f"the store of {each} is gone, though it was not older than the OS that ran")

    def _check_requests(self) -> None:
        reboots = [each["boot_id"] for each in self.requests() if _is_reboot(each)]
        for boot_id in sorted({each for each in reboots if reboots.count(each) > 1}):
            self._violate("I7", f"{reboots.count(boot_id)} reboots were asked for in the boot {boot_id}")
        for target, group in groupby(self._reboots):
            if len(list(group)) > _MOST_BOOTS:
                self._violate("I7", f"boots into {target} were asked for more than {_MOST_BOOTS} times in a row")

    def _check_state(self) -> None:
        path = self.root / "var/lib/torcxd/state.json"
        if path.exists():
            problem = _state_problem(path.read_bytes())
            if problem:
                self._violate("I8", f"{path} is damaged: {problem}")
        history = self.root / "var/lib/torcxd/history.jsonl"
        if history.exists():
            for number, line in enumerate(history.read_bytes().splitlines()[:-1], 1):
                try:
                    json.loads(line)
                except ValueError:
                    self._violate("I8", f"{history} line {number} is damaged: {line[:80]!r}")

    # What is on the disk.

    def _recorded(self) -> dict[str, Any]:
        """The recorded snapshot, empty when there is none or it is damaged."""
        path = self.root / "var/lib/torcxd/state.json"
        if not path.exists() or _state_problem(path.read_bytes()):
            return {}
        snapshot: dict[str, Any] = json.loads(path.read_bytes())["snapshot"]
        return snapshot

    def _recorded_plan(self) -> dict[str, Any] | None:
        return self._recorded().get("plan")

    def _recorded_state(self) -> str | None:
        return self._recorded().get("state")

    def _running_os(self) -> str:
        for line in (self.root / "usr/lib/os-release").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_ID":
                return value.strip("\"'")
        return ""

    def _sealed_docker(self) -> str | None:
        path = self.root / "run/torcx/profile.json"
        if not path.exists():
            return None
        images = json.loads(path.read_bytes())["value"]["images"]
        reference = next((each["reference"] for each in images if each["name"] == "docker"), None)
        alias = self.root / f"usr/share/torcx/store/docker:{reference}.torcx.tgz"
        if alias.is_symlink():
            match = _IMAGE.fullmatch(alias.readlink().name)
            return match["reference"] if match else None
        return reference

    def _next_images(self, os_version: str) -> dict[str, str]:
        """The images that torcx will want: the vendor's profile, overlaid with the user's next one."""
        images: dict[str, str] = {}
        selected = self.root / "etc/torcx/next-profile"
        name = selected.read_text(encoding="utf-8").strip() if selected.exists() else ""
        candidates = [self.root / "usr/share/torcx/profiles/vendor.json", self.root / f"etc/torcx/profiles/{name}.json"]
        for path in candidates:
            if path.exists():
                for image in json.loads(path.read_bytes())["value"]["images"]:
                    images[image["name"]] = image["reference"]
            elif name and path.stem == name:
                self._violate("I3", f"the next boot into OS {os_version} uses the profile {name}, which is not there")
        return {name: reference for name, reference in images.items() if reference}

    def _serves(self, os_version: str, name: str, reference: str) -> bool:
        """Whether torcx finds the image when *os_version* boots; a downloaded one counts only if it was signed."""
        file = f"{name}:{reference}.torcx.tgz"
        if file in self.vendored(os_version):
            return True
        path = self.root / "var/lib/torcx/store" / os_version / file
        if not path.is_file():
            return False
        digest = hashlib.sha512(path.read_bytes()).hexdigest()
        return (os_version, name, reference, digest) in self._signed_digests()

    def _needed(self) -> set[str]:
        """The directories of the user store that the garbage collection must leave alone in this boot."""
        running = self._running_os()
        return {each.name for each in self._store_directories() if not _older(each.name, running)}

    def _store_directories(self) -> list[Path]:
        store = self.root / "var/lib/torcx/store"
        return sorted(each for each in store.iterdir() if each.is_dir()) if store.exists() else []

    def _signed_digests(self) -> set[tuple[str, str, str, str]]:
        """OS version, package, version and digest of each image that a trusted key signed."""
        found = set()
        for os_version, manifest in self.signed():
            content = json.loads(manifest)
            # A key may have signed nonsense: it allows nothing.
            with contextlib.suppress(KeyError, TypeError):
                for package in content["value"]["packages"] if content["kind"] == "torcx-package-list-v0" else ():
                    for each in package["versions"]:
                        digest = each["hash"].removeprefix("sha512-")
                        found.add((os_version, package["name"], each["version"], digest))
        return found


def _is_reboot(request: Mapping[str, Any]) -> bool:
    return (request["member"], request["args"]) in (("Reboot", [False]), ("StartUnit", ["reboot.target", "isolate"]))


def _older(name: str, os_version: str) -> bool:
    """Whether the directory *name* belongs to an OS version older than *os_version*."""
    if not _OS_VERSION.fullmatch(name):
        return False
    return _numbers(name) < _numbers(os_version)


def _numbers(os_version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.split(r"[-+]", os_version)[0].split("."))


def _state_problem(data: bytes) -> str:
    """What is wrong with a state file: empty when it is whole and its checksum is right."""
    try:
        envelope = json.loads(data)
        content = json.dumps(envelope["snapshot"], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        if not isinstance(envelope["schema"], int):
            return "its schema is no number"
        if envelope["sha256"] != hashlib.sha256(content.encode()).hexdigest():
            return "its checksum is wrong"
    except (ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
