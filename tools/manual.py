"""Writes what is made from the one parser anew: the man pages in docs/man/ and the shell completion in completions/."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import shtab
from argparse_manpage.manpage import Manpage  # type: ignore[import-untyped]

from torcxd import __version__
from torcxd.cli.parser import Parser, build, build_original_bootstrap, build_original_hook

TOP: Final = Path(__file__).parent.parent

# What can be typed for a value, by what help calls it.
_WORDS: Final = {
    "BOOL": ["true", "false"],
    "LEVEL": ["debug", "info", "warning", "error"],
    "SERVICE": ["login1", "systemd1"],
}
_PATHS: Final = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
# readline takes '=' for a word of its own. Right behind it, that is the word to complete, and stands for an empty one.
_WITHOUT_EQUALS_SIGNS: Final = """\
_torcxd() {
  local -a words=("${COMP_WORDS[@]}") COMP_WORDS=()
  local index last=$COMP_CWORD COMP_CWORD=0
  for index in "${!words[@]}"; do
    if [[ ${words[index]} != = ]]; then
      COMP_WORDS+=("${words[index]}")
    elif ((index == last)); then
      COMP_WORDS+=("")
    fi
    ((index != last)) || COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  done
  _shtab_torcxd
}

complete -o bashdefault -F _torcxd torcxd"""

# What sections of a man page the parser does not know, in the order of man-pages(7).
_EXIT_STATUS: Final = """\
.TP
.B 0
Done. For
.B bootstrap
that means: kubelet.env is published.
.TP
.B 64
Wrong usage.
.TP
.B 65
Bad data from outside: a manifest, a signature, an image, a file of the operating system.
.TP
.B 66
A needed file is missing.
.TP
.B 69
A peer refuses, or offers not what is needed.
.TP
.B 70
A defect of this program.
.TP
.B 73
A file system is read-only.
.TP
.B 74
A file cannot be read or written.
.TP
.B 75
What failed may pass: try again.
.TP
.B 77
Not permitted: run it as root.
.TP
.B 78
The configuration is wrong: mend it.
.TP
.B 128 and more
Ended by that signal, after what was in progress was recorded."""
_ENVIRONMENT: Final = """\
.TP
.BI TORCXD_ SETTING
Each setting by its name in upper case, such as
.BR TORCXD_UPGRADE_OS=false .
A flag is stronger; a configuration file is weaker.
.TP
.BR HTTPS_PROXY ", " HTTP_PROXY ", " NO_PROXY
Proxies, in upper or lower case.
.TP
.BR SSL_CERT_FILE ", " SSL_CERT_DIR
The certificate authorities of addon servers, in place of the host's.
.TP
.B DBUS_SYSTEM_BUS_ADDRESS
The system bus.
.TP
.B NO_COLOR
Use no colour on a terminal."""
_FILES: Final = """\
.TP
.IR /etc/torcxd/config.yaml ", " /etc/torcxd/config.d/*.yaml
Settings; the same below
.I /usr/lib/torcxd
are weaker.
.TP
.I /etc/torcxd/pubring.gpg
The keys that may sign addon manifests.
.TP
.I /etc/kubernetes/kubelet.env
What bootstrap publishes in the end; the kubelet starts because it exists.
.TP
.I /etc/kubernetes/installer/
What counts where no API server answers.
.TP
.I /var/lib/torcxd/state.json
The recorded state;
.I history.jsonl
beside it has the past.
.TP
.I /var/lib/torcx/store/
Where addon images are placed."""


def outputs() -> dict[Path, str]:
    """Every generated file and its content."""
    # argparse lays its text out for the terminal; a page must not depend on where it was made.
    os.environ["COLUMNS"] = "80"
    parser, bootstrap, hook = build(), build_original_bootstrap(), build_original_hook()
    return {
        TOP / "docs/man/torcxd.1": _page(parser, "keep a node's container runtime, kubelet and OS one consistent set"),
        TOP / "docs/man/tectonic-torcx-bootstrap.1": _page(bootstrap, "the same as 'torcxd bootstrap'"),
        TOP / "docs/man/tectonic-torcx-hook-pre.1": _page(hook, "the same as 'torcxd hook'"),
        TOP / "completions/torcxd.bash": _bash(shtab.complete(_completable(build()), "bash")),
        TOP / "completions/_torcxd": shtab.complete(_completable(build()), "zsh"),
    }


def _bash(completion: str) -> str:
    """shtab's *completion*, which knows '--flag value', for '--flag=value' as well."""
    registered = "complete -o bashdefault -F _shtab_torcxd torcxd"
    if not completion.endswith(registered):
        raise ValueError("shtab registers its function in another way now")
    return completion.removesuffix(registered) + _WITHOUT_EQUALS_SIGNS


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of *parser*'s commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _completable(parser: Parser) -> Parser:
    """*parser*, with what a shell may offer for its values and in one line; for this use only."""
    for action in _options(parser):
        if action.metavar in _PATHS:
            action.complete = _PATHS[action.metavar]  # type: ignore[attr-defined]
        elif action.metavar in _WORDS:
            action.choices = _WORDS[action.metavar]
        elif isinstance(action, argparse._SubParsersAction):
            for summary in action._choices_actions:
                action.choices[summary.dest].description = summary.help
    return parser


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    yield from parser._actions
    for command in commands(parser).values():
        yield from _options(command)


def _page(parser: argparse.ArgumentParser, summary: str) -> str:
    # The parser's epilog says in short what the sections here say at length.
    parser.epilog = None
    data = {
        "project_name": "torcxd",
        "version": __version__,
        "description": summary,
        "manual_title": "torcxd",
        # The day of making would make every page stale on the next.
        "date": " ",
    }
    page = Manpage(parser, _data=data, format="single-commands-section")
    for heading, content in (("exit status", _EXIT_STATUS), ("environment", _ENVIRONMENT), ("files", _FILES)):
        page.add_section(heading, "=", content)
    # Flags, paths and URLs are long words: breaking them at hyphens, or stretching lines for them, hinders reading.
    head, _, rest = str(page).partition("\n")
    rest = re.sub(r"https://\S+", lambda url: url[0].replace("/", "/\\:"), rest)
    return f"{head}\n.nh\n.ad l\n{rest}"


def main() -> None:
    for path, content in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
