"""``torcxd demo``: the real bootstrap on a node in a folder, through its reboot, before your eyes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import trio

from torcxd.cli.style import bold
from torcxd.daemon.failures import as_single
from torcxd.errors import EX_OK, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, PermanentError

# What the node needs besides Python packages, and the Debian package of each.
_PROGRAMS = {"dbus-daemon": "dbus", "gpg": "gnupg", "setpriv": "util-linux"}


def demo(directory: Path | None) -> int:
    """Run the demo; returns the exit code.

    :param directory: where the node is put and kept; None for a folder that is removed at the end.
    :raises PermanentError: a program is missing, or the directory is in use.
    """
    missing = sorted(package for program, package in _PROGRAMS.items() if shutil.which(program) is None)
    if missing:
        raise PermanentError(
            f"the demo needs the Debian packages {', '.join(missing)}",
            hint=f"apt-get install {' '.join(missing)}",
            exit_code=EX_UNAVAILABLE,
        )
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torcxd-demo-")))
        elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise PermanentError(f"{directory} is no empty folder", hint="name a new folder", exit_code=EX_USAGE)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            return trio.run(_show, directory)
        except KeyboardInterrupt:
            return 130
        except Exception as raised:
            raise as_single(raised) from raised


async def _show(root: Path) -> int:
    try:
        from torcxd.sandbox.sandbox import NEW_OS, OLD_OS, Plot, open_sandbox
    except ImportError as error:
        raise PermanentError(
            f"the demo's sandbox is not installed: {error}", hint="pip install 'torcxd[sandbox]'"
        ) from error

    # An OS update of three seconds and images of 25 MB at 20 MB/s: long enough to see them overlap.
    plot = Plot(update_seconds=3, image_bytes=25_000_000, rate=20_000_000)
    async with open_sandbox(root, plot) as box:
        _say(f"A Container Linux node in {root}")
        print(f"It runs OS {OLD_OS}; update_engine will find {NEW_OS}. The cluster wants Docker 17.03.", flush=True)
        _say("$ torcxd plan")
        print((await box.torcxd("plan", *box.flags)).stdout, end="", flush=True)
        for boot in (1, 2, 3):
            _say(f"$ torcxd bootstrap    (boot {boot})")
            exit_code = await box.bootstrap()
            if exit_code is not None:
                break
            _say("The node reboots")
            problem = await box.reboot()
            print(problem or f"OS {box.node.os_version} runs; torcx applied its profile.", flush=True)
        if exit_code != EX_OK:
            return exit_code or EX_SOFTWARE
        for command in ("status", "history"):
            _say(f"$ torcxd {command}")
            print((await box.torcxd(command)).stdout, end="", flush=True)
        _print_files(root)
        _say("$ torcxd bootstrap    (again)")
        again = await box.bootstrap()
        return EX_SOFTWARE if again is None else again


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


def _say(title: str) -> None:
    print(f"\n{bold(title, sys.stdout)}", flush=True)
