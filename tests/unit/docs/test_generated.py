"""What is made from the parser and from the table of the settings is not stale, and is well-formed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.docs.pages import PROJECT
from tools import manual, reference

ADVICE = "run `make docs`"


@pytest.mark.parametrize("path", sorted(manual.outputs()), ids=lambda path: path.name)
def test_a_file_that_the_parser_makes_is_not_stale(path: Path) -> None:
    assert path.read_text("utf-8") == manual.outputs()[path], ADVICE


def test_the_reference_of_the_settings_is_not_stale() -> None:
    page = reference.PAGE.read_text("utf-8")
    assert reference.reference() in page, ADVICE
    assert reference.renewed(page) == page, ADVICE


@pytest.mark.parametrize("page", sorted((PROJECT / "docs/man").iterdir()), ids=lambda page: page.name)
def test_groff_finds_nothing_wrong_with(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-b", "-P-u", str(page)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in done.stdout


def test_zsh_can_read_its_completion() -> None:
    done = subprocess.run(
        ["zsh", "-n", str(PROJECT / "completions/_torcxd")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("torcxd st", "status"),
        ("torcxd bootstrap --upg", "--upgrade-os"),
        ("torcxd bootstrap --upgrade-os ", "true false"),
        ("torcxd plan --verbose d", "debug"),
        ("torcxd graph --format ", "mermaid dot"),
        ("torcxd status --keyr", ""),
        # '=' is a word of its own, also where a value begins behind it.
        ("torcxd graph --format =", "mermaid dot"),
        ("torcxd plan --reboot-via = s", "systemd1"),
        ("torcxd plan --parallel = 3 --upd", "--update-deadline"),
    ],
)
def test_bash_completes(words: str, offered: str) -> None:
    # What readline does for a user who types the words and presses the tabulator.
    script = f"""
        source {PROJECT}/completions/torcxd.bash
        COMP_WORDS=({words.rpartition(" ")[0]} "{words.rpartition(" ")[2]}")
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _torcxd
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (offered, "")
