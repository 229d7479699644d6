"""What grows over the years, or with the number of versions that were ever published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO, Any

import pytest

from tests.explored import Explored
from tests.limits import cases
from tests.limits.measured import measure_now
from torcxd.addons.hashing import MOST_KNOWN, Digests
from torcxd.daemon.statefile import LARGEST_HISTORY

# The million is for the long run; here so many that it is cut back ten times.
ENTRIES = 15_000
VERSIONS = 10_000


def test_a_history_is_bounded_on_disk_and_in_memory(tmp_path: Path, explored: Explored) -> None:
    measured = measure_now(cases.history, str(tmp_path), ENTRIES)
    largest, made = measured.result
    assert made == ENTRIES
    assert LARGEST_HISTORY // 2 < largest < LARGEST_HISTORY + 1000
    assert measured.grown < 6
    assert measured.descriptors == 0
    explored.count("limits", "transitions recorded", ENTRIES)


def manifest(versions: int) -> bytes:
    """A manifest of one package, as the release server makes them."""
    package = {
        "name": "docker",
        "defaultVersion": "1.0",
        "versions": [
            {
                "version": f"1.{each}",
                "hash": f"sha512-{each:0128x}",
                "sourcePackage": f"app-torcx/docker-1.{each}",
                "casDigest": f"{each:040x}",
                "locations": [
                    {"path": f"/usr/share/torcx/store/docker:1.{each}.torcx.tgz"},
                    {"url": f"https://tectonic-torcx.release.core-os.net/torcx/pkgs/amd64-usr/docker/{each:0128x}.tgz"},
                ],
            }
            for each in range(versions)
        ],
    }
    return json.dumps({"kind": "torcx-package-list-v0", "value": {"packages": [package]}}).encode()


def test_a_manifest_of_ten_thousand_versions_is_read(tmp_path: Path, explored: Explored) -> None:
    data = manifest(VERSIONS)
    path = tmp_path / "manifest.json"
    path.write_bytes(data)
    measured = measure_now(cases.manifest, str(path))
    assert measured.result == VERSIONS
    # The text, its JSON, and what is made of it.
    assert measured.grown < 10 * len(data) / 1e6
    explored.count("limits", "versions in a manifest", VERSIONS)


def test_only_so_many_digests_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    original = hashlib.file_digest

    def counted(stream: IO[bytes], algorithm: str) -> Any:
        hashed.append(stream.name)
        return original(stream, algorithm)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counted)
    digests = Digests()
    files = [tmp_path / str(each) for each in range(2 * MOST_KNOWN)]
    for each in files:
        each.write_text(each.name)
        digests.of(each, "sha256")
    assert len(hashed) == len(files)
    digests.of(files[-1], "sha256")
    digests.of(files[MOST_KNOWN], "sha256")
    assert len(hashed) == len(files)
    digests.of(files[0], "sha256")
    assert len(hashed) == len(files) + 1
