"""Digests of files: what is remembered, and when a file is hashed again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from torcxd.addons.hashing import Digests
from torcxd.errors import Kind, PermanentError, TorcxdError
from torcxd.lifecycle.catalog import Digest


def sha512(content: bytes) -> Digest:
    return Digest("sha512", hashlib.sha512(content).hexdigest())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"an image")
    return path


def replace_unnoticed(path: Path, content: bytes) -> None:
    """As a bad disk does it: same size, same time."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_digest_is_computed_for_each_algorithm(file: Path) -> None:
    digests = Digests()
    assert digests.of(file, "sha512") == sha512(b"an image")
    assert digests.of(file, "sha256") == Digest("sha256", hashlib.sha256(b"an image").hexdigest())


@pytest.mark.accepts("I2")
def test_what_looks_the_same_is_hashed_once_in_a_process(file: Path) -> None:
    digests = Digests()
    digests.of(file, "sha512")
    replace_unnoticed(file, b"an imagE")
    assert digests.of(file, "sha512") == sha512(b"an image")
    # Another process, which has seen nothing.
    assert Digests().of(file, "sha512") == sha512(b"an imagE")


def test_a_further_name_and_another_mode_make_no_other_file(file: Path) -> None:
    digests = Digests()
    digests.learn(file, sha512(b"what was hashed on the way"))
    link = file.with_name("link")
    link.hardlink_to(file)
    link.chmod(0o600)
    assert digests.of(link, "sha512") == sha512(b"what was hashed on the way")


@pytest.mark.accepts("I2")
@pytest.mark.parametrize("content", [b"longer than it was", b"an imagE"])
def test_a_changed_file_is_hashed_again(file: Path, content: bytes) -> None:
    digests = Digests()
    digests.of(file, "sha512")
    before = file.stat().st_mtime_ns
    file.write_bytes(content)
    os.utime(file, ns=(before, before + 1))
    assert digests.of(file, "sha512") == sha512(content)


@pytest.mark.accepts("I2")
def test_a_new_file_of_the_same_name_is_hashed(file: Path) -> None:
    digests = Digests()
    digests.of(file, "sha512")
    before = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"an imagE")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)
    assert digests.of(file, "sha512") == sha512(b"an imagE")


def test_links_and_other_things_have_no_digest(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    digests = Digests()
    with pytest.raises(TorcxdError, match="link"):
        digests.of(link, "sha512")
    pipe = file.with_name("pipe")
    os.mkfifo(pipe)
    with pytest.raises(PermanentError, match="not a regular file"):
        digests.of(pipe, "sha512")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(TorcxdError, match=str(missing)) as caught:
        Digests().of(missing, "sha512")
    assert caught.value.kind is not Kind.TRANSIENT
    with pytest.raises(TorcxdError, match=str(missing)):
        Digests().learn(missing, sha512(b""))


def test_a_directory_in_place_of_the_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(PermanentError):
        Digests().of(tmp_path, "sha512")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
