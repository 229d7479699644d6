"""The built wheel: what an installation gets."""

from __future__ import annotations

import configparser
import zipfile
from pathlib import Path

import pytest

from tests.e2e.tree import PROJECT, built_wheel


@pytest.fixture(scope="module")
def wheel() -> zipfile.Path:
    return zipfile.Path(built_wheel())


def _files(folder: Path) -> set[str]:
    return {
        str(each.relative_to(folder))
        for each in folder.rglob("*")
        if each.is_file() and "__pycache__" not in each.parts and not each.name.startswith(".")
    }


@pytest.mark.parametrize(
    ("folder", "installed"), [("torcxd", "torcxd"), ("states", "torcxd/states"), ("systemd", "torcxd/systemd")]
)
def test_the_wheel_holds_every_file_of(wheel: zipfile.Path, folder: str, installed: str) -> None:
    expected = {f"{installed}/{each}" for each in _files(PROJECT / folder)}
    assert expected
    assert expected <= set(wheel.root.namelist())


def test_the_wheel_holds_nothing_else(wheel: zipfile.Path) -> None:
    roots = {each.split("/")[0] for each in wheel.root.namelist()}
    assert {each for each in roots if not each.endswith(".dist-info")} == {"torcxd"}


@pytest.mark.accepts("A37")
def test_the_original_program_name_is_installed(wheel: zipfile.Path) -> None:
    (metadata,) = (each for each in wheel.iterdir() if each.name.endswith(".dist-info"))
    scripts = configparser.ConfigParser()
    scripts.read_string((metadata / "entry_points.txt").read_text(encoding="utf-8"))
    assert {"torcxd", "tectonic-torcx-bootstrap"} <= set(scripts["console_scripts"])


def test_the_licence_comes_with_it(wheel: zipfile.Path) -> None:
    (licence,) = (each for each in wheel.root.namelist() if each.endswith("/licenses/LICENSE"))
    assert (wheel / licence).read_text(encoding="utf-8") == (PROJECT / "LICENSE").read_text(encoding="utf-8")
