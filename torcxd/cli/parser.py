"""The one parser: help, man page and shell completion are made from it."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from torcxd import __version__
from torcxd.cli import status
from torcxd.cli.output import fail
from torcxd.errors import EX_USAGE
from torcxd.settings import OPTIONS, Option, parse_bool

_DESCRIPTION: Final = (
    "Brings a Kubernetes node's container runtime, kubelet version and operating system from one consistent set to the "
    "next, and never lets the node boot into an inconsistent one."
)
# A paragraph a line.
_EPILOG: Final = (
    "Settings are also taken from the environment (TORCXD_UPGRADE_OS=false) and from /etc/torcxd/config.yaml "
    "(upgrade_os: false).\n"
    "Exit codes are those of sysexits(3): 0 done, 64 wrong usage, 65 bad data from outside, 66 no such file, 69 a peer "
    "is unavailable, 74 a file cannot be read or written, 75 try again, 77 not permitted, 78 wrong configuration."
)

# Where the original's container image has its files.
ORIGINAL_KEYRING: Final = "/pubring.gpg"
ORIGINAL_MAPPINGS: Final = "/versions.yaml"


class _Help(argparse.HelpFormatter):
    """Wraps to the terminal's width, line by line, and never inside a flag, a path or a URL."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapped = [self._wrap(line, width) for line in text.splitlines()]
        return "\n".join(indent + each for lines in wrapped for each in lines)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return self._wrap(" ".join(text.split()), width)

    @staticmethod
    def _wrap(text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """argparse with sysexits' code for wrong usage in few words, and no guessing of abbreviated flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _Help)
        # One line: the options are listed below it in the help, and would hide the error that follows it elsewhere.
        kwargs.setdefault("usage", "%(prog)s [OPTION]...")
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """As argparse, but flags that nobody knows are told of by the command that they were given to."""
        found: argparse.Namespace
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._parser_of(found).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        sys.exit(fail(message, f"'{self.prog} --help' lists the options", EX_USAGE))

    def _parser_of(self, found: argparse.Namespace) -> argparse.ArgumentParser:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen: argparse.ArgumentParser = action.choices[getattr(found, action.dest)]
                return chosen
        return self


def build() -> Parser:
    """The parser of ``torcxd`` with all its commands."""
    parser = Parser("torcxd", usage="%(prog)s COMMAND [OPTION]...", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"torcxd {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, prog=parser.prog
    )

    bootstrap = commands.add_parser(
        "bootstrap",
        help="prepare a new node, reboot if needed, and publish kubelet.env",
        description="Takes a new node from first boot to a written kubelet.env, with the right Docker addon in the "
        "torcx stores of the running and of the coming OS version.\nWith kubelet.env present it does nothing.",
        epilog=_EPILOG,
    )
    add_settings(bootstrap, "bootstrap")
    run = commands.add_parser(
        "run",
        help="stay on the node: prepare every coming OS update, answer the update operator",
        description="The daemon of a node's whole life. It watches update_engine and the cluster, stages the addons of "
        "a coming OS version as soon as it is announced,\nholds reboots off until they are complete, answers the "
        "update operator's pre-reboot check, and verifies after the boot.\nSIGHUP reloads the configuration.",
        epilog=_EPILOG,
    )
    add_settings(run, "run")
    hook = commands.add_parser(
        "hook",
        help="answer one pre-reboot check of the update operator, and end",
        description="Prepares the node for the pending OS update, sets the success annotation, and ends: the check of "
        "'torcxd run' as a one-shot pod.",
        epilog=_EPILOG,
    )
    add_settings(hook, "hook")
    _add_sleep(hook)
    plan = commands.add_parser(
        "plan",
        help="say what bootstrap would do, and why; change nothing",
        description="Gathers the facts, reads the manifests, prints what would be done and why, and changes nothing.",
        epilog=_EPILOG,
    )
    add_settings(plan, "plan")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    status.add_arguments(
        commands.add_parser("status", help="show the state and what it waits for", description=status.DESCRIPTION)
    )
    history = commands.add_parser(
        "history",
        help="show past transitions",
        description="Prints the recorded transitions and failures, oldest first.",
    )
    add_root(history)
    history.add_argument("--json", action="store_true", help="print one JSON object a line")
    history.add_argument(
        "-n", "--lines", type=_at_least(1), default=50, metavar="N", help="how many to show (default: 50)"
    )
    graph = commands.add_parser(
        "graph",
        help="draw the states",
        description="Prints the diagram of the states, generated from the chart itself.",
    )
    graph.add_argument("--format", choices=("mermaid", "dot"), default="mermaid", help="(default: mermaid)")
    demo = commands.add_parser(
        "demo",
        help="bootstrap a sandboxed node before your eyes",
        description="Sets up a node in a folder, with a private D-Bus, an update_engine, a signed bucket and an API "
        "server, and runs the real bootstrap on it, through a reboot. Nothing outside the folder is touched.",
    )
    demo.add_argument("--directory", metavar="DIR", help="keep the node in this new or empty folder")
    return parser


def build_original_bootstrap() -> Parser:
    """The parser of ``tectonic-torcx-bootstrap``: the original's flags, without a command."""
    parser = Parser(
        "tectonic-torcx-bootstrap",
        description="Drop-in for tectonic-torcx-bootstrap: the same as 'torcxd bootstrap', with the original's "
        f"defaults for --keyring ({ORIGINAL_KEYRING}) and --version-manifest ({ORIGINAL_MAPPINGS} where it exists).",
        epilog=_EPILOG,
    )
    add_settings(
        parser,
        "bootstrap",
        {"keyring": ORIGINAL_KEYRING, "version_manifest": f"{ORIGINAL_MAPPINGS} where it exists, else none"},
    )
    parser.add_argument("--torcx-bin", metavar="FILE", help="accepted and not used: torcx's files are handled natively")
    return parser


def build_original_hook() -> Parser:
    """The parser of ``tectonic-torcx-hook-pre``: the original's flags, without a command."""
    parser = Parser(
        "tectonic-torcx-hook-pre",
        description="Drop-in for tectonic-torcx-hook-pre: the same as 'torcxd hook', with the original's defaults for "
        f"--keyring ({ORIGINAL_KEYRING}), --version-manifest ({ORIGINAL_MAPPINGS} where it exists) and "
        "--node-annotation (none: nobody is told).",
        epilog=_EPILOG,
    )
    mappings = f"{ORIGINAL_MAPPINGS} where it exists, else none"
    shown = {"keyring": ORIGINAL_KEYRING, "version_manifest": mappings, "node_annotation": "none"}
    add_settings(parser, "hook", shown)
    _add_sleep(parser)
    parser.add_argument("--torcx-bin", metavar="FILE", help="accepted and not used: torcx's files are handled natively")
    return parser


def _add_sleep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sleep",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="if above 0, stay after the answer until the pod is ended, as a DaemonSet needs it (default: 0)",
    )


def _at_least(least: int) -> Callable[[str], int]:
    """A number that is no setting; argparse makes wrong usage of the rest."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} on")
        return value

    return number


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="/", metavar="DIR", help="the folder that stands for / (default: /)")


def add_settings(parser: argparse.ArgumentParser, command: str, defaults: Mapping[str, str] | None = None) -> None:
    """Give *parser* a flag for each setting of *command*. A flag that is not given is absent from the namespace.

    :param defaults: what the help says is the default, where that is not the table's.
    """
    add_root(parser)
    shown = {each.name: _shown(each) for each in OPTIONS} | dict(defaults or {})
    group = parser.add_argument_group("settings")
    for option in OPTIONS:
        if command not in option.commands:
            continue
        extra: dict[str, Any] = {}
        if option.parse is parse_bool:
            # As with the original's flag library, "--flag" alone means true.
            extra = {"nargs": "?", "const": "true"}
        group.add_argument(
            option.flag,
            dest=option.name,
            default=argparse.SUPPRESS,
            metavar=option.metavar,
            help=_help(option, shown[option.name]).replace("%", "%%"),
            **extra,
        )


def _help(option: Option, default: str) -> str:
    # Some say it in their own words.
    return option.help if "(default: " in option.help else f"{option.help} (default: {default})"


def _shown(option: Option) -> str:
    if isinstance(option.default, bool):
        return str(option.default).lower()
    if isinstance(option.default, float):
        return f"{option.default:.0f}s"
    return str(option.default) or "none"
