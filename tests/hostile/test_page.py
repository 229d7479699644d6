"""docs/security.md and the attacks name each other: no defence is claimed without its test, no attack goes untold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs/security.md"
# What tests the stage, the page, or that something harmless is not refused.
ABOUT_THEMSELVES = {"test_scene.py", "test_page.py"}


def _attacks() -> dict[str, bool]:
    """Each test here, and whether it is an attack."""
    found = {}
    for path in FOLDER.glob("test_*.py"):
        if path.name in ABOUT_THEMSELVES:
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found[node.name] = any("attack" in ast.unparse(each) for each in node.decorator_list)
    return found


def _named() -> set[str]:
    return set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))


def test_every_test_that_is_named_is_one() -> None:
    assert _named() <= set(_attacks())


def test_every_attack_is_named() -> None:
    attacks = {name for name, is_attack in _attacks().items() if is_attack}
    assert len(attacks) > 50
    assert attacks <= _named()
