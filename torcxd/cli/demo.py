"""``torcxd demo``: the real bootstrap on a node in a folder, through its reboot, before your eyes."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from torcxd.cli.signals import SIGNALLED, until_signal
from torcxd.cli.style import bold
from torcxd.errors import EX_OK, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, PermanentError

if TYPE_CHECKING:
    from torcxd.sandbox.sandbox import Sandbox

# What the node needs besides Python packages, and the Debian package of each.
_PROGRAMS = {"dbus-daemon": "dbus", "gpg": "gnupg", "setpriv": "util-linux"}
# An update takes one boot; the third is there to show that a node which wants yet another is no endless demo.
_MOST_BOOTS = 3


def demo(directory: Path | None) -> int:
    """Run the demo; returns the exit code.

    SIGINT, SIGTERM and SIGHUP end it, and everything that it started.

    :param directory: where the node is put and kept; None for a folder that is removed at the end.
    :raises PermanentError: a program is missing, or the directory is in use.
    :raises OSError: the folder or standard output cannot be written.
    """
    missing = sorted(package for program, package in _PROGRAMS.items() if shutil.which(program) is None)
    if missing:
        raise PermanentError(
            f"the demo needs the Debian packages {', '.join(missing)}",
            hint=f"apt-get install {' '.join(missing)}",
            exit_code=EX_UNAVAILABLE,
        )
    work = partial(_show, directory)
    outcome = trio.run(until_signal, work, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if isinstance(outcome, signal.Signals):
        # The progress of a bootstrap may have left the terminal in the middle of a line.
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{clear}torcxd: the demo was stopped by {outcome.name}", file=sys.stderr)
        return SIGNALLED + outcome
    return outcome


@contextmanager
def _folder(directory: Path | None) -> Iterator[Path]:
    """The node's folder, for the length of the block or to be kept."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="torcxd-demo-") as temporary:
            yield Path(temporary)
        return
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise PermanentError(f"{directory} is no empty folder", hint="name a new folder", exit_code=EX_USAGE)
    directory.mkdir(parents=True, exist_ok=True)
    # Absolute, since it becomes a part of the bus's address.
    yield directory.resolve()


async def _show(directory: Path | None) -> int:
    try:
        from torcxd.sandbox.sandbox import NEW_OS, OLD_OS, Plot, open_sandbox
    except ImportError as error:
        raise PermanentError(
            f"the demo's sandbox is not installed: {error}", hint="pip install 'torcxd[sandbox]'"
        ) from error

    # An OS update of three seconds and images of 25 MB at 20 MB/s: long enough to see them overlap.
    plot = Plot(update_seconds=3, image_bytes=25_000_000, rate=20_000_000)
    with _folder(directory) as root:
        async with open_sandbox(root, plot) as box:
            _say(f"A Container Linux node in {root}")
            print(f"It runs OS {OLD_OS}; update_engine will find {NEW_OS}. The cluster wants Docker 17.03.")
            print("Each command below gets that folder as its --root, and a bus of its own.", flush=True)
            exit_code = await _tell_story(box)
        if exit_code == EX_OK:
            _say_goodbye(root, kept=directory is not None)
    return exit_code


async def _tell_story(box: Sandbox) -> int:
    if (failed := await _print_of(box, "plan", *box.flags)) != EX_OK:
        return failed
    for boot in range(1, _MOST_BOOTS + 1):
        exit_code = await _bootstrap(box, f"boot {boot}")
        if exit_code is not None:
            break
        _say("The node reboots")
        problem = await box.reboot()
        print(problem or f"OS {box.node.os_version} runs; torcx applied its profile.", flush=True)
    if exit_code != EX_OK:
        return EX_SOFTWARE if exit_code is None else exit_code
    for command in ("status", "history"):
        if (failed := await _print_of(box, command)) != EX_OK:
            return failed
    _print_files(box.root)
    again = await _bootstrap(box, "again")
    return EX_SOFTWARE if again is None else again


async def _print_of(box: Sandbox, command: str, *flags: str) -> int:
    """Run a command on the node and show what it prints; returns its exit code."""
    _say(f"$ {shlex.join(['torcxd', command, *flags])}")
    done = await box.torcxd(command, *flags)
    print(done.stdout, end="", flush=True)
    if done.returncode != EX_OK:
        print(done.stderr, end="", file=sys.stderr, flush=True)
    return done.returncode


async def _bootstrap(box: Sandbox, note: str) -> int | None:
    _say(f"$ {shlex.join(['torcxd', 'bootstrap', *box.flags])}    ({note})")
    # Where the output goes to a file or a pipe, its messages belong between the lines that are printed here.
    return await box.bootstrap(stderr=None if sys.stdout.isatty() else subprocess.STDOUT)


def _print_files(root: Path) -> None:
    for title, pattern in (
        ("The torcx store", "var/lib/torcx/store/*/*"),
        ("The torcx profile", "etc/torcx/profiles/*"),
        ("kubelet.env", "etc/kubernetes/kubelet.env"),
    ):
        _say(title)
        for path in sorted(root.glob(pattern)):
            if path.stat().st_size > 1 << 16:
                print(f"{path.relative_to(root)}  {path.stat().st_size:,} bytes")
            else:
                print(path.read_text(encoding="utf-8"), end="", flush=True)


def _say_goodbye(root: Path, *, kept: bool) -> None:
    _say("The node is bootstrapped: its kubelet may start")
    if not kept:
        print("Its folder is removed now; 'torcxd demo --directory=DIR' keeps it.", flush=True)
        return
    folder = shlex.quote(str(root))
    print("Its peers are gone, its folder is kept. These work on it:")
    for command in ("status", "history", "status --json"):
        print(f"  torcxd {command} --root={folder}")
    sys.stdout.flush()


def _say(title: str) -> None:
    print(f"\n{bold(title, sys.stdout)}", flush=True)
