"""The Dockerfile, as far as it can be checked without building an image: that its parts fit the project's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: keyword and arguments."""
    logical = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in logical.splitlines() if line.strip()]


def copied() -> list[str]:
    """What is copied from the project."""
    arguments = [words.split() for keyword, words in instructions() if keyword == "COPY" and "--from" not in words]
    return [source for words in arguments for source in words[:-1]]


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_exists_and_reaches_the_builder(source: str) -> None:
    assert (PROJECT / source).exists()
    assert f"!{source}" in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_every_package_source_is_copied() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "LICENSE"}
    assert needed <= set(copied())


@pytest.mark.accepts("A37")
def test_the_entry_point_is_the_originals_and_is_a_program_of_this_project() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    links = re.findall(r"ln -s /opt/torcxd/bin/(\S+) (\S+)", DOCKERFILE)
    assert ("tectonic-torcx-bootstrap", "/tectonic-torcx-bootstrap") in links
    assert ("tectonic-torcx-hook-pre", "/tectonic-torcx-hook-pre") in links
    assert {program for program, _ in links} <= set(scripts)
    (entry_point,) = (json.loads(words) for keyword, words in instructions() if keyword == "ENTRYPOINT")
    assert entry_point == ["/tectonic-torcx-bootstrap"]


def test_only_locked_requirements_are_installed() -> None:
    installs = re.findall(r"pip(?: --python \S+)? (?:install|wheel) ([^&\n]*(?:\\\n[^&\n]*)*)", DOCKERFILE)
    assert len(installs) == 4
    for options in installs:
        assert "--require-hashes" in options or "--no-index" in options or "--no-deps" in options


def test_the_base_is_the_same_for_both_stages_and_does_not_float() -> None:
    (default,) = (words for keyword, words in instructions() if keyword == "ARG" and words.startswith("BASE="))
    assert re.fullmatch(r"BASE=\S+:bookworm-\d{8}-slim", default)
    assert [words.split()[0] for keyword, words in instructions() if keyword == "FROM"] == ["${BASE}", "${BASE}"]


@pytest.mark.accepts("A33")
def test_one_command_builds_for_every_architecture() -> None:
    make = shutil.which("make")
    assert make is not None
    shown = subprocess.run(
        [make, "--dry-run", "--directory", str(PROJECT), "image"], capture_output=True, text=True, check=True
    ).stdout
    (command,) = (line for line in shown.splitlines() if line.startswith("docker buildx build"))
    assert "--platform linux/amd64,linux/arm64" in command
