"""A local user who has left something where root works: in staging, the stores, the state folder, a metrics folder.

The attacker is the user 1000. What it owns, it can open and keep open, change, and set back to the same size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hostile.attack import Removal, attack, nothing, removed
from tests.hostile.conftest import Ring
from tests.hostile.scene import IMAGE, OS, OTHER_IMAGE, OTHER_OS, Scene, document, version
from torcxd import config_files
from torcxd.addons import partial, private, signature, staging, store
from torcxd.daemon import metrics_endpoint
from torcxd.daemon.statefile import StateFile
from torcxd.errors import ConfigurationError
from torcxd.host import files
from torcxd.paths import Layout

ATTACKER: Final = 1000
SECRET: Final = b"root:$6$secret\n"
EVIL: Final = bytes(reversed(IMAGE.data))

PRIVATE: Final = removed(staging, "private_directory", nothing)
LINKS: Final = removed(os, "O_NOFOLLOW", 0)


def trusting(module: Any) -> Removal:
    """The module takes everything for its own."""
    return removed(module, "untrusted", lambda found: "")


def give(path: Path) -> Path:
    """The attacker owns it."""
    os.chown(path, ATTACKER, ATTACKER)
    return path


def precious(scene: Scene) -> Path:
    """A file of root's that nobody else may read or write."""
    path = scene.node.write("/root/shadow", SECRET)
    path.chmod(0o600)
    return path


def harmed(path: Path) -> str:
    """What was done to a file of root's; empty when nothing was."""
    found = path.lstat()
    if path.read_bytes() != SECRET:
        return f"{path} was overwritten"
    return f"{path} has mode {found.st_mode:o}" if stat.S_IMODE(found.st_mode) != 0o600 else ""


def change(path: Path) -> None:
    """What the owner of a file can do to it unseen: other bytes, of the same size and time."""
    found = path.stat()
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, EVIL, 0)
    finally:
        os.close(descriptor)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def final(scene: Scene, os_version: str = OS) -> Path:
    return scene.node.layout.user_store / os_version / IMAGE.file_name


def changed_later(scene: Scene, path: Path) -> str:
    """Whether the attacker, who owns *path* if it is the same file still, can now change the image in the store."""
    image = final(scene)
    if image.exists() and image.stat().st_uid == ATTACKER:
        change(image)
    return scene.judge()


def private_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


# Staging.


@pytest.mark.accepts("N2")
@attack(trusting(partial), trusting(staging), trusting(store))
async def test_a_partial_file_that_the_attacker_keeps_open(scene: Scene) -> str:
    part = private_folder(scene.staging) / f"{IMAGE.digest}.part"
    part.touch(0o666)
    kept = os.open(give(part), os.O_RDWR)
    try:
        assert await scene.stage() == ""
        os.pwrite(kept, EVIL, 0)
        return scene.judge()
    finally:
        os.close(kept)


@pytest.mark.accepts("N2")
@attack(trusting(staging), trusting(store))
async def test_a_whole_file_with_the_right_bytes_until_it_is_placed(scene: Scene) -> str:
    whole = private_folder(scene.staging) / str(IMAGE.digest)
    whole.write_bytes(IMAGE.data)
    give(whole)
    assert await scene.stage() == ""
    return changed_later(scene, whole)


@pytest.mark.accepts("N2")
@attack(removed(partial, "_is_shared", lambda found: False))
async def test_a_hard_link_in_staging_to_a_file_of_roots(scene: Scene) -> str:
    secret = precious(scene)
    os.link(secret, private_folder(scene.staging) / f"{IMAGE.digest}.part")
    await scene.stage()
    return harmed(secret)


@pytest.mark.accepts("N2")
@attack(LINKS, removed(os.path, "samestat", lambda one, other: True))
async def test_a_symbolic_link_in_staging_to_a_file_of_roots(scene: Scene) -> str:
    secret = precious(scene)
    (private_folder(scene.staging) / f"{IMAGE.digest}.part").symlink_to(secret)
    await scene.stage()
    return harmed(secret)


@pytest.mark.accepts("N2")
@attack(PRIVATE)
async def test_a_staging_folder_of_the_attackers_in_which_it_swaps_what_was_verified(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> str:
    give(private_folder(scene.staging))
    plan = await scene.fetch()
    if plan is None:
        return ""
    swap_after_verification(scene, monkeypatch)
    await scene.place(plan)
    return scene.judge()


@pytest.mark.accepts("N2")
@attack(PRIVATE)
async def test_a_link_in_place_of_the_staging_folder(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> str:
    elsewhere = give(private_folder(scene.root / "home"))
    scene.staging.parent.mkdir(parents=True, exist_ok=True)
    scene.staging.symlink_to(elsewhere)
    plan = await scene.fetch()
    if plan is None:
        return ""
    swap_after_verification(scene, monkeypatch)
    await scene.place(plan)
    return scene.judge()


def swap_after_verification(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as the file was hashed, the owner of its folder puts another in its place."""
    holds = staging.Staging.holds

    async def and_swap(self: staging.Staging, digest: Any) -> bool:
        answer = await holds(self, digest)
        evil = self.path(digest).with_name("evil")
        evil.write_bytes(EVIL)
        evil.rename(self.path(digest))
        return answer

    monkeypatch.setattr(staging.Staging, "holds", and_swap)


@pytest.mark.accepts("N2")
@attack(removed(private, "_empty", nothing), trusting(partial), trusting(staging), trusting(store))
async def test_a_staging_folder_that_was_open_to_everybody(scene: Scene) -> str:
    scene.staging.mkdir(parents=True)
    scene.staging.chmod(0o777)
    whole = scene.staging / str(IMAGE.digest)
    whole.write_bytes(IMAGE.data)
    give(whole)
    assert await scene.stage() == ""
    return changed_later(scene, whole)


@pytest.mark.accepts("N2")
@attack(removed(private, "check_directory", nothing), removed(store, "check_directory", nothing))
async def test_a_folder_above_staging_that_others_can_write(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> str:
    above = scene.staging.parent
    above.mkdir(parents=True, exist_ok=True)
    above.chmod(0o777)
    plan = await scene.fetch()
    if plan is None:
        return ""
    # They rename it away, and put their own in its place.
    swap_after_verification(scene, monkeypatch)
    await scene.place(plan)
    return scene.judge()


# The stores.


@pytest.mark.accepts("N2")
@attack(removed(store, "check_directory", nothing))
async def test_a_store_of_the_attackers(scene: Scene) -> str:
    give(private_folder(final(scene).parent))
    await scene.stage()
    if final(scene).exists():
        # It need not be its own: the folder is.
        final(scene).unlink()
        final(scene).write_bytes(EVIL)
    return scene.judge()


@pytest.mark.accepts("N2")
@attack(trusting(store), trusting(staging))
async def test_an_image_of_another_os_version_that_the_attacker_owns(scene: Scene) -> str:
    other = scene.node.write(f"/var/lib/torcx/store/{OTHER_OS}/{IMAGE.file_name}", IMAGE.data)
    scene.bucket.signed.add((scene.key.fingerprint, OTHER_OS, manifest_of_image()))
    give(other)
    await scene.stage()
    return changed_later(scene, other)


def manifest_of_image() -> bytes:
    return json.dumps(document(version(IMAGE, "https://x/"))).encode()


@pytest.mark.accepts("N2")
@attack(trusting(store))
async def test_an_image_in_its_place_that_the_attacker_owns(scene: Scene) -> str:
    give(scene.node.write(f"/var/lib/torcx/store/{OS}/{IMAGE.file_name}", IMAGE.data))
    await scene.stage()
    return changed_later(scene, final(scene))


@pytest.mark.accepts("N2")
@attack(removed(store, "check_directory", nothing))
async def test_an_image_of_roots_in_a_folder_of_the_attackers(scene: Scene) -> str:
    image = scene.node.write(f"/var/lib/torcx/store/{OS}/{IMAGE.file_name}", IMAGE.data)
    give(image.parent)
    await scene.stage()
    if scene.error is not None:
        return ""
    image.unlink()
    image.write_bytes(EVIL)
    return scene.judge()


@pytest.mark.accepts("N2")
@attack(removed(store, "check_directory", nothing))
async def test_an_image_of_another_os_version_in_a_folder_of_the_attackers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> str:
    other = scene.node.write(f"/var/lib/torcx/store/{OTHER_OS}/{IMAGE.file_name}", IMAGE.data)
    scene.bucket.signed.add((scene.key.fingerprint, OTHER_OS, manifest_of_image()))
    give(other.parent)
    plan = await scene.fetch()
    assert plan is not None
    find = store.Store.find_digest

    async def swapped(self: store.Store, *arguments: Any) -> Path | None:
        found = await find(self, *arguments)
        if found is not None:
            found.unlink()
            found.write_bytes(EVIL)
        return found

    monkeypatch.setattr(store.Store, "find_digest", swapped)
    await scene.place(plan)
    other.unlink(missing_ok=True)
    return scene.judge()


# Keyring, configuration, state.


def _owned(path: Path) -> None:
    give(path)


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


def _open_to_a_group(path: Path) -> None:
    os.chown(path, 0, ATTACKER)
    path.chmod(0o664)


WAYS: Final = pytest.mark.parametrize(
    "way", [_owned, _open_to_all, _open_to_a_group], ids=["owned", "open to all", "open to a group"]
)


@pytest.mark.accepts("A6")
@WAYS
@attack(trusting(signature), removed(signature, "read_trusted", files.read_bytes))
async def test_a_keyring_that_others_can_write(scene: Scene, ring: Ring, way: Callable[[Path], None]) -> str:
    way(scene.node.write("/etc/torcxd/pubring.gpg", ring.good.public + ring.foreign.public))
    scene.forge_manifest(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data))), signer=ring.foreign)
    return await scene.stage()


FOLDER_WAYS: Final = pytest.mark.parametrize("mode", [0o777, 0o755], ids=["open to all", "owned"])


def _folder(path: Path, mode: int) -> None:
    """The attacker can remove, rename and link what is in the folder *path*."""
    path.chmod(mode)
    if mode == 0o755:
        give(path)


@pytest.mark.accepts("A6")
@FOLDER_WAYS
@attack(removed(signature, "check_directory", nothing))
async def test_a_keyring_in_a_folder_that_others_can_write(scene: Scene, ring: Ring, mode: int) -> str:
    """They put back the one of before, which still has the key that was stolen."""
    before = scene.node.write("/etc/torcxd/pubring.gpg.before", ring.good.public + ring.foreign.public)
    _folder(before.parent, mode)
    before.rename(before.with_name("pubring.gpg"))
    scene.forge_manifest(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data))), signer=ring.foreign)
    return await scene.stage()


@pytest.mark.accepts("A6")
@attack(removed(private, "_empty", nothing))
async def test_a_planted_form_of_the_keyring(scene: Scene, ring: Ring) -> str:
    """What gpg has imported is named after the keyring's digest, which everybody knows."""
    home = scene.node.layout.keyring_home
    planted = home / hashlib.sha256(ring.good.public).hexdigest()
    private_folder(planted)
    command = ["gpg", "--homedir", str(planted), "--batch", "--quiet", "--no-autostart", "--import"]
    # It complains of the agent that it does not need.
    subprocess.run(command, input=ring.good.public + ring.foreign.public, stderr=subprocess.DEVNULL, check=False)
    assert (planted / "pubring.kbx").exists()
    home.chmod(0o777)
    scene.forge_manifest(document(version(OTHER_IMAGE, scene.offer(OTHER_IMAGE.data))), signer=ring.foreign)
    return await scene.stage()


@WAYS
@attack(removed(config_files, "read_trusted", files.read_bytes))
async def test_a_configuration_that_others_can_write(folder: Path, way: Callable[[Path], None]) -> str:
    path = folder / "etc/torcxd/config.d/00-site.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("no_verify_signatures: true\n")
    way(path)
    try:
        return str(config_files.load(Layout(folder)) or "")
    except ConfigurationError as error:
        return "" if "cannot be trusted" in error.message else str(error)


@FOLDER_WAYS
@pytest.mark.parametrize("name", ["etc/torcxd", "etc/torcxd/config.d"])
@attack(removed(config_files, "check_directory", nothing))
async def test_a_configuration_in_a_folder_that_others_can_write(folder: Path, name: str, mode: int) -> str:
    """They take it away, and the defaults are in force."""
    path = folder / "etc/torcxd/config.d/00-site.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("torcx_manifest_url: https://mirror.example/{{.OSVersion}}\n")
    _folder(folder / name, mode)
    path.unlink()
    try:
        return "the defaults" if not config_files.load(Layout(folder)) else ""
    except ConfigurationError as error:
        return "" if "cannot be trusted" in error.message else str(error)


def _through_links(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


@pytest.mark.parametrize(
    "name", ["/var/lib/torcxd/state.json", "/etc/torcx/next-profile", "/etc/kubernetes/kubelet.env"]
)
@attack(removed(files, "write_atomic", _through_links))
async def test_a_link_in_place_of_a_file_that_is_written(scene: Scene, name: str) -> str:
    secret = precious(scene)
    path = scene.node.layout.at(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(secret)
    files.write_atomic(path, b"new\n")
    assert path.read_bytes() == b"new\n"
    return harmed(secret)


def _by_a_known_name(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    temporary.rename(path)


@attack(removed(files, "write_volatile", _by_a_known_name))
async def test_a_link_in_the_folder_of_the_metrics(scene: Scene) -> str:
    secret = precious(scene)
    folder = give(private_folder(scene.root / "var/lib/node_exporter"))
    (folder / ".torcxd.prom.new").symlink_to(secret)
    files.write_volatile(folder / "torcxd.prom", b"metric 1\n")
    return harmed(secret)


@attack(removed(metrics_endpoint, "_open_to_all", lambda path: path.chmod(0o666)))
async def test_a_link_in_place_of_the_metrics_socket(scene: Scene) -> str:
    """Between the making of the socket and the change of its mode."""
    secret = precious(scene)
    (path := scene.root / "metrics.socket").symlink_to(secret)
    with contextlib.suppress(FileExistsError):
        metrics_endpoint._open_to_all(path)
    return harmed(secret)


async def test_everybody_may_use_the_metrics_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s"))
        metrics_endpoint._open_to_all(folder / "s")
        assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o666


def _as_the_umask_says(directory: Path, mode: int = 0o777) -> None:
    directory.mkdir(parents=True, exist_ok=True)


@pytest.mark.accepts("N2")
@attack(
    removed(files, "make_directory", _as_the_umask_says),
    removed(private, "check_directory", nothing),
    removed(store, "check_directory", nothing),
)
async def test_a_process_that_was_started_without_an_umask(scene: Scene) -> str:
    before = os.umask(0)
    try:
        await scene.stage()
        StateFile(scene.node.layout).record({"at": 1})
    finally:
        os.umask(before)
    # gpg's own files lie in a folder that nobody else can enter.
    layout = scene.node.layout
    made = [*layout.torcx_state.rglob("*"), *layout.state_directory.glob("*")]
    writable = [str(each) for each in made if each.lstat().st_mode & 0o022 and not each.is_symlink()]
    return ", ".join(writable)
