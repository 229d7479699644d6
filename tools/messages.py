"""Writes the journal's catalog of torcxd's messages (systemd/torcxd.catalog) and their list (docs/messages.md) anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from torcxd.messages import CATALOGUE, COMMON, FIELDS, Message

TOP: Final = Path(__file__).parent.parent
CATALOG: Final = TOP / "systemd/torcxd.catalog"
PAGE: Final = TOP / "docs/messages.md"

_PAGE_HEAD: Final = """\
# Messages in the journal

Each transition, failure and notable event is one structured entry with a `MESSAGE_ID` that never changes. Where
standard error is the journal's own stream, the entry is also the line that people read; on a terminal or in a
container's log the line stays there, and the entry is made besides if the journal's socket is there.

    journalctl -u torcxd -x                                    # the lines, with explanations
    journalctl MESSAGE_ID=90d4b8af5f4c464887266cb4d82f4697     # every transition of every torcxd process
    journalctl -u torcxd -o json | jq '{f: .TORCXD_STATE_FROM, t: .TORCXD_STATE_TO}'

The explanations come from `systemd/torcxd.catalog`: put it into `/usr/lib/systemd/catalog/` and run
`journalctl --update-catalog`. systemd looks below `/usr` only; where that is read-only, they are on this page.

This page is written by `make docs` (tools/messages.py) from `torcxd/messages.py`.
"""


def catalog() -> str:
    """The file in the format of systemd's message catalogs; https://systemd.io/CATALOG."""
    return "# Made by `make docs` (tools/messages.py) from torcxd/messages.py.\n" + "".join(
        f"\n-- {each.id}\nSubject: {each.subject}\nDefined-By: torcxd\nDocumentation: man:torcxd(1)\n\n{each.text}\n"
        for each in CATALOGUE
    )


def page() -> str:
    """The list for people."""
    lines = [_PAGE_HEAD, "## Messages", ""]
    for each in CATALOGUE:
        lines += _section(each)
    lines += ["## Fields", "", "| field | value |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items()]
    lines += [
        "",
        f"Each entry has {', '.join(f'`{each}`' for each in COMMON)} besides; see systemd.journal-fields(7).",
        "",
    ]
    return "\n".join(lines)


def _section(message: Message) -> list[str]:
    return [
        f"### {message.name}",
        "",
        f"`MESSAGE_ID={message.id}`",
        "",
        f"{_with_fields(message.subject)}.",
        "",
        _with_fields(message.text),
        "",
        *([f"Fields: {', '.join(f'`{each}`' for each in message.fields)}.", ""] if message.fields else []),
    ]


def _with_fields(text: str) -> str:
    return re.sub(r"@(\w+)@", r"`\1`", text)


def main() -> None:
    CATALOG.write_text(catalog(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
