"""Whatever goes wrong in a command ends in one message and an exit code, never in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from torcxd.cli import dispatch
from torcxd.cli.parser import build_original_bootstrap
from torcxd.daemon.statefile import StateFile
from torcxd.errors import PermanentError
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.paths import Layout
from torcxd.settings import Settings

# A node in a folder has a bus of its own; nobody listens here.
BUS: Mapping[str, str] = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus"}


def run(
    *arguments: str, bus: Mapping[str, str] = BUS, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torcxd", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "NO_COLOR": "1", **bus},
    )


def node(root: Path) -> Path:
    """Just enough of a node for bootstrap to begin."""
    boot_id = root / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text(f"{uuid.uuid4()}\n", encoding="utf-8")
    return root


def test_an_error_from_inside_the_event_loop_is_one_message(tmp_path: Path) -> None:
    (node(tmp_path) / "var/lib/torcxd/state.json").mkdir(parents=True)
    done = run("bootstrap", f"--root={tmp_path}")
    assert done.returncode == 74
    assert done.stderr == f"torcxd: error: cannot read {tmp_path}/var/lib/torcxd/state.json: Is a directory\n"


def test_a_node_without_an_os_is_one_message(tmp_path: Path) -> None:
    done = run("bootstrap", f"--root={node(tmp_path)}")
    assert done.returncode == 66
    message = f"torcxd: error: cannot read {tmp_path}/usr/lib/os-release: No such file or directory"
    assert message in done.stderr.splitlines()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "exit_code", "message"),
    [
        (PermissionError(13, "Permission denied", "/etc/kubernetes/x"), 77, "cannot access /etc/kubernetes/x: "),
        (ExceptionGroup("", [PermanentError("it is broken", exit_code=65)]), 65, "it is broken"),
        (ExceptionGroup("", [PermissionError(13, "Permission denied", "/x")]), 77, "cannot access /x: Permission den"),
        (KeyError("x"), 70, "internal error: KeyError: 'x'\n  hint: this is a defect; report it\n"),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()]), KeyError("x")]), 130, ""),
    ],
)
def test_what_a_command_raises_becomes_a_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    exit_code: int,
    message: str,
) -> None:
    def graph(_: object) -> int:
        raise raised

    monkeypatch.setattr(dispatch, "_graph", graph)
    assert dispatch.run(["graph"]) == exit_code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


@pytest.mark.parametrize("command", ["bootstrap", "plan", "run", "hook"])
def test_the_bus_of_this_machine_is_not_that_of_a_node_in_a_folder(tmp_path: Path, command: str) -> None:
    done = run(command, f"--root={node(tmp_path)}", bus={})
    assert done.returncode == 78
    first, second = done.stderr.splitlines()
    assert first.startswith(f"torcxd: error: --root={tmp_path} is another system than this one")
    assert second.startswith("  hint: set DBUS_SYSTEM_BUS_ADDRESS to the address")


@pytest.mark.parametrize("command", ["bootstrap", "plan", "run", "hook", "status", "history"])
def test_a_root_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    done = run(command, f"--root={tmp_path}/none")
    assert (done.returncode, done.stdout) == (66, "")
    assert done.stderr == f"torcxd: error: --root: there is no folder {tmp_path}/none\n  hint: correct the path\n"


@pytest.mark.parametrize("arguments", [["history"], ["graph"], ["status"], ["status", "--json"]])
def test_standard_output_that_takes_nothing_is_named(tmp_path: Path, arguments: list[str]) -> None:
    if arguments != ["graph"]:
        arguments = [*arguments, f"--root={tmp_path}"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(*arguments, stdout=full.fileno())
    assert done.returncode == 74
    assert done.stderr == "torcxd: error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("arguments", [["history"], ["graph"], ["status"]])
def test_a_reader_that_went_away_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    if arguments != ["graph"]:
        arguments = [*arguments, f"--root={tmp_path}"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = run(*arguments, stdout=pipe.fileno())
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_usage_leaves_standard_output_alone() -> None:
    done = run("status", "--no-such-flag")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.splitlines() == [
        "usage: torcxd status [OPTION]...",
        "torcxd: error: unrecognized arguments: --no-such-flag",
        "  hint: 'torcxd status --help' lists the options",
    ]


def test_the_history_passes_over_lines_of_another_kind(tmp_path: Path) -> None:
    lines = ['{"x": 1}', '{"at": 0, "from": "a", "to": "b", "event": "fetched", "because": "it was time"}', '{"at']
    path = tmp_path / "var/lib/torcxd/history.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert run("history", f"--root={tmp_path}").stdout == "1970-01-01 00:00:00Z  a → b: it was time\n"


def test_without_a_transition_the_history_says_whether_anything_was_run(tmp_path: Path) -> None:
    assert run("history", f"--root={tmp_path}").stdout == "Nothing was run on this node yet.\n"
    StateFile(Layout(tmp_path)).save(Snapshot("gathering", 1.0, "b"))
    told = "No transition yet; `torcxd status` tells what goes on.\n"
    assert run("history", f"--root={tmp_path}").stdout == told
    assert run("history", f"--root={tmp_path}", "--json").stdout == ""


@pytest.mark.parametrize("command", ["status", "history", "graph"])
def test_who_closes_standard_output_gets_the_exit_code(tmp_path: Path, command: str) -> None:
    root = [] if command == "graph" else [f"--root={tmp_path}"]
    closed = ["bash", "-c", 'exec "$@" >&-', "-", sys.executable, "-m", "torcxd", command, *root]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["status", "history"])
def test_what_an_encoding_lacks_is_a_question_mark(tmp_path: Path, command: str) -> None:
    layout = Layout(tmp_path)
    StateFile(layout).save(Snapshot("done", 1.0, "b", waiting_for="a → b"))
    line = '{"at": 0, "from": "a", "to": "b", "event": "fetched", "because": "it was time"}\n'
    layout.history_file.write_text(line, encoding="utf-8")
    done = run(command, f"--root={tmp_path}", bus={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "a ? b" in done.stdout


def test_the_history_tells_of_failures(tmp_path: Path) -> None:
    path = tmp_path / "var/lib/torcxd/history.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"at": 0, "from": "done", "to": "done", "event": "failed", "because": "no", "attempt": 2}\n')
    told = run("history", f"--root={tmp_path}").stdout
    assert told == "1970-01-01 00:00:00Z  work in state done failed (attempt 2): no\n"


def test_the_demo_refuses_what_is_no_empty_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    done = run("demo", f"--directory={path}")
    assert (done.returncode, done.stderr.splitlines()[0]) == (64, f"torcxd: error: {path} is no empty folder")


@pytest.mark.accepts("A37")
def test_the_originals_defaults_are_weaker_than_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []

    def bootstrap(settings: Settings, _: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("torcxd.cli.bootstrap.bootstrap", bootstrap)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", BUS["DBUS_SYSTEM_BUS_ADDRESS"])
    root = f"--root={tmp_path}"
    assert dispatch.run_original_bootstrap([root]) == 0
    (tmp_path / "versions.yaml").touch()
    assert dispatch.run_original_bootstrap([root]) == 0
    monkeypatch.setenv("TORCXD_KEYRING", "/from/the/environment")
    (tmp_path / "from").touch()
    assert dispatch.run_original_bootstrap([root, "--version-manifest=/from"]) == 0
    assert [(each.keyring, each.version_manifest) for each in seen] == [
        ("/pubring.gpg", ""),
        ("/pubring.gpg", "/versions.yaml"),
        ("/from/the/environment", "/from"),
    ]


def test_each_program_shows_its_own_defaults() -> None:
    assert "(default: /etc/torcxd/pubring.gpg)" in _flat(_help_of("bootstrap"))
    assert "(default: /pubring.gpg)" in _flat(build_original_bootstrap().format_help())


def _help_of(command: str) -> str:
    return run(command, "--help").stdout


def _flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.accepts("A32")
@pytest.mark.parametrize(("level", "told"), [("debug", True), ("info", True), ("warn", False), ("error", False)])
def test_the_level_decides_what_is_told(tmp_path: Path, level: str, told: bool) -> None:
    env_file = tmp_path / "etc/kubernetes/kubelet.env"
    env_file.parent.mkdir(parents=True)
    env_file.touch()
    done = run("bootstrap", f"--root={tmp_path}", f"--verbose={level}")
    assert done.returncode == 0
    assert ("nothing is left to do" in done.stderr) is told
