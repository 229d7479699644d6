"""From argv to a command's function: settings are merged, errors become messages and exit codes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from torcxd import config_files
from torcxd.cli import parser as parsers
from torcxd.cli.output import fail, set_up_logging
from torcxd.errors import TorcxdError
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, OPTIONS, Settings, combine, convert

# Where the original's container image has its files.
_ORIGINAL_KEYRING: Final = "/pubring.gpg"
_ORIGINAL_MAPPINGS: Final = "/versions.yaml"


def run(argv: list[str]) -> int:
    """Run ``torcxd`` with *argv*; returns the exit code."""
    arguments = parsers.build().parse_args(argv)
    commands: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "bootstrap": _bootstrap,
        "plan": _plan,
        "history": _history,
        "graph": _graph,
        "demo": _demo,
    }
    return _guarded(commands[arguments.command], arguments)


def run_original_bootstrap(argv: list[str]) -> int:
    """Run ``tectonic-torcx-bootstrap`` with *argv*; returns the exit code."""
    arguments = parsers.build_original_bootstrap().parse_args(argv)
    if not hasattr(arguments, "keyring"):
        arguments.keyring = _ORIGINAL_KEYRING
    if not hasattr(arguments, "version_manifest") and (Path(arguments.root) / _ORIGINAL_MAPPINGS.lstrip("/")).exists():
        arguments.version_manifest = _ORIGINAL_MAPPINGS
    return _guarded(_bootstrap, arguments)


def _guarded(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return command(arguments)
    except TorcxdError as error:
        return fail(error.message, error.hint, error.exit_code)
    except BrokenPipeError:
        # The reader went away (torcxd history | head): nothing is wrong. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def read_settings(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Merge flags, environment and files.

    :raises ConfigurationError: naming the flag, variable, or file and line.
    """
    flags: dict[str, Any] = {
        name: convert(BY_NAME[name], value, BY_NAME[name].flag)
        for name, value in vars(arguments).items()
        if name in BY_NAME
    }
    variables = {
        each.name: convert(each, environment[each.variable], each.variable)
        for each in OPTIONS
        if each.variable in environment
    }
    return combine(config_files.load(Layout(Path(arguments.root))), variables, flags)


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = read_settings(arguments, os.environ)
    set_up_logging(settings.verbose)
    return settings


def _bootstrap(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from torcxd.cli.bootstrap import bootstrap

    return bootstrap(settings, Layout(Path(arguments.root)))


def _plan(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from torcxd.cli.plan import plan

    return plan(settings, Layout(Path(arguments.root)), as_json=arguments.json)


def _history(arguments: argparse.Namespace) -> int:
    from torcxd.cli.history import history

    return history(Layout(Path(arguments.root)), lines=arguments.lines, as_json=arguments.json)


def _graph(arguments: argparse.Namespace) -> int:
    from torcxd.charts import load_chart
    from torcxd.lifecycle.diagram import dot, mermaid

    chart = load_chart()
    print(mermaid(chart) if arguments.format == "mermaid" else dot(chart), end="")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from torcxd.cli.demo import demo

    return demo(Path(arguments.directory) if arguments.directory else None)
