"""The documented keys are those that the program writes."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.unit.docs.pages import PROJECT, first_column
from torcxd.cli import status
from torcxd.clock import SystemClock
from torcxd.daemon import document
from torcxd.daemon.statefile import StateFile
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.facts import Image, Plan, Target
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot
from torcxd.paths import Layout
from torcxd.sources.health import HealthBoard

PAGE = PROJECT / "docs/state-file.md"
TARGET = Target("amd64-usr", "1520.8.0", "1576.4.0", "v1.8.4+coreos.0", "the API server", ("17.03",), "x")
IMAGE = Image("1576.4.0", "docker", "17.03", Digest("sha512", "ab" * 64), ("https://x/y",))
FULL = Snapshot(
    "staged",
    1.0,
    "boot-1",
    plan=Plan(TARGET, "1576.4.0", "17.03", (IMAGE,), resolved=True),
    failure=Failure("m", "h", "transient", 1.0, 2.0, 3),
    reboot=RebootNote("boot-1", "key", clean_docker=True, accepted_at=3.0),
)


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    """What ``torcxd status --json`` prints where everything is known."""
    layout = Layout(tmp_path)
    StateFile(layout).save(FULL)
    HealthBoard(layout.sources_file, SystemClock()).up("node")
    return status.read(str(tmp_path))[0]


@pytest.mark.accepts("N5")
def test_the_keys_of_status_are_documented(report: dict[str, Any]) -> None:
    found = {
        "status": report,
        "plan": report["plan"],
        "target": report["plan"]["target"],
        "image": report["plan"]["images"][0],
        "last_error": report["last_error"],
        "reboot": report["reboot"],
        "process": report["process"],
        "hook": report["hook"],
        "source": report["sources"]["node"],
    }
    for marker, value in found.items():
        assert sorted(first_column(PAGE, f"keys: {marker}")) == sorted(value), marker
    assert sorted(report["plan"]["images"][0]["digest"]) == ["algorithm", "hex"]


def test_the_keys_of_the_file_are_documented(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    StateFile(layout).save(FULL)
    envelope = json.loads(layout.state_file.read_bytes())
    assert sorted(first_column(PAGE, "keys: envelope")) == sorted(envelope)
    assert sorted(first_column(PAGE, "keys: snapshot")) == sorted(envelope["snapshot"])
    assert sorted(envelope["snapshot"]) == sorted(each.name for each in fields(Snapshot))


def test_the_schema_and_the_limit_are_those_that_are_documented() -> None:
    text = PAGE.read_text("utf-8")
    assert f"the schema of the state file that this program reads: {document.SCHEMA}" in text
    assert f"larger than {document.LARGEST >> 20} MiB" in text
