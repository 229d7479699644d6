"""A stand-in for torcx's generator: applies the profiles at boot and leaves the seal.

Written from torcx's documentation and apart from :mod:`torcxd.addons`, so that neither hides the other's mistakes. It
needs only the standard library and runs early in a booting test machine, too::

    python3 torcx.py --root / --os-version 1576.4.0
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def apply(root: Path, os_version: str) -> str:
    """Apply the vendor's, the OEM's and the next user profile, as torcx does when the system boots.

    One image that no store has, and nothing is applied: no seal, and no Docker.

    :param root: the folder that stands for ``/``.
    :param os_version: the version that boots, whose stores count.
    :returns: empty on success, else why nothing was applied.
    """
    run = root / "run/torcx"
    metadata = root / "run/metadata/torcx"
    for stale in (run / "profile.json", metadata):
        stale.unlink(missing_ok=True)
    next_profile = root / "etc/torcx/next-profile"
    upper = next_profile.read_text().strip() if next_profile.exists() else ""
    candidates = [
        ("vendor", root / "usr/share/torcx/profiles/vendor.json"),
        ("oem", root / "usr/share/oem/torcx/profiles/oem.json"),
        (upper, root / f"etc/torcx/profiles/{upper}.json"),
    ]
    applied = [(name, path) for name, path in candidates if name and path.exists()]
    if upper and upper not in [name for name, _ in applied]:
        return f"the profile {upper} does not exist"
    images: dict[str, str] = {}
    for name, path in applied:
        try:
            for image in json.loads(path.read_bytes())["value"]["images"]:
                images[image["name"]] = image["reference"]
        except (ValueError, LookupError, TypeError):
            return f"the profile {name} is damaged"
    images = {name: reference for name, reference in images.items() if reference}
    for name, reference in images.items():
        if _find(root, os_version, f"{name}:{reference}") is None:
            return f"no store has {name}:{reference}"
    run.mkdir(parents=True, exist_ok=True)
    listed = [{"name": name, "reference": reference} for name, reference in images.items()]
    sealed = run / "profile.json"
    sealed.write_text(json.dumps({"kind": "profile-manifest-v0", "value": {"images": listed}}))
    sealed.chmod(0o444)
    metadata.parent.mkdir(parents=True, exist_ok=True)
    lower = ":".join(name for name, _ in applied if name != upper)
    metadata.write_text(
        f'TORCX_LOWER_PROFILES="{lower}"\n'
        f'TORCX_UPPER_PROFILE="{upper}"\n'
        'TORCX_PROFILE_PATH="/run/torcx/profile.json"\n'
        'TORCX_BINDIR="/run/torcx/bin"\n'
        'TORCX_UNPACKDIR="/run/torcx/unpack"\n'
    )
    return ""


def _find(root: Path, os_version: str, name: str) -> Path | None:
    stores = [
        root / "usr/share/torcx/store",
        root / "usr/share/oem/torcx/store" / os_version,
        root / "usr/share/oem/torcx/store",
        root / "var/lib/torcx/store" / os_version,
        root / "var/lib/torcx/store",
    ]
    for suffix in (".torcx.squashfs", ".torcx.tgz"):
        for store in stores:
            path = store / (name + suffix)
            if path.exists():
                return path
    return None


def main() -> int:
    """The program: 0 when the profiles were applied, 1 with the reason on standard error when not."""
    parser = argparse.ArgumentParser(description="Apply torcx profiles as torcx's generator does at boot.")
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--os-version", required=True)
    options = parser.parse_args()
    problem = apply(options.root, options.os_version)
    if problem:
        print(f"torcx: {problem}; nothing is applied", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    raise SystemExit(main())
