"""Runs targets: over their corpus, or in a child process under libFuzzer."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tests.fuzz.targets

CORPUS: Final = Path(__file__).with_name("corpus")
PROJECT: Final = Path(__file__).parents[2]
# Seconds that any one input may take before it counts as a hang. Instrumented code is some ten times slower than it is
# in the program, and the machine may be busy.
TIMEOUT: Final = 20
# Megabytes of one process before it counts as a leak or a bomb: an interpreter with all modules takes some 150.
MEMORY: Final = 1024
# Longer inputs find little that shorter ones do not, and take their time.
LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """What libFuzzer did to one target.

    :param executions: how many inputs it ran.
    :param coverage: how many edges of the code they reached.
    :param failed: whether one of them is a finding.
    :param said: its output's end, with the traceback.
    """

    executions: int
    coverage: int
    failed: bool
    said: str


def names() -> list[str]:
    """All targets."""
    return sorted(each.name for each in pkgutil.iter_modules(tests.fuzz.targets.__path__))


def load(name: str) -> Callable[[bytes], None]:
    """The function that feeds the target *name*."""
    check: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.targets.{name}").check
    return check


def is_important(name: str) -> bool:
    """Whether a stranger can write what the target reads."""
    return bool(getattr(importlib.import_module(f"tests.fuzz.targets.{name}"), "IMPORTANT", False))


def corpus(name: str) -> list[Path]:
    """The inputs that are kept for the target *name*."""
    directory = CORPUS / name
    return sorted(each for each in directory.iterdir() if each.is_file()) if directory.is_dir() else []


def replay(name: str, file: str | Path) -> None:
    """Run one input. Raises what the target raises."""
    load(name)(Path(file).read_bytes())


def fuzz(
    targets: Sequence[str], flags: Sequence[str], *, keep: bool = False, quiet: bool = False
) -> dict[str, Outcome]:
    """Run *targets* under libFuzzer in one child process after the other, all from one that has loaded them.

    :param flags: libFuzzer's.
    :param keep: whether inputs that cover more are added to the corpus that is in git; else they are forgotten.
    :param quiet: show nothing meanwhile.
    """
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="fuzz.") as directory:
        arguments = [f"--directory={directory}", *(["--keep"] if keep else []), *targets, "--", *flags]
        command = [sys.executable, "-m", "tests.fuzz.child", *arguments]
        # Where sets and dictionaries lie in memory decides what is covered: it has to be the same each time.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        with subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child:
            assert child.stdout is not None
            said: list[str] = []
            for line in child.stdout:
                if not quiet:
                    print(line, end="", flush=True)
                said.append(line)
        parts = re.split(r"^== fuzzing (\w+)\n", "".join(said), flags=re.MULTILINE)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            outcomes[name] = _outcome(text)
        for each in targets:
            outcomes.setdefault(each, Outcome(0, 0, True, "".join(said)[-4000:]))
    return outcomes


def _outcome(text: str) -> Outcome:
    ended = re.search(r"^== ended with (-?\d+)$", text, re.MULTILINE)
    executions = re.findall(r"^#(\d+)\s", text, re.MULTILINE)
    coverage = re.findall(r"\bcov: (\d+)", text)
    failed = ended is None or ended[1] != "0"
    return Outcome(int(executions[-1]) if executions else 0, int(coverage[-1]) if coverage else 0, failed, text[-4000:])


def minimise(name: str) -> None:
    """Keep of the corpus of *name* the smallest inputs that cover together what all do; named ones stay.

    Inputs that libFuzzer found are named by their digest, regressions by what they are.
    """
    found = [each for each in corpus(name) if re.fullmatch("[0-9a-f]{40}", each.name)]
    with tempfile.TemporaryDirectory(prefix="fuzz.") as directory:
        source, target = Path(directory, "all"), Path(directory, "few")
        source.mkdir()
        target.mkdir()
        for each in corpus(name):
            if each not in found:
                # What the named ones cover needs no other: libFuzzer takes what the first folder has as given.
                shutil.copy(each, target)
        for each in found:
            shutil.copy(each, source)
        named = {each.name for each in target.iterdir()}
        command = [sys.executable, "-m", "tests.fuzz.child", f"--merge={source}", f"--directory={target}", name]
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
        for each in found:
            each.unlink()
        for each in target.iterdir():
            if each.name not in named:
                shutil.copy(each, CORPUS / name)
