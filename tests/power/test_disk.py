"""The model of the disk: what is durable, and what may be left of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power.cuts import _scattered
from tests.power.disk import Disk
from tests.power.image import FOLDER_MODE, Image, Item, SameAs, read_image, write_image
from tests.power.record import Call


class Machine:
    """A disk in a folder, and what is done to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "var").mkdir()
        (root / "var/old").write_bytes(b"old")
        self.disk = Disk(root, ("var",))

    def do(self, name: str, *paths: str, data: bytes = b"", flags: str = "", mode: int = 0o644) -> None:
        self.disk.apply(
            Call(
                0,
                name,
                tuple(f"{self.root}/var/{each}".rstrip("/") for each in paths),
                data,
                mode,
                frozenset(flags.split()),
            )
        )

    def write(self, name: str, data: bytes) -> None:
        self.do("open", name, flags="O_CREAT O_TRUNC")
        self.do("write", name, data=data)

    def images(self) -> list[Image]:
        return list(self.disk.images())

    def contents(self) -> list[dict[str, object]]:
        """The images without modes."""
        return [{name: item.content for name, item in each.items()} for each in self.images()]

    def may_hold(self, name: str) -> set[object]:
        return {each.get(f"var/{name}", "nothing") for each in self.contents()}

    def may_be(self, name: str) -> set[Item | None]:
        return {each.get(f"var/{name}") for each in self.images()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_was_there_before_is_durable(machine: Machine) -> None:
    assert machine.contents() == [{"var": None, "var/old": b"old"}]
    assert machine.disk.image() == machine.images()[0]


def test_a_new_file_may_have_its_name_before_its_content(machine: Machine) -> None:
    machine.write("new", b"new!")
    assert machine.may_hold("new") == {"nothing", b"new!", b"", bytes(4), b"ne", b"ne\0\0", b"\0\0w!"}


def test_a_file_without_a_durable_name_is_not_there(machine: Machine) -> None:
    machine.write("new", b"new!")
    machine.do("fsync", "new")
    assert machine.may_hold("new") == {"nothing", b"new!"}


def test_a_name_alone_makes_no_content_durable(machine: Machine) -> None:
    machine.write("new", b"new!")
    machine.do("fsync", "")
    assert {b"", b"new!"} <= machine.may_hold("new")
    assert "nothing" not in machine.may_hold("new")


def test_a_replaced_file_is_old_or_new(machine: Machine) -> None:
    machine.write("new", b"new!")
    machine.do("fsync", "new")
    machine.do("rename", "new", "old")
    assert machine.may_hold("old") == {b"old", b"new!"}
    machine.do("fsync", "")
    assert machine.contents() == [{"var": None, "var/old": b"new!"}]


def test_a_file_that_is_replaced_too_early_is_torn(machine: Machine) -> None:
    machine.write("new", b"new!")
    machine.do("rename", "new", "old")
    machine.do("fsync", "")
    assert b"" in machine.may_hold("old")


def test_directories_are_changed_in_any_order(machine: Machine) -> None:
    machine.do("mkdir", "a")
    machine.do("mkdir", "b")
    assert {(each.get("var/a", 0), each.get("var/b", 0)) for each in machine.contents()} == {
        (0, 0),
        (None, 0),
        (0, None),
        (None, None),
    }


def test_a_rename_between_directories_is_two_changes(machine: Machine) -> None:
    machine.do("mkdir", "a")
    machine.do("fsync", "")
    machine.do("rename", "old", "a/old")
    assert {("var/old" in each, "var/a/old" in each) for each in machine.contents()} == {
        (True, False),
        (True, True),
        (False, True),
        (False, False),
    }


def test_a_sync_makes_everything_durable(machine: Machine) -> None:
    machine.write("new", b"new!")
    machine.do("mkdir", "a", mode=0o700)
    machine.do("link", "new", "a/second")
    machine.disk.apply(Call(0, "sync"))
    assert machine.images() == [
        {
            "var": Item(None, FOLDER_MODE),
            "var/a": Item(None, 0o700),
            "var/a/second": Item(b"new!", 0o644),
            "var/new": Item(SameAs("var/a/second")),
            "var/old": Item(b"old", 0o644),
        }
    ]


def test_the_end_of_a_file_may_be_there_without_its_beginning(machine: Machine) -> None:
    machine.write("new", b"a" * 4096 + b"b" * 4096)
    assert bytes(4096) + b"b" * 4096 in machine.may_hold("new")


def test_what_was_appended_may_be_torn_or_zeros(machine: Machine) -> None:
    machine.do("open", "old", flags="O_APPEND")
    machine.do("write", "old", data=b" and new")
    assert {b"old", b"old and new", b"old and", b"old" + bytes(8), bytes(11), b""} <= machine.may_hold("old")


def test_a_mode_is_the_old_or_the_new_one(machine: Machine) -> None:
    machine.do("chmod", "old", mode=0o600)
    assert machine.may_be("old") == {Item(b"old", 0o644), Item(b"old", 0o600)}
    machine.do("fsync", "")
    assert machine.may_be("old") == {Item(b"old", 0o644), Item(b"old", 0o600)}
    machine.do("fsync", "old")
    assert machine.may_be("old") == {Item(b"old", 0o600)}


def test_a_mode_and_a_content_come_one_without_the_other(machine: Machine) -> None:
    machine.do("chmod", "old", mode=0o600)
    machine.do("open", "old", flags="O_APPEND")
    machine.do("write", "old", data=b"er")
    assert {Item(b"old", 0o600), Item(b"older", 0o644)} < machine.may_be("old")


def test_the_mode_of_a_directory_is_durable_with_its_entries(machine: Machine) -> None:
    machine.do("mkdir", "a", mode=0o755)
    machine.do("chmod", "a", mode=0o700)
    assert machine.may_be("a") == {None, Item(None, 0o755), Item(None, 0o700)}
    machine.do("fsync", "a")
    assert machine.may_be("a") == {None, Item(None, 0o700)}


def test_an_image_can_be_written_and_read(machine: Machine) -> None:
    machine.do("mkdir", "a", mode=0o710)
    machine.do("symlink", "a/link", data=b"/somewhere")
    machine.do("link", "old", "a/old")
    machine.do("chmod", "old", mode=0o604)
    image = machine.disk.image()
    write_image(machine.root, image, ("var",))
    assert read_image(machine.root, ("var",)) == image
    assert Disk(machine.root, ("var",)).image() == image


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 100])
def test_numbers_are_scattered_and_none_is_lost(count: int) -> None:
    assert sorted(_scattered(count)) == list(range(count))
