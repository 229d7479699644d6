"""``torcxd status``: for people and for programs, whatever the state file is like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.test_statefile import FULL
from torcxd.cli import status
from torcxd.daemon import holder
from torcxd.daemon.lock import only_instance
from torcxd.daemon.statefile import StateFile
from torcxd.errors import TransientError
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot
from torcxd.paths import Layout
from torcxd.sources.health import HealthBoard

KEYS = {
    "schema", "process", "state", "since", "boot_id", "waiting_for", "waiting_until", "plan", "last_error", "attempts",
    "next_try", "reboot", "boots", "published_at", "hook", "sources", "problem",
}  # fmt: skip


class StoppedClock:
    def now(self) -> float:
        return 1000.0


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torcxd", "status", f"--root={root}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"NO_COLOR": "1"},
    )


@pytest.mark.accepts("N5")
def test_everything_an_operator_asks_is_told(tmp_path: Path) -> None:
    StateFile(Layout(tmp_path)).save(FULL)
    report, exit_code = status.read(str(tmp_path))
    assert exit_code == 0
    assert status.render(report, now=20.0).splitlines() == [
        "State:      reboot-pending since 1970-01-01 00:00:12Z (8 s ago)",
        "Running:    no; this is what the last torcxd has recorded",
        "Waits for:  w, until 1970-01-01 00:00:09Z",
        "OS:         1520.8.0 → 1576.4.0",
        "Kubernetes: v1.8.4+coreos.0 (from the API server)",
        "Docker:     17.03",
        "Image:      docker:17.03 for OS 1576.4.0",
        "Last error: m (attempt 3, 18 s ago, first 1970-01-01 00:00:01Z)",
        "Hint:       h",
        "Next try:   was due 13 s ago, but no torcxd runs",
        "Reboot:     accepted 1970-01-01 00:00:03Z; /var/lib/docker is cleaned on the way",
        "Boots:      2 did not bring OS 1576.4.0",
        "Published:  kubelet.env, 1970-01-01 00:00:04Z",
    ]


@pytest.mark.accepts("N5")
@pytest.mark.parametrize("snapshot", [FULL, Snapshot("gathering", 1.0, "b"), None])
def test_the_json_has_the_same_keys_always(tmp_path: Path, snapshot: Snapshot | None) -> None:
    if snapshot:
        StateFile(Layout(tmp_path)).save(snapshot)
    result = run(tmp_path, "--json")
    assert result.returncode == 0
    report = json.loads(result.stdout)
    assert set(report) == KEYS
    assert report["state"] == (snapshot.state if snapshot else None)
    assert report["attempts"] == (3 if snapshot is FULL else 0)


@pytest.mark.accepts("N5")
def test_what_the_operator_asked_and_how_the_sources_are(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    health = HealthBoard(layout.sources_file, StoppedClock())
    health.up("node")
    health.down("version", "the API server is away")
    StateFile(layout).save(Snapshot("done", 990.0, "b", hook_asked=True))
    with only_instance(layout, "run"):
        told = status.render(status.read(str(tmp_path))[0], now=1005.0).splitlines()
    assert told[1:] == [
        f"Running:    torcxd run, process {os.getpid()}",
        "Hook:       the update operator asks for its check; not answered yet",
        "Source:     node up, heard 5 s ago",
        "Source:     version lost for 5 s: the API server is away, never heard",
    ]
    StateFile(layout).save(Snapshot("done", 990.0, "b", hook_asked=True, hook_answered=True, hook_answered_at=1001.0))
    report = status.read(str(tmp_path))[0]
    assert "answered 1970-01-01 00:16:41Z" in status.render(report, now=1005.0)
    assert report["hook"] == {"asked": True, "answered": True, "answered_at": 1001.0}
    assert report["sources"]["version"]["up"] is False


@pytest.mark.accepts("N5")
def test_after_a_crash_it_says_that_no_torcxd_runs_and_what_the_last_one_saw(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    health = HealthBoard(layout.sources_file, StoppedClock())
    health.up("node")
    health.down("version", "the API server is away")
    StateFile(layout).save(Snapshot("fetching", 990.0, "b", next_try=1010.0))
    crash = "import os, sys, pathlib, torcxd.paths as p, torcxd.daemon.lock as l\n"
    crash += "with l.only_instance(p.Layout(pathlib.Path(sys.argv[1])), 'run'): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", crash, str(tmp_path)], check=False).returncode == 9
    report, _ = status.read(str(tmp_path))
    assert report["process"] == {"runs": False, "pid": None, "command": "run"}
    assert status.render(report, now=1005.0).splitlines()[1:] == [
        "Running:    no; this is what the last torcxd has recorded",
        "Next try:   in 5 s, but no torcxd runs",
        "Source:     node was up, heard 5 s ago",
        "Source:     version was lost: the API server is away, never heard",
    ]


def test_looking_leaves_the_lock_to_others(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with only_instance(layout, "hook"):
        looked = [holder.look(str(tmp_path)) for _ in range(2)]
        assert looked == [{"runs": True, "pid": os.getpid(), "command": "hook"}] * 2
        with pytest.raises(TransientError, match=rf"another torcxd \(hook, process {os.getpid()}\)"):
            only_instance(layout, "run").__enter__()
    with only_instance(layout, "run"):
        pass


@pytest.mark.accepts("N5")
@pytest.mark.parametrize("hidden", ["var/lib/torcxd", "var/lib/torcxd/lock"])
def test_who_may_not_look_is_told_so(hidden: str) -> None:
    with tempfile.TemporaryDirectory(prefix="torcxd-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        StateFile(Layout(root)).save(Snapshot("done", 990.0, "b"))
        with only_instance(Layout(root), "run"):
            assert as_nobody(root) == {"runs": True, "pid": os.getpid(), "command": "run"}
            (root / hidden).chmod(0)
            told = as_nobody(root)
            assert told == {"runs": None, "pid": None, "command": None}
            report = {**status.read(folder)[0], "process": told}
            assert "Running:    not known: this user may not look; try as root\n" in status.render(report, now=1000.0)


def as_nobody(root: Path) -> object:
    """What a user without any rights is told."""
    # Loaded before, by the privileged user: the interpreter may lie in a folder of root's.
    code = "import json, os, sys\nfrom torcxd.daemon import holder\n"
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    code += "print(json.dumps(holder.look(sys.argv[1])))"
    told = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


@pytest.mark.accepts("N5")
def test_without_a_folder_for_the_state_the_lock_is_below_run(tmp_path: Path) -> None:
    """As in a container that has no mount for it and cannot be written."""
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/torcxd").symlink_to("/sys")
    with only_instance(Layout(tmp_path), "hook"):
        assert (tmp_path / "run/torcxd/lock").exists()
        assert holder.look(str(tmp_path))["runs"] is True
        with pytest.raises(TransientError):
            only_instance(Layout(tmp_path), "run").__enter__()
    assert holder.look(str(tmp_path))["runs"] is False


REBOOT = RebootNote("b", "OS 1576.4.0", clean_docker=False)


@pytest.mark.accepts("N5")
@pytest.mark.parametrize(
    ("command", "hook", "whose"),
    [
        ("bootstrap", {}, "not asked for yet"),
        ("run", {}, "the update operator's, which has not asked for its check yet"),
        ("hook", {"hook_asked": True}, "the update operator's, which asks for its check and is not answered yet"),
        (
            "run",
            {"hook_asked": True, "hook_answered": True, "hook_answered_at": 995.0},
            "the update operator's, which was told 1970-01-01 00:16:35Z that the node is prepared",
        ),
        # An answer to an earlier question is none to this one.
        ("run", {"hook_answered_at": 5.0}, "the update operator's, which has not asked for its check yet"),
    ],
)
def test_it_says_whose_the_reboot_is(tmp_path: Path, command: str, hook: dict[str, Any], whose: str) -> None:
    StateFile(Layout(tmp_path)).save(Snapshot("reboot-pending", 990.0, "b", reboot=REBOOT, **hook))
    with only_instance(Layout(tmp_path), command):
        told = status.render(status.read(str(tmp_path))[0], now=1000.0)
    assert f"Reboot:     {whose}\n" in told


def test_without_an_os_update_it_says_that_no_operator_reboots(tmp_path: Path) -> None:
    assert FULL.plan is not None
    plan = replace(FULL.plan, target=replace(FULL.plan.target, next_os=None))
    StateFile(Layout(tmp_path)).save(Snapshot("reboot-pending", 990.0, "b", plan=plan, reboot=REBOOT))
    with only_instance(Layout(tmp_path), "run"):
        told = status.render(status.read(str(tmp_path))[0], now=1000.0)
    assert "Reboot:     to be made by hand, or by the update operator with the next OS update\n" in told


def test_a_damaged_file_of_the_sources_hides_nothing_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.sources_file.parent.mkdir(parents=True)
    layout.sources_file.write_text('{"node"')
    StateFile(layout).save(FULL)
    report, exit_code = status.read(str(tmp_path))
    assert (report["sources"], report["state"], exit_code) == ({}, "reboot-pending", 0)


@pytest.mark.accepts("N5")
@pytest.mark.parametrize(
    ("kind", "awaited"),
    [("transient", "its unit starts it again"), ("configuration", "it is started with a right configuration")],
)
def test_after_an_end_for_good_nothing_is_due(tmp_path: Path, kind: str, awaited: str) -> None:
    failure = Failure("m", "", kind, 1.0, 2.0, 3, final=True)
    StateFile(Layout(tmp_path)).save(Snapshot("gathering", 1.0, "b", failure=failure))
    told = run(tmp_path).stdout
    assert f"Next try:   when {awaited}\n" in told


def test_a_node_on_which_nothing_was_run(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert (result.returncode, result.stdout) == (0, "State:      nothing was run on this node yet\nRunning:    no\n")


def test_a_plan_that_is_not_resolved_names_what_is_accepted(tmp_path: Path) -> None:
    assert FULL.plan is not None
    snapshot = Snapshot("fetching", 1.0, "b", plan=replace(FULL.plan, resolved=False))
    StateFile(Layout(tmp_path)).save(snapshot)
    assert "Docker:     one of 17.03, best first\n" in run(tmp_path).stdout


def test_an_os_version_that_was_given_up_is_not_shown_as_coming(tmp_path: Path) -> None:
    assert FULL.plan is not None
    snapshot = Snapshot("done", 1.0, "b", plan=replace(FULL.plan, boot_os=FULL.plan.target.current_os))
    StateFile(Layout(tmp_path)).save(snapshot)
    assert "OS:         1520.8.0 (1576.4.0 was rolled back too often)\n" in run(tmp_path).stdout


def test_a_damaged_file_is_told_and_left_where_it_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.state_directory.mkdir(parents=True)
    layout.state_file.write_text("{")
    result = run(tmp_path)
    assert result.returncode == 65
    assert "is unusable: it is not JSON" in result.stdout
    assert layout.state_file.read_text() == "{"


def test_what_cannot_be_read_is_not_promised_to_go(tmp_path: Path) -> None:
    Layout(tmp_path).state_file.mkdir(parents=True)
    result = run(tmp_path)
    assert result.returncode == 65
    assert result.stdout.startswith(f"Problem:    cannot read {tmp_path}/var/lib/torcxd/state.json: Is a directory\n")


def test_without_permission_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    report, exit_code = status.read(str(tmp_path))
    assert exit_code == 77
    assert "try as root" in report["problem"]


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, torcxd.__main__ as m; m.main(['status', sys.argv[1]]); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code, f"--root={tmp_path}"], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "torcxd.daemon.document" in loaded
    assert loaded.isdisjoint(
        {"trio", "asks", "yaml", "gnupg", "transitions", "jeepney", "msgspec", "dataclasses", "logging"}
    )
