"""What a restart has looked into: only what it has not may be otherwise in an image that it stands for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.power.alike import Alikes, Watch
from tests.power.cuts import Cut, World
from tests.power.image import Image, Item, SameAs, write_image
from tests.power.sizes import note_sizes

IMAGE: Image = {
    "var": Item(None, 0o755),
    "var/lib": Item(None, 0o755),
    "var/lib/a": Item(b"aaaa", 0o644),
    "var/lib/again": Item(SameAs("var/lib/a")),
    "var/lib/b": Item(b"bbbb", 0o600),
    "var/lib/link": Item("b"),
}


def cut(image: Image = IMAGE, **others: Item) -> Cut:
    changed = {name.replace("_", "/"): item for name, item in others.items()}
    return Cut({**image, **changed}, World(), "nothing", "nothing")


@pytest.fixture
def node(folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node with the image, and this process is one that notes what it asks for."""
    root = folder / "alike"
    (root / "var").mkdir(parents=True)
    write_image(root, IMAGE, ("var",))
    watch.begin(root, IMAGE)
    for name in ("stat", "lstat", "fstat"):
        monkeypatch.setattr(os, name, getattr(os, name))
    note_sizes(watch.notes)
    yield root
    monkeypatch.undo()
    shutil.rmtree(root)


def seen(watch: Watch) -> Alikes:
    alikes = Alikes()
    alikes.add(cut(), watch.sight())
    return alikes


def test_what_nobody_looked_into_may_be_otherwise(watch: Watch, node: Path) -> None:
    (node / "var/lib/b").unlink()
    alikes = seen(watch)
    assert alikes.has(cut())
    assert alikes.has(cut(var_lib_a=Item(b"other and longer", 0o644), var_lib_b=Item(b"", 0o600)))


def test_what_was_written_over_was_not_read(watch: Watch, node: Path) -> None:
    with (node / "var/lib/b").open("wb") as stream:
        os.pwrite(stream.fileno(), b"new", 0)
    assert not watch.sight().contents


def test_what_was_read_may_not(watch: Watch, node: Path) -> None:
    (node / "var/lib/b").read_bytes()
    alikes = seen(watch)
    assert alikes.has(cut(var_lib_a=Item(b"bbbb", 0o644)))
    assert not alikes.has(cut(var_lib_b=Item(b"abbb", 0o600)))


def test_what_was_read_by_another_name_may_not(watch: Watch, node: Path) -> None:
    (node / "var/lib/again").rename(node / "var/moved")
    (node / "var/lib/a").unlink()
    (node / "var/moved").read_bytes()
    assert not seen(watch).has(cut(var_lib_a=Item(b"AAAA", 0o644)))


def test_of_what_was_asked_for_its_size_counts(watch: Watch, node: Path) -> None:
    assert (node / "var/lib/b").exists()
    alikes = seen(watch)
    assert alikes.has(cut(var_lib_b=Item(b"cccc", 0o600)))
    assert not alikes.has(cut(var_lib_b=Item(b"ccc", 0o600)))


def test_in_gpgs_home_every_size_counts(watch: Watch, node: Path) -> None:
    name = "var/lib/torcxd/gnupg/x"
    image = {
        **IMAGE,
        "var/lib/torcxd": Item(None, 0o755),
        "var/lib/torcxd/gnupg": Item(None, 0o700),
        name: Item(b"12", 0o600),
    }
    write_image(node, image, ("var",))
    watch.begin(node, image)
    alikes = Alikes()
    alikes.add(cut(image), watch.sight())
    assert alikes.has(cut({**image, name: Item(b"34", 0o600)}))
    assert not alikes.has(cut({**image, name: Item(b"345", 0o600)}))


@pytest.mark.parametrize(
    "other",
    [
        cut(var_lib_a=Item(b"aaaa", 0o640)),
        cut(var_lib_a=Item(None, 0o644)),
        cut(var_lib_link=Item("a")),
        cut(var_lib_again=Item(b"aaaa", 0o644)),
        cut(var_lib_more=Item(b"", 0o644)),
        replace(cut(), world=World(installed=True)),
    ],
    ids=["mode", "kind", "target", "two-files", "name", "world"],
)
def test_all_but_what_is_in_files_counts_in_any_case(watch: Watch, node: Path, other: Cut) -> None:
    assert not seen(watch).has(other)
