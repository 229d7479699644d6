"""``torcxd status`` beside an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.scale import Scale
from tests.bench.table import Of, Row, Target, Unit, interleaved
from tests.e2e.tree import built_wheel

# Times a bare interpreter, and milliseconds: it answers while people wait.
_TIMES: Final = 3
_WALL: Final = 50


def measure(scale: Scale, directory: Path, node: Path) -> list[Row]:
    """All rows about ``torcxd status``.

    :param node: the root folder of a node that has a bootstrap behind it.
    """
    programs = _installed(directory / "venv")
    # As installed: an editable installation adds an import hook to every start of its interpreter.
    status = [str(programs / "torcxd"), "status", f"--root={node}"]
    nothing = [str(programs / "python3"), "-c", "pass"]
    for each in (status, nothing):
        _milliseconds(each)
    figures, peers = interleaved(scale.starts, partial(_milliseconds, status), partial(_milliseconds, nothing))
    beside = "python3 -c pass"
    return [
        Row("torcxd status", Unit.MILLISECONDS, figures, beside, peers, Target(Of.RATIO, _TIMES)),
        Row("torcxd status, by the clock", Unit.MILLISECONDS, figures, beside, peers, Target(Of.FIGURE, _WALL)),
    ]


def _installed(directory: Path) -> Path:
    """The programs of a new virtual environment with the built wheel in it, and nothing else: status needs no more."""
    venv.create(directory, with_pip=False, symlinks=True)
    programs = directory / "bin"
    pip = [sys.executable, "-m", "pip", f"--python={programs / 'python3'}", "install", "--quiet"]
    options = ["--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, *options, str(built_wheel())], check=True)
    return programs


def _milliseconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begun)
