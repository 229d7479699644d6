"""Reads the documentation: its pages, headings, links, tables, and the commands that it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[3]
PAGES: Final = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a page shows in a ``console`` block.

    :param text: without the prompt; lines that a backslash continues are joined.
    :param output: the lines shown below it.
    """

    page: str
    text: str
    output: tuple[str, ...]


def commands(page: Path) -> list[Command]:
    """The commands of *page*, in order."""
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        assert block.startswith("$ "), f"{page.name}: a console block begins with a command"
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *output = re.sub(r"\\\n\s*", "", entry).splitlines()
            found.append(Command(page.name, first.strip(), tuple(output)))
    return found


def headings(page: Path) -> list[str]:
    """The headings of *page*, code blocks left out."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link to *page* may have behind its ``#``, as GitHub makes it from the headings."""
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings(page)}


def first_column(page: Path, marker: str) -> list[str]:
    """The first cells of the table that follows the comment ``<!-- marker -->``, without back-quotes."""
    _, found, rest = page.read_text("utf-8").partition(f"<!-- {marker} -->\n")
    assert found, f"{page.name} has no <!-- {marker} -->"
    return [row[0].strip("`") for row in table(rest)]


def table(text: str) -> list[list[str]]:
    """The cells of the table that *text* begins with, head and rule left out."""
    rows = []
    for line in text.splitlines():
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]
