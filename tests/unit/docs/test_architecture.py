"""The rules of docs/architecture.md: who may import whom, and who may do what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.pages import PROJECT, table

PAGE = PROJECT / "docs/architecture.md"
PACKAGE = PROJECT / "torcxd"
# Below every layer: they know nothing of the rest.
EVERYWHERE = {"errors", "messages", "names", "paths", "clock", "__version__"}
# The language itself, and what reads no disk, no clock and no network.
PURE = {"__future__", "collections", "dataclasses", "enum", "re", "transitions", "typing", "yaml"}
# os.rename and the like; methods of Path that do the same.
DURABLE_CALLS = {"fsync", "fdatasync", "link", "rename", "renames", "symlink", "hardlink_to", "symlink_to"}


def modules(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def layers() -> dict[str, int]:
    """Package to layer, from the page."""
    _, _, rest = PAGE.read_text("utf-8").partition("<!-- layers -->\n")
    return {name: int(row[0]) for row in table(rest) for name in re.findall(r"`(\w+)`", row[1])}


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{each.name}" for each in node.names)


def package(path: Path) -> str:
    """The package below torcxd, or the module directly in it, that *path* belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def of_torcxd(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "torcxd" and len(parts) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_lower_layers_only(path: Path) -> None:
    own, table_of_layers = package(path), layers()
    if own in EVERYWHERE | {"__init__", "__main__"}:
        allowed = {"cli", "__version__"} if own == "__main__" else set()
    else:
        allowed = {own, *EVERYWHERE, *(each for each, layer in table_of_layers.items() if layer < table_of_layers[own])}
        if own in {"lifecycle", "manifest_url", "settings"}:
            allowed -= {"messages", "paths", "clock"}
        if own == "lifecycle":
            allowed = {own, "errors"}
        if own not in {"cli", "sandbox"}:
            allowed.discard("sandbox")
    found = {target for name in imported(path) if (target := of_torcxd(name))}
    assert found <= allowed, f"{path.name} imports {sorted(found - allowed)}"


def test_the_page_names_every_package() -> None:
    there = {package(path) for path in modules()} - EVERYWHERE - {"__init__", "__main__"}
    assert set(layers()) == there


@pytest.mark.parametrize("path", modules(PACKAGE / "lifecycle"), ids=lambda path: path.name)
def test_the_core_imports_no_io(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imported(path)} - {"torcxd"}
    assert foreign <= PURE, f"{path.name} imports {sorted(foreign - PURE)}"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [("asks", {"http"}), ("jeepney", {"dbus", "sandbox"}), ("msgspec", {"daemon", "kube"}), ("gnupg", {"addons"})],
)
def test_a_library_is_imported_in_one_place(library: str, allowed: set[str]) -> None:
    users = {package(path) for path in modules() if library in {name.split(".")[0] for name in imported(path)}}
    assert users
    assert users <= allowed


def test_only_one_module_renames_links_and_makes_durable() -> None:
    found: set[str] = set()
    for path in modules():
        if path == PACKAGE / "host/files.py" or package(path) == "sandbox":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            through_files = isinstance(node.func.value, ast.Name) and node.func.value.id == "files"
            if node.func.attr in DURABLE_CALLS and not through_files:
                found.add(f"{path.relative_to(PACKAGE)}: {node.func.attr}")
            if node.func.attr == "replace" and isinstance(node.func.value, ast.Name) and node.func.value.id == "os":
                found.add(f"{path.relative_to(PACKAGE)}: os.replace")
    # The download that it holds open is made durable before host/files.py gives it its name.
    assert found == {"addons/partial.py: fsync"}
