"""Every command that the documentation shows works, and prints what is shown.

They run in a sandbox: ``torcxd`` on a node in a folder, other commands with the host's paths moved into that folder.
What cannot run here is listed with the reason, and checked in another way.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.unit.docs.pages import PAGES, PROJECT, Command, commands
from torcxd import __version__
from torcxd.cli.parser import build_original_bootstrap
from torcxd.host.docker_cleanup import UNIT as DOCKER_CLEANUP
from torcxd.paths import Layout
from torcxd.sandbox.sandbox import Sandbox, open_sandbox

SHOWN: Final = [command for page in PAGES for command in commands(page)]
# Those that have to notice a new file.
FOREIGN_UNITS: Final = {"dbus.service", "systemd-logind.service"}
UNITS: Final = {path.name for path in (PROJECT / "systemd").glob("*.service")} | {DOCKER_CLEANUP}


def check_make(words: list[str]) -> None:
    """It is a target; make shows what it would run."""
    done = subprocess.run(["make", "-n", *words[1:]], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_wheels(words: list[str]) -> None:
    """The image's dependencies are made in the same way."""
    image = (PROJECT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").replace("--no-cache-dir", "")
    assert " ".join(words).replace("build/tools", "tools") in " ".join(image.split())


def check_installation(words: list[str]) -> None:
    """It puts this version where the units look for it, as the image and the end-to-end tests' machines get it."""
    for name in ("k8s-node-bootstrap.service", "torcxd.service"):
        assert "=/opt/torcxd/bin/torcxd " in (PROJECT / "systemd" / name).read_text("utf-8")
    folder = f"/opt/torcxd-{__version__}"
    assert words in (
        ["python3", "-m", "venv", folder],
        [f"{folder}/bin/pip", "install", "--no-index", "--find-links", "wheels", "torcxd"],
        ["ln", "-sfn", f"torcxd-{__version__}", "/opt/torcxd"],
    )


def check_removal(words: list[str]) -> None:
    """Everything that goes was put there by an installation, or is torcxd's own record."""
    shown = [shlex.split(each.text) for each in SHOWN]
    installed = {
        f"{each[-1]}/{Path(source).name}"
        for each in shown
        if each[0] == "cp" and each[-1].startswith("/etc/")
        for source in each[1:-1]
    }
    installed |= {
        f"{each[each.index('-t') + 1]}/{Path(each[-1]).name}" for each in shown if each[0] == "install" and "-t" in each
    }
    layout = Layout()
    own = {"/opt/torcxd", f"/opt/torcxd-{__version__}", "/etc/torcxd", str(layout.state_directory), str(layout.staging)}
    named = {each for each in words[1:] if not each.startswith("-")}
    assert named <= {str(Path(each)) for each in installed} | own


def check_systemd(words: list[str]) -> None:
    """The units that are named are ours."""
    named = {each.removeprefix("--unit=") for each in words if each.endswith(".service")}
    assert named <= UNITS | FOREIGN_UNITS
    assert named or words == ["systemctl", "daemon-reload"]


def check_docker(words: list[str]) -> None:
    """Mounts, image and flags are those of the unit that runs the container, and the program takes the flags.

    Or they are the original's: without what the unit has more than that.
    """
    unit = (PROJECT / "systemd/container/k8s-node-bootstrap.service").read_text("utf-8")
    command = re.findall(r"^ExecStartPre=(/usr/bin/docker run .*?[^\\])$", unit, re.MULTILINE | re.DOTALL)[0]
    of_unit = shlex.split(command.replace("\\\n", " "))
    image = words.index(f"torcxd:{__version__}")
    mounts = _values(of_unit, "-v")
    assert _values(words, "-v") in (mounts, [each for each in mounts if "/torcxd:" not in each])
    assert _values(words, "--tmpfs") == _values(of_unit, "--tmpfs")
    flags = words[image + 1 :]
    expected = of_unit[of_unit.index("${TORCXD_IMAGE}") + 1 :]
    assert flags in (expected, [each for each in expected if not each.startswith("--keyring=")])
    # Whoever names the node's keyring needs its mount.
    assert (len(flags) == len(expected)) is (len(_values(words, "-v")) == len(mounts))
    assert vars(build_original_bootstrap().parse_args(flags))["verbose"] == "debug"


def _values(words: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == flag]


# What is not run, by its beginning: the reason, and what is checked instead.
NOT_RUN: Final[Mapping[str, tuple[str, Callable[[list[str]], None]]]] = {
    "make demo": ("`torcxd demo`, which it calls, is run", check_make),
    "make test": ("it runs this test", check_make),
    "make PLATFORMS=": ("there is no Docker here", check_make),
    "python3 -m venv build/tools": ("it needs a package index; the image is built so", check_wheels),
    "build/tools/bin/pip": ("it needs a package index; the image is built so", check_wheels),
    "python3 -m venv /opt/torcxd": ("it changes this machine; the end-to-end tests do it", check_installation),
    "/opt/torcxd-": ("it changes this machine; the end-to-end tests do it", check_installation),
    "ln -sfn": ("it changes this machine", check_installation),
    "rm ": ("it changes this machine", check_removal),
    "systemctl": ("no systemd runs here; the end-to-end tests do it", check_systemd),
    "journalctl": ("no systemd runs here", check_systemd),
    "docker run": ("there is no Docker here", check_docker),
}


def reason_not_to_run(command: Command) -> tuple[str, Callable[[list[str]], None]] | None:
    return next((entry for beginning, entry in NOT_RUN.items() if command.text.startswith(beginning)), None)


@pytest.mark.parametrize(
    "command", [each for each in SHOWN if reason_not_to_run(each)], ids=lambda each: f"{each.page}: {each.text[:40]}"
)
def test_a_command_that_cannot_run_here_is_right(command: Command) -> None:
    entry = reason_not_to_run(command)
    assert entry is not None
    assert not command.output, "output that no test sees"
    entry[1](shlex.split(command.text))


def test_nothing_is_listed_that_is_not_shown() -> None:
    for beginning in NOT_RUN:
        assert any(each.text.startswith(beginning) for each in SHOWN), beginning


async def test_every_other_command_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    shown = [each for each in SHOWN if not reason_not_to_run(each)]
    before = [each for each in shown if each.text.startswith("torcxd plan")]
    async with open_sandbox(tmp_path / "node") as box:
        workplace = _workplace(tmp_path, box)
        # `plan` is of use before the bootstrap; the others tell of it.
        problems = [await _try(box, workplace, each) for each in before]
        assert await box.bootstrap_to_the_end() == 0
        problems += [await _try(box, workplace, each) for each in shown if each not in before]
    assert len(shown) >= 10
    assert [each for each in problems if each] == []


def _workplace(tmp_path: Path, box: Sandbox) -> Path:
    """A folder like a checkout, with a ``torcxd`` that works on the sandbox's node."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "systemd").symlink_to(PROJECT / "systemd")
    shutil.copy(box.node.layout.at("/etc/torcxd/pubring.gpg"), folder / "pubring.gpg")
    box.node.layout.at("/etc/systemd/system").mkdir(parents=True)
    program = folder / "bin/torcxd"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/bash
case $1 in
plan|status|history) exec {sys.executable} -m torcxd "$1" --root={box.root} "${{@:2}}" ;;
*) exec {sys.executable} -m torcxd "$@" ;;
esac
""",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return folder


async def _try(box: Sandbox, workplace: Path, command: Command) -> str:
    """Run *command*; returns what is wrong, empty for nothing."""
    environment = {
        **box.process_environment,
        "PATH": f"{workplace / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "TORCXD_TORCX_MANIFEST_URL": box.bucket.manifest_template,
        "NO_COLOR": "1",
    }
    # The host's folders are those of the node.
    script = re.sub(r"(?<= )/etc/", f"{box.root}/etc/", command.text)
    done = await trio.run_process(
        ["bash", "-c", f"{script} 2>&1"], capture_stdout=True, check=False, cwd=workplace, env=environment
    )
    printed = done.stdout.decode()
    fails = any(line.startswith("torcxd: error:") for line in command.output)
    if (done.returncode != 0) is not fails:
        return f"{command.page}: {command.text} ended with {done.returncode}:\n{printed}"
    lines = iter(_comparable(printed))
    for expected in _comparable("\n".join(command.output)):
        # Taking from the iterator, so that the order counts.
        if expected != "…" and expected not in lines:
            return f"{command.page}: {command.text} does not print {expected!r} there, but:\n{printed}"
    return ""


def _comparable(text: str) -> list[str]:
    """The lines of *text* without what differs from run to run: times and the sandbox's folder."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "<time>", text)
    text = re.sub(r"^\d\d:\d\d:\d\d ", "<time> ", text, flags=re.MULTILINE)
    text = re.sub(r"/\S*torcxd-demo-\w+", "<folder>", text)
    text = re.sub(r"\(\d+ s ago\)", "(<age>)", text)
    return [line for line in text.splitlines() if line]
