"""The pages hang together, name what the program has, and hold no promise that the code does not keep."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import PAGES, PROJECT, anchors, headings, table
from tools.manual import commands
from torcxd import errors
from torcxd.charts import load_chart
from torcxd.cli.parser import build
from torcxd.lifecycle import memory
from torcxd.settings import BY_NAME

OPERATION = PROJECT / "docs/operations.md"
README = PROJECT / "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_that_is_named_is_one(page: Path) -> None:
    known = {
        flag for command in commands(build()).values() for action in command._actions for flag in action.option_strings
    }
    known |= {each.flag for each in BY_NAME.values()}
    # Flags of other programs, and those of the original that do nothing here.
    foreign = {
        "--tmpfs",
        "--no-block",
        "--unit",
        "--boot",
        "--export",
        "--torcx-bin",
        "--accepts",
        # the benchmark's
        "--quick",
        "--list",
        # those of the simulation, the crash tests and the fuzzer
        "--seed",
        "--shrink",
        "--replay",
        "--update-catalog",
        "--check-inhibitors",
        "--before-reboot-annotations",
        # pip's, systemctl's and Docker's.
        "--require-hashes",
        "--requirement",
        "--no-build-isolation",
        "--wheel-dir",
        "--no-deps",
        "--no-index",
        "--find-links",
        "--signal",
        "--now",
        "--push",
        "--load",
        "--rm",
        "--entrypoint",
        # gpg's
        "--detach-sign",
        "--sig-notation",
        "--default-sig-expire",
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text("utf-8")))
    assert named - foreign <= known, f"{page.name}: {sorted(named - foreign - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_repository_that_is_named_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:docs|states|systemd|tests|tools|torcxd|completions)/[\w./-]*)`", text)
    # In the architecture's tables the package's own folder is left out.
    named += [f"torcxd/{each}" for each in re.findall(r"`((?:cli|daemon|lifecycle|host|addons)/[\w.]+)`", text)]
    for each in named:
        assert (PROJECT / each).exists(), f"{page.name} names {each}"


def test_each_state_has_its_section() -> None:
    sections = headings(OPERATION)
    for state in load_chart().states:
        assert state.name in sections


def test_each_exit_code_is_explained_in_the_page_and_in_the_manual() -> None:
    codes = {str(value) for name, value in vars(errors).items() if name.startswith("EX_")}
    _, _, rest = OPERATION.read_text("utf-8").partition("## Exit codes\n")
    explained = {row[0] for row in table(rest[rest.index("|") :])}
    assert codes <= explained
    assert explained - codes == {"130", "128 + n"}
    manual = (PROJECT / "docs/man/torcxd.1").read_text("utf-8")
    assert codes <= set(re.findall(r"^\.B (\d+)$", manual, re.MULTILINE))


def test_the_section_that_a_message_refers_to_is_there() -> None:
    source = inspect.getsource(memory)
    page, section = re.findall(r"(docs/[\w.-]+), '([^']+)'", source)[0]
    assert section.lower() in [each.lower() for each in headings(PROJECT / page)]


def test_the_messages_that_are_explained_are_those_of_the_program() -> None:
    _, _, rest = OPERATION.read_text("utf-8").partition("## Failures\n")
    rows = table(rest[rest.index("| message |") :])
    source = _words("".join(path.read_text("utf-8") for path in sorted((PROJECT / "torcxd").rglob("*.py"))))
    strange = []
    for row in rows:
        for message in re.findall(r"`([^`]+)`", row[0]):
            for part in re.split(r"…|<[^>]+>", message):
                fixed = _words(part)
                # What an errno or a path contributes stands in no source file.
                if (
                    fixed
                    and fixed not in source
                    and not re.search(r"cannot|device|file system|denied|os-release", fixed)
                ):
                    strange.append(part)
    assert not strange


def _words(text: str) -> str:
    """*text* without what a string literal in a source file has besides its words."""
    text = re.sub(r'"\s*\n\s*f?"', "", text)
    text = re.sub(r"\{[^{}]*\}", " ", text)
    return " ".join(re.sub(r"[^A-Za-z0-9 -]", " ", text).lower().split())


def test_the_commands_that_are_said_to_be_missing_are_missing() -> None:
    _, _, rest = README.read_text("utf-8").partition("## What is there, and what is not\n")
    there, _, missing = rest.partition("Not there yet:")
    present = set(commands(build()))
    assert present <= set(re.findall(r"[a-z]+", there)), "say in the README what there is now"
    assert not present & set(re.findall(r"`torcxd ([a-z]+)`", missing)), "the README says that it is not there yet"


def test_the_two_commands_of_the_readme_are_targets() -> None:
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    assert re.search(r"^demo:.*\n\t@\$\(BIN\)/torcxd demo$", makefile, re.MULTILINE)
    for page in PAGES:
        for target in re.findall(r"(?:`|^\$ )make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"
