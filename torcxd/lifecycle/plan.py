"""From facts to a plan: which Docker version, and which image for which OS version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.lifecycle.catalog import PackageManifest, PackageVersion
from torcxd.lifecycle.facts import Image, Plan, Target
from torcxd.lifecycle.versions import parse_os_version

# The first OS version with published addons; older ones carry Docker in the OS image (A36).
FIRST_WITH_ADDONS: Final = "1520.3.0"
DOCKER: Final = "docker"
# Images below these are part of the OS image itself: torcx finds them there, nothing is fetched (A19).
VENDOR_STORES: Final = ("/usr/share/torcx/store/", "/usr/share/oem/torcx/store/")


def has_addons(os_version: str) -> bool:
    """Whether addons are published for *os_version*."""
    return parse_os_version(os_version) >= parse_os_version(FIRST_WITH_ADDONS)


def os_versions_to_stage(target: Target) -> tuple[str, ...]:
    """The OS versions whose manifests are read, the deciding one first."""
    if not target.stage or not has_addons(target.coming_os):
        return ()
    versions = [target.coming_os]
    if target.current_os != target.coming_os and has_addons(target.current_os):
        versions.append(target.current_os)
    return tuple(versions)


def resolve(plan: Plan, manifests: Mapping[str, PackageManifest]) -> Plan:
    """Choose Docker and name each image.

    The coming OS version decides: the first preferred version that its manifest offers is taken. The current OS
    version gets it too where its manifest has it, so that the node also survives a rollback (A18).

    :param manifests: one for each of :func:`os_versions_to_stage`.
    :raises PermanentError: when the deciding manifest offers none of the preferred versions.
    """
    target = plan.target
    versions = os_versions_to_stage(target)
    if not versions:
        return replace(plan, docker=None, images=(), resolved=True)
    deciding = manifests[versions[0]].packages.get(DOCKER)
    offered = [] if deciding is None else [each.version for each in deciding.versions if each.locations]
    chosen = next((each for each in target.docker_preferences if each in offered), None)
    if chosen is None:
        raise PermanentError(
            f"the manifest of OS version {versions[0]} offers Docker {', '.join(offered) or '(none)'}, "
            f"but Kubernetes {target.kube_version} accepts only {', '.join(target.docker_preferences)}",
            hint=f"extend the runtime mappings ({target.mappings_source}) or publish one of these versions",
            exit_code=EX_DATAERR,
        )
    images = []
    for os_version in versions:
        package = manifests[os_version].packages.get(DOCKER)
        entry = package.find(chosen) if package else None
        if entry is not None and entry.locations:
            images.append(_image(os_version, entry))
    return replace(plan, docker=chosen, images=tuple(images), resolved=True)


def _image(os_version: str, entry: PackageVersion) -> Image:
    paths = [each.path for each in entry.locations if each.path and each.path.startswith(VENDOR_STORES)]
    urls = tuple(each.url for each in entry.locations if each.url)
    return Image(
        os_version,
        DOCKER,
        entry.version,
        entry.digest,
        urls=urls,
        vendor_path=paths[0] if paths else None,
    )
