"""The images are what torcx takes for images."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from torcxd.sandbox.images import docker_image

MEBIBYTE = 1024 * 1024


def test_an_image_has_what_its_manifest_names(tmp_path: Path) -> None:
    image = docker_image("17.03")
    with tarfile.open(fileobj=io.BytesIO(image.data), mode="r:gz") as archive:
        members = {each.name.removeprefix("./"): each for each in archive.getmembers()}
    # Not extractall(): its filter argument is missing from Debian 12's Python, and required by newer ones.
    subprocess.run(["tar", "-xz", "-C", tmp_path], input=image.data, check=True)
    manifest = json.loads((tmp_path / ".torcx/manifest.json").read_text())
    assert manifest["kind"] == "image-manifest-v0"
    assert [
        each for asset in manifest["value"].values() for each in asset if not tmp_path.joinpath(each[1:]).is_file()
    ] == []
    # torcx does not make missing directories.
    for name in members:
        parent = str(Path(name).parent)
        assert parent == "." or members[parent].isdir()
    assert list(members) == sorted(members)
    said = subprocess.run([tmp_path / "bin/docker", "--version"], capture_output=True, check=True, text=True).stdout
    assert said == "Docker version 17.03, build torcxd\n"


def test_the_same_image_has_the_same_bytes_and_digest() -> None:
    image = docker_image("17.03", 1000)
    docker_image.cache_clear()
    again = docker_image("17.03", 1000)
    assert again is not image
    assert again == image
    assert image.digest.hex == hashlib.sha512(image.data).hexdigest()
    assert str(image.digest).startswith("sha512-")
    assert image.file_name == "docker:17.03.torcx.tgz"
    assert docker_image("1.12", 1000).digest != image.digest


def test_the_size_is_as_chosen_and_cannot_be_compressed() -> None:
    image = docker_image("1.12", MEBIBYTE)
    assert MEBIBYTE <= len(image.data) < MEBIBYTE + 20_000
    packed = subprocess.run(["gzip", "-1"], input=image.data, capture_output=True, check=True).stdout
    assert len(packed) > MEBIBYTE
