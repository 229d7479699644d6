"""Writes the tables of the settings in docs/configuration.md anew, from the table that the program itself uses."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.manual import commands
from torcxd.cli.parser import build
from torcxd.settings import OPTIONS, Option

PAGE: Final = Path(__file__).parent.parent / "docs/configuration.md"
# What stands between these two lines is generated.
BEGIN: Final = "<!-- The rest of this section is written by `make docs` (tools/reference.py). -->\n"
END: Final = "<!-- End of the generated part. -->\n"


def reference() -> str:
    """A section for each setting."""
    return "\n".join(_section(each) for each in OPTIONS)


def _section(option: Option) -> str:
    default = _default(option)
    there = [name for name in commands(build()) if name in option.commands]
    lines = [
        f"### {option.name}",
        "",
        f"{option.help[0].upper()}{option.help[1:]}.",
        *([] if there else ["", "No command that is there yet uses it."]),
        "",
        "| | |",
        "|---|---|",
        f"| flag | `{option.flag}={option.metavar}` |",
        f"| variable | `{option.variable}` |",
        f"| key | `{option.name}` |",
        *([f"| for | `{'`, `'.join(there)}` |"] if there else []),
        f"| default | {f'`{default}`' if default else 'none'} |",
    ]
    if option.empty_is_default:
        lines.append("| an empty value | stands for the default |")
    return "\n".join([*lines, ""])


def _default(option: Option) -> str:
    if isinstance(option.default, bool):
        return str(option.default).lower()
    if isinstance(option.default, float):
        return f"{option.default:g}s"
    return str(option.default)


def renewed(page: str) -> str:
    """*page* with its generated part as it has to be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def main() -> None:
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
