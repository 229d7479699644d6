"""The lock files: complete, hashed, and free of the place where they were made."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements-build.lock", "requirements.lock", "requirements-dev.lock"]


def pinned(lock: str) -> dict[str, str]:
    """Each requirement with its block of lines."""
    text = (PROJECT / lock).read_text(encoding="utf-8")
    blocks = re.findall(r"^([a-z0-9.-]+)==((?:.*\\\n)*.*)", text, re.MULTILINE)
    return dict(blocks)


@pytest.mark.parametrize("lock", LOCKS)
def test_each_requirement_has_hashes(lock: str) -> None:
    blocks = pinned(lock)
    assert blocks
    assert [name for name, block in blocks.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_tells_where_it_was_made(lock: str) -> None:
    text = (PROJECT / lock).read_text(encoding="utf-8")
    assert re.findall(r"://|find-links|index-url|trusted-host|^/| /", text, re.MULTILINE) == []


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["sandbox"]]
    names = {re.split(r"[^A-Za-z0-9.-]", each)[0].lower() for each in wanted}
    assert names <= set(pinned("requirements.lock"))
    assert set(pinned("requirements.lock")) <= set(pinned("requirements-dev.lock"))
