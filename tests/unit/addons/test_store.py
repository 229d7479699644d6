"""torcx's stores: what a boot would use, placing, and garbage collection."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.addons.store import Store
from torcxd.errors import PermanentError
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.versions import parse_os_version
from torcxd.paths import Layout

CURRENT, NEXT = "1520.8.0", "1576.4.0"
TGZ = "docker:17.03.torcx.tgz"
SQUASHFS = "docker:17.03.torcx.squashfs"


@pytest.fixture
def store(layout: Layout) -> Store:
    return Store(layout, CURRENT)


def write(path: Path, content: bytes = b"image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def link(path: Path, to: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)
    return path


def sha512(content: bytes) -> Digest:
    return Digest("sha512", hashlib.sha512(content).hexdigest())


def staged(layout: Layout, content: bytes = b"image") -> Path:
    return write(layout.staging / str(sha512(content)), content)


# Looking.


@pytest.mark.accepts("A20")
def test_the_target_is_in_the_user_store_of_the_os_version(layout: Layout, store: Store) -> None:
    assert store.target(NEXT, "docker", "17.03") == layout.root / f"var/lib/torcx/store/{NEXT}/{TGZ}"


@pytest.mark.parametrize(
    ("version", "name", "reference"), [("..", "a", "b"), ("1.2.3", "a/b", "c"), ("1.2.3", "a", "")]
)
def test_a_name_that_leaves_the_store_is_refused(store: Store, version: str, name: str, reference: str) -> None:
    for ask in (store.target, store.find, store.resolve_reference):
        with pytest.raises(PermanentError, match="cannot be part of a path"):
            ask(version, name, reference)


def test_the_first_store_wins(layout: Layout, store: Store) -> None:
    assert store.find(CURRENT, "docker", "17.03") is None
    for directory in reversed(layout.stores(CURRENT)):
        path = write(directory / TGZ)
        assert store.find(CURRENT, "docker", "17.03") == path


def test_a_squashfs_image_wins_over_an_earlier_tgz(layout: Layout, store: Store) -> None:
    write(layout.stores(CURRENT)[0] / TGZ)
    late = write(layout.user_store / SQUASHFS)
    assert store.find(CURRENT, "docker", "17.03") == late
    early = write(layout.stores(CURRENT)[1] / SQUASHFS)
    assert store.find(CURRENT, "docker", "17.03") == early


def test_the_vendor_store_says_nothing_about_the_next_version(layout: Layout, store: Store) -> None:
    write(layout.stores(CURRENT)[0] / TGZ)
    assert store.find(NEXT, "docker", "17.03") is None
    common = write(layout.stores(NEXT)[2] / TGZ)
    assert store.find(NEXT, "docker", "17.03") == common


def test_a_dangling_link_or_a_directory_is_no_image(layout: Layout, store: Store) -> None:
    link(layout.stores(CURRENT)[0] / TGZ, "docker:1.12.torcx.tgz")
    link(layout.stores(CURRENT)[1] / TGZ, TGZ)  # to itself
    (layout.stores(CURRENT)[2] / TGZ).mkdir(parents=True)
    write(layout.root / "usr/share/oem/torcx/store/file")
    assert store.find(CURRENT, "docker", "17.03") is None


def test_an_absolute_vendor_link_stays_below_the_root(layout: Layout, store: Store) -> None:
    vendor = layout.stores(CURRENT)[0]
    write(vendor / TGZ)
    link(vendor / "docker:com.coreos.cl.torcx.tgz", f"/usr/share/torcx/store/{TGZ}")
    assert store.find(CURRENT, "docker", "com.coreos.cl") == vendor / "docker:com.coreos.cl.torcx.tgz"
    assert store.resolve_reference(CURRENT, "docker", "com.coreos.cl") == "17.03"


def test_an_alias_is_followed_to_its_end(layout: Layout, store: Store) -> None:
    vendor = layout.stores(CURRENT)[0]
    write(vendor / TGZ)
    link(vendor / "docker:17.torcx.tgz", TGZ)
    link(vendor / "docker:com.coreos.cl.torcx.tgz", "docker:17.torcx.tgz")
    assert store.resolve_reference(CURRENT, "docker", "com.coreos.cl") == "17.03"
    assert store.resolve_reference(CURRENT, "docker", "17.03") == "17.03"
    assert store.resolve_reference(CURRENT, "docker", "unknown") == "unknown"
    assert store.resolve_reference(NEXT, "docker", "com.coreos.cl") == "com.coreos.cl"


def test_a_link_to_something_else_names_no_reference(layout: Layout, store: Store) -> None:
    vendor = layout.stores(CURRENT)[0]
    write(vendor / "blob")
    link(vendor / "docker:com.coreos.cl.torcx.tgz", "blob")
    assert store.resolve_reference(CURRENT, "docker", "com.coreos.cl") == "com.coreos.cl"


@pytest.mark.accepts("I2")
async def test_holding_means_having_the_digest(layout: Layout, store: Store) -> None:
    assert not await store.holds(CURRENT, "docker", "17.03", sha512(b"image"))
    path = write(store.target(CURRENT, "docker", "17.03"))
    assert await store.holds(CURRENT, "docker", "17.03", sha512(b"image"))
    assert await store.holds(CURRENT, "docker", "17.03", Digest("sha256", hashlib.sha256(b"image").hexdigest()))
    path.write_bytes(b"imagE")
    assert not await store.holds(CURRENT, "docker", "17.03", sha512(b"image"))


@pytest.mark.accepts("A19")
async def test_an_image_of_the_vendors_own_store_is_held_through_a_link_too(layout: Layout, store: Store) -> None:
    vendor = layout.stores(CURRENT)[0]
    write(vendor / TGZ)
    link(vendor / "docker:com.coreos.cl.torcx.tgz", TGZ)
    assert await store.holds(CURRENT, "docker", "com.coreos.cl", sha512(b"image"))
    assert not await store.holds(NEXT, "docker", "com.coreos.cl", sha512(b"image"))


async def test_a_link_in_the_user_store_is_not_held(layout: Layout, store: Store) -> None:
    write(layout.root / "elsewhere")
    link(store.target(CURRENT, "docker", "17.03"), str(layout.root / "elsewhere"))
    assert not await store.holds(CURRENT, "docker", "17.03", sha512(b"image"))


async def test_nothing_is_held_in_a_linked_directory(layout: Layout, store: Store) -> None:
    write(layout.root / "elsewhere" / TGZ)
    link(layout.user_store / CURRENT, str(layout.root / "elsewhere"))
    assert not await store.holds(CURRENT, "docker", "17.03", sha512(b"image"))


async def test_an_image_of_another_version_is_found_by_digest(layout: Layout, store: Store) -> None:
    write(store.target("1409.0.0", "docker", "17.03"))
    write(store.target(NEXT, "docker", "17.03"), b"another build")
    assert await store.find_digest("docker", "17.03", sha512(b"image")) == store.target("1409.0.0", "docker", "17.03")
    assert await store.find_digest("docker", "17.03", sha512(b"another")) is None
    assert await store.find_digest("docker", "1.12", sha512(b"image")) is None


# Placing.


@pytest.mark.accepts("A20", "I2")
def test_placing_links_the_verified_file(layout: Layout, store: Store) -> None:
    file = staged(layout)
    file.chmod(0o600)
    path = store.place(file, NEXT, "docker", "17.03")
    assert path == store.target(NEXT, "docker", "17.03")
    assert path.samefile(file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(each.name for each in path.parent.iterdir()) == [TGZ]


def test_placing_again_changes_nothing(layout: Layout, store: Store) -> None:
    file = staged(layout)
    first = store.place(file, NEXT, "docker", "17.03").lstat()
    second = store.place(file, NEXT, "docker", "17.03").lstat()
    assert (first.st_ino, first.st_nlink) == (second.st_ino, second.st_nlink) == (file.lstat().st_ino, 2)


def test_placing_replaces_a_wrong_file_and_a_link(layout: Layout, store: Store) -> None:
    target = write(store.target(NEXT, "docker", "17.03"), b"half an ima")
    assert store.place(staged(layout), NEXT, "docker", "17.03").read_bytes() == b"image"
    target.unlink()
    link(target, str(write(layout.root / "elsewhere", b"old")))
    assert store.place(staged(layout), NEXT, "docker", "17.03").read_bytes() == b"image"
    assert not target.is_symlink()
    assert (layout.root / "elsewhere").read_bytes() == b"old"


async def test_an_image_found_by_digest_is_placed_without_a_copy(layout: Layout, store: Store) -> None:
    store.place(staged(layout), CURRENT, "docker", "17.03")
    found = await store.find_digest("docker", "17.03", sha512(b"image"))
    assert found is not None
    assert store.place(found, NEXT, "docker", "17.03").samefile(store.target(CURRENT, "docker", "17.03"))


def test_only_a_regular_file_is_placed(layout: Layout, store: Store) -> None:
    file = staged(layout)
    with pytest.raises(PermanentError, match="is not a regular file"):
        store.place(link(layout.root / "alias", str(file)), NEXT, "docker", "17.03")
    with pytest.raises(PermanentError, match=r"cannot link to .*: No such file"):
        store.place(layout.staging / "absent", NEXT, "docker", "17.03")
    assert not store.target(NEXT, "docker", "17.03").exists()


def test_nothing_is_placed_through_a_linked_directory(layout: Layout, store: Store) -> None:
    (layout.root / "elsewhere").mkdir()
    link(layout.user_store / NEXT, str(layout.root / "elsewhere"))
    with pytest.raises(PermanentError, match="is a symbolic link"):
        store.place(staged(layout), NEXT, "docker", "17.03")
    assert not list((layout.root / "elsewhere").iterdir())


def test_a_hidden_place_is_an_error_unless_the_content_is_the_same(layout: Layout, store: Store) -> None:
    hiding = write(layout.stores(CURRENT)[0] / TGZ, b"other")
    with pytest.raises(PermanentError, match="torcx would use") as caught:
        store.place(staged(layout), CURRENT, "docker", "17.03")
    assert str(hiding) in caught.value.message
    hiding.write_bytes(b"image")
    assert store.place(staged(layout), CURRENT, "docker", "17.03").read_bytes() == b"image"


def test_another_file_system_is_an_error_not_a_copy(
    layout: Layout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(PermanentError, match="different file systems") as caught:
        store.place(staged(layout), NEXT, "docker", "17.03")
    assert str(layout.torcx_state) in caught.value.hint
    assert not store.target(NEXT, "docker", "17.03").exists()


# Garbage collection.


@pytest.mark.accepts("A29", "I5")
def test_only_older_versions_are_removed(layout: Layout, store: Store) -> None:
    names = ["1409.7.0", "1520.8.0-rc.1", CURRENT, f"{CURRENT}+build-1", "1550.0.0", NEXT, "latest", "1409.7", ".1.2.3"]
    for each in names:
        write(layout.user_store / each / "sub" / TGZ)
    write(layout.user_store / TGZ)
    write(layout.user_store / "1298.0.0", b"a file")
    link(layout.user_store / "1353.0.0", CURRENT)
    assert store.versions() == ("1409.7.0", "1520.8.0-rc.1", CURRENT, f"{CURRENT}+build-1", "1550.0.0", NEXT)
    assert store.gc(CURRENT, NEXT) == ("1409.7.0", "1520.8.0-rc.1")
    kept = {each.name for each in layout.user_store.iterdir()}
    assert kept == {*names, TGZ, "1298.0.0", "1353.0.0"} - {"1409.7.0", "1520.8.0-rc.1"}
    assert (layout.user_store / CURRENT / "sub" / TGZ).read_bytes() == b"image"
    assert store.gc(CURRENT, NEXT) == ()


@pytest.mark.accepts("A29")
def test_an_older_next_version_is_kept(layout: Layout, store: Store) -> None:
    for each in ("1409.7.0", "1465.8.0", CURRENT):
        write(layout.user_store / each / TGZ)
    assert store.gc(CURRENT, "1465.8.0") == ("1409.7.0",)
    assert store.versions() == ("1465.8.0", CURRENT)


@pytest.mark.accepts("I4", "I5")
@pytest.mark.parametrize(
    ("current", "next_"),
    [("", NEXT), (CURRENT, ""), (CURRENT, "0.0.0"), ("0.0.0", NEXT), (CURRENT, "x"), ("1.2", NEXT)],
)
def test_nothing_is_removed_while_a_version_is_unknown(layout: Layout, store: Store, current: str, next_: str) -> None:
    write(layout.user_store / "1409.7.0" / TGZ)
    with pytest.raises(PermanentError, match="OS version is not known"):
        store.gc(current, next_)
    assert store.versions() == ("1409.7.0",)


def test_removal_does_not_follow_links(layout: Layout, store: Store) -> None:
    outside = write(layout.root / "outside" / "precious")
    write(layout.user_store / "1409.7.0" / TGZ)
    link(layout.user_store / "1409.7.0" / "link", str(outside.parent))
    assert store.gc(CURRENT, NEXT) == ("1409.7.0",)
    assert outside.read_bytes() == b"image"


def test_a_failure_to_remove_one_spares_the_others_nothing(
    layout: Layout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("1409.7.0", "1465.8.0"):
        write(layout.user_store / each / TGZ)
    real = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if Path(f"/proc/self/fd/{dir_fd}").readlink().name == "1409.7.0":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermanentError, match=r"cannot remove .*1409\.7\.0: Read-only file system"):
        store.gc(CURRENT, NEXT)
    assert store.versions() == ("1409.7.0",)


def test_an_absent_store_has_no_versions(store: Store) -> None:
    assert store.versions() == ()
    assert store.gc(CURRENT, NEXT) == ()


SMALL = st.tuples(*[st.integers(min_value=0, max_value=3)] * 3).map(lambda three: ".".join(map(str, three)))
NAMES = st.one_of(SMALL, SMALL.map(lambda each: f"{each}-rc.1"), SMALL.map(lambda each: f"{each}+b"), st.just("x"))


@pytest.mark.accepts("A29", "I5")
@given(
    st.sets(NAMES, max_size=6), SMALL.filter(lambda each: each != "0.0.0"), SMALL.filter(lambda each: each != "0.0.0")
)
def test_what_goes_is_older_than_the_current_and_not_the_next(names: set[str], current: str, next_: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        layout = Layout(Path(root))
        for each in names | {current, next_}:
            (layout.user_store / each).mkdir(parents=True)
        removed = Store(layout, current).gc(current, next_)
        left = {each.name for each in layout.user_store.iterdir()}
        assert left == (names | {current, next_}) - set(removed)
        assert {current, next_} <= left
        assert all(parse_os_version(each) < parse_os_version(current) for each in removed)
        expected = {
            each for each in names - {next_} if each != "x" and parse_os_version(each) < parse_os_version(current)
        }
        assert {each for each in expected if parse_os_version(each) != parse_os_version(next_)} == set(removed)
