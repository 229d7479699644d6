"""``torcxd demo`` as people run it: to its end, into a pipe, onto a full disk, and stopped in the middle."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

# A fail-safe only: nothing that is waited for takes so long.
_TOO_LONG: Final = 60


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo puts everything. Its path is short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="torcxd-") as directory:
        yield Path(directory)


def start(place: Path, *flags: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "torcxd", "demo", *flags],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(place)},
        start_new_session=True,
    )


def until(demo: subprocess.Popen[str], text: str) -> list[str]:
    """Read the demo's lines up to the one with *text*."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} was never printed, but:\n{''.join(lines)}")


def started_in(place: Path) -> dict[int, str]:
    """The processes that know of *place*: what the demo started, and what these started. By their id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in command + environment:
            found[int(process.name)] = command.replace(b"\0", b" ").decode()
    return found


def outlive(processes: dict[int, str]) -> list[str]:
    """Wait for the end of *processes*; returns those that do not end."""
    left = []
    for number, command in processes.items():
        try:
            descriptor = os.pidfd_open(number)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor) as handle:
            if not select.select([handle], [], [], 10)[0]:
                left.append(command)
    return left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["A Container Linux node", "DOWNLOADING"])
def test_a_signal_ends_it_and_all_that_it_started(place: Path, number: signal.Signals, moment: str) -> None:
    demo = start(place)
    until(demo, moment)
    started = started_in(place)
    assert any("dbus-daemon" in each for each in started.values())
    # Ctrl-C and a terminal that goes away signal the whole group; a service manager signals the process.
    (os.kill if number is signal.SIGTERM else os.killpg)(demo.pid, number)
    _, told = demo.communicate(timeout=_TOO_LONG)
    assert (demo.returncode, told) == (128 + number, f"torcxd: the demo was stopped by {number.name}\n")
    assert outlive(started | started_in(place)) == []
    assert list(place.iterdir()) == []


def test_nothing_that_works_outlives_it_even_when_it_is_killed(place: Path) -> None:
    demo = start(place)
    until(demo, "DOWNLOADING")
    started = {number: each for number, each in started_in(place).items() if "gpg-agent" not in each}
    assert any("bootstrap" in each for each in started.values())
    demo.kill()
    demo.communicate(timeout=_TOO_LONG)
    assert outlive(started) == []
    # gpg's agent looks after its folder by itself: it ends once that is gone.


def test_a_reader_that_has_read_enough_ends_it_quietly(place: Path) -> None:
    demo = start(place)
    until(demo, "It runs OS")
    assert demo.stdout is not None
    demo.stdout.close()
    assert demo.stderr is not None
    assert (demo.stderr.read(), demo.wait(_TOO_LONG)) == ("", 0)
    assert list(place.iterdir()) == []


def test_a_full_disk_is_told_as_such(place: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        demo = start(place, stdout=full.fileno())
        _, told = demo.communicate(timeout=_TOO_LONG)
    assert demo.returncode == 74
    assert told == "torcxd: error: cannot write to standard output: No space left on device\n"
    assert list(place.iterdir()) == []


def test_to_its_end_it_tells_one_story_in_order(place: Path) -> None:
    node = place / "node"
    demo = start(place, f"--directory={node}")
    printed, told = demo.communicate(timeout=_TOO_LONG)
    assert (demo.returncode, told) == (0, "")
    told_in_order = [
        "A Container Linux node in",
        "$ torcxd plan '--torcx-manifest-url=https://",
        "Reboot into OS 1520.8.0, Docker 17.03 (or into what the update brings).",
        "(boot 1)",
        "is coming; its addons are fetched while it downloads.",
        "Asking login1 for a reboot into OS 1576.4.0, Docker 17.03.",
        "Ended for the reboot; the next boot goes on from here.",
        "The node reboots",
        "(boot 2)",
        "kubelet.env is published.",
        "$ torcxd status",
        "$ torcxd history",
        "(again)",
        "nothing is left to do",
        "The node is bootstrapped",
    ]
    positions = [printed.find(each) for each in told_in_order]
    assert -1 not in positions, dict(zip(told_in_order, positions, strict=True))
    assert positions == sorted(positions)
    offered = re.findall(r"^  (torcxd .*)$", printed, re.MULTILINE)
    assert len(offered) == 3
    for each in offered:
        words = shlex.split(each)
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), each
        assert done.stdout
