"""What the checker reads of a node's disk: torcx's files, kubelet.env and the state file, straight from their formats.

Nothing here raises for what is on the disk: a crash may have left anything there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# torcx's name of an image file.
IMAGE: Final = re.compile(r"(?P<name>[^:/]+):(?P<reference>[^:/]+)\.torcx\.(?P<kind>tgz|squashfs)")
_OS_VERSION: Final = re.compile(r"\d+\.\d+\.\d+([-+].*)?")
_ASSIGNMENT: Final = re.compile(r'(?P<key>[A-Za-z_][A-Za-z0-9_]*)="(?P<value>[^"]*)"')
_STATE: Final = "var/lib/torcxd/state.json"

# OS version, package and version, with the hashes that a trusted key signed for them, as "sha512-<hex>".
Signed = Mapping[tuple[str, str, str], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Profile:
    """What torcx will apply: references by image name.

    :param problem: why it cannot, empty when it can.
    """

    images: Mapping[str, str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """A node's disk.

    :param root: the folder that stands for ``/``.
    """

    root: Path
    _digests: dict[tuple[object, ...], str] = field(default_factory=dict)

    # The OS and what torcx applied.

    def boot_id(self) -> str:
        """The present boot; empty where nothing tells."""
        return _text(self.root / "proc/sys/kernel/random/boot_id").strip()

    def running_os(self) -> str:
        for line in _text(self.root / "usr/lib/os-release").splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_ID":
                return value.strip("\"'")
        return ""

    def sealed_docker(self) -> str | None:
        """The applied Docker reference, aliases resolved; None when torcx applied nothing."""
        images = _images(self.root / "run/torcx/profile.json")
        return self.resolved((images or {}).get("docker"))

    def resolved(self, reference: str | None) -> str | None:
        """What the vendor's alias *reference* stands for in the OS version that runs; itself if it is none."""
        alias = self.root / f"usr/share/torcx/store/docker:{reference}.torcx.tgz"
        if not alias.is_symlink():
            return reference
        match = IMAGE.fullmatch(alias.readlink().name)
        return match["reference"] if match else None

    def next_profile(self) -> Profile:
        """What the next boot will want: the vendor's profile, overlaid with the OEM's and with the user's next one."""
        selected = self.root / "etc/torcx/next-profile"
        name = _text(selected).strip()
        if selected.exists() and not name:
            return Profile({}, "next-profile is empty")
        paths = {
            "vendor": self.root / "usr/share/torcx/profiles/vendor.json",
            "oem": self.root / "usr/share/oem/torcx/profiles/oem.json",
        }
        if name:
            paths.pop(name, None)
            folders = ("etc/torcx/profiles", "usr/share/oem/torcx/profiles", "usr/share/torcx/profiles")
            found = [self.root / each / f"{name}.json" for each in folders]
            paths[name] = next((each for each in found if each.exists()), found[0])
        images: dict[str, str] = {}
        for each, path in paths.items():
            if not path.exists() and each != name:
                continue
            read = _images(path)
            if read is None:
                return Profile({}, f"the profile {each} is {'damaged' if path.exists() else 'not there'}")
            images.update(read)
        return Profile({each: reference for each, reference in images.items() if reference})

    # The stores.

    def store_directories(self) -> list[Path]:
        """The directories of the user's store, one for each OS version."""
        store = self.root / "var/lib/torcx/store"
        return sorted(each for each in store.iterdir() if each.is_dir()) if store.is_dir() else []

    def stored_images(self) -> Iterator[tuple[str | None, re.Match[str], Path]]:
        """What has an image's name in the user's store: the OS version that it is for (None: each), name and path."""
        store = self.root / "var/lib/torcx/store"
        for directory, os_version in [(store, None), *((each, each.name) for each in self.store_directories())]:
            for path in sorted(directory.iterdir()) if directory.is_dir() else ():
                match = IMAGE.fullmatch(path.name)
                if match is not None and not path.name.startswith("."):
                    yield os_version, match, path

    def is_signed(self, path: Path, os_version: str | None, match: re.Match[str], signed: Signed) -> bool:
        """Whether the image's digest is a signed one for *os_version*, or for any."""
        hashes = {
            each
            for (version, name, reference), found in signed.items()
            if os_version in (None, version) and (name, reference) == (match["name"], match["reference"])
            for each in found
        }
        return any(self._digest(path, each.partition("-")[0]) == each for each in hashes)

    def serves(self, os_version: str, name: str, reference: str, vendored: Iterable[str], signed: Signed) -> bool:
        """Whether torcx finds the image when *os_version* boots; a downloaded one counts only if it was signed.

        :param vendored: the image files in that OS version's own store.
        """
        own = set(vendored)
        oem, user = self.root / "usr/share/oem/torcx/store", self.root / "var/lib/torcx/store"
        for kind in ("squashfs", "tgz"):
            file = f"{name}:{reference}.torcx.{kind}"
            if file in own or (oem / os_version / file).exists() or (oem / file).exists():
                return True
            for version, path in ((os_version, user / os_version / file), (None, user / file)):
                match = IMAGE.fullmatch(file)
                if path.exists() and match is not None:
                    return path.is_file() and self.is_signed(path, version, match, signed)
        return False

    def _digest(self, path: Path, algorithm: str) -> str:
        """``<algorithm>-<hex>``; empty for what cannot be read."""
        try:
            found = path.stat()
            key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, algorithm)
            if key not in self._digests:
                with path.open("rb") as stream:
                    self._digests[key] = f"{algorithm}-{hashlib.file_digest(stream, algorithm).hexdigest()}"
        except (OSError, ValueError):
            return ""
        return self._digests[key]

    # Docker's data, kubelet.env, the state.

    def has_docker_data(self) -> bool:
        data = self.root / "var/lib/docker"
        return data.is_dir() and any(data.iterdir())

    def kubelet_env(self) -> bytes | None:
        return _bytes(self.root / "etc/kubernetes/kubelet.env")

    def kubelet_env_identity(self) -> tuple[int, int] | None:
        """Tells one kubelet.env from the one that replaces it."""
        try:
            found = (self.root / "etc/kubernetes/kubelet.env").stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def installer_env(self) -> dict[str, str]:
        """What the installer's file assigns, in the lines that are plain."""
        matches = map(_ASSIGNMENT.fullmatch, _text(self.root / "etc/kubernetes/installer/kubelet.env").splitlines())
        return {each["key"]: each["value"] for each in matches if each is not None}

    def state(self) -> bytes | None:
        return _bytes(self.root / _STATE)

    def set_aside(self) -> list[bytes]:
        """What lies beside the state file under a name that begins with its own."""
        path = self.root / _STATE
        found = [_bytes(each) for each in path.parent.glob(f"{path.name}.*")] if path.parent.is_dir() else []
        return [each for each in found if each is not None]

    def recorded(self) -> dict[str, Any]:
        """The recorded snapshot, empty when there is none or it is damaged."""
        data = self.state()
        if data is None or state_problem(data):
            return {}
        snapshot: dict[str, Any] = json.loads(data)["snapshot"]
        return snapshot

    def history(self) -> list[bytes]:
        """The lines of the history."""
        return (_bytes(self.root / "var/lib/torcxd/history.jsonl") or b"").splitlines()


def parse_env(data: bytes) -> dict[str, str] | None:
    """What an env-file as torcxd writes it assigns; None when it is not whole."""
    text = data.decode("utf-8", "replace")
    matches = [_ASSIGNMENT.fullmatch(each) for each in text.splitlines()]
    if not text.endswith("\n") or not all(matches):
        return None
    return {each["key"]: each["value"] for each in matches if each is not None}


def signed_images(manifests: Iterable[tuple[str, bytes]]) -> Signed:
    """What the manifests, each with its OS version, name: a key may have signed nonsense, which allows nothing."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for os_version, manifest in manifests:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(manifest)
            for package in content["value"]["packages"] if content["kind"] == "torcx-package-list-v0" else ():
                for each in package["versions"]:
                    found.setdefault((os_version, package["name"], each["version"]), set()).add(each["hash"])
    return {key: frozenset(each) for key, each in found.items()}


def state_problem(data: bytes) -> str:
    """What is wrong with a state file: empty when it is whole and its checksum is right."""
    try:
        envelope = json.loads(data)
        content = json.dumps(envelope["snapshot"], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        if not isinstance(envelope["schema"], int):
            return "its schema is no number"
        if envelope["sha256"] != hashlib.sha256(content.encode()).hexdigest():
            return "its checksum is wrong"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def is_older(name: str, os_version: str) -> bool:
    """Whether the directory *name* belongs to an OS version older than *os_version*."""
    if not _OS_VERSION.fullmatch(name) or not _OS_VERSION.fullmatch(os_version):
        return False
    return _numbers(name) < _numbers(os_version)


def _numbers(os_version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.split(r"[-+]", os_version)[0].split("."))


def _images(path: Path) -> dict[str, str] | None:
    """The images of a profile; None when there is no whole one."""
    try:
        return {each["name"]: each["reference"] for each in json.loads(_text(path))["value"]["images"]}
    except (ValueError, KeyError, TypeError):
        return None


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _text(path: Path) -> str:
    return (_bytes(path) or b"").decode("utf-8", "replace")
