"""From argv to a command's function: settings are merged, errors become messages and exit codes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torcxd import config_files
from torcxd.cli import parser as parsers
from torcxd.cli.output import fail, set_up_logging
from torcxd.daemon.failures import as_single
from torcxd.errors import ConfigurationError, from_os_error
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, Settings, combine, convert, from_environment

# What a shell makes of SIGINT: 128 and its number.
_INTERRUPTED = 130


def run(argv: list[str]) -> int:
    """Run ``torcxd`` with *argv*; returns the exit code."""
    arguments = parsers.build().parse_args(argv)
    commands: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "bootstrap": _bootstrap,
        "run": _run,
        "hook": _hook,
        "plan": _plan,
        "history": _history,
        "graph": _graph,
        "demo": _demo,
    }
    return _guarded(commands[arguments.command], arguments)


def run_original_bootstrap(argv: list[str]) -> int:
    """Run ``tectonic-torcx-bootstrap`` with *argv*; returns the exit code."""
    arguments = parsers.build_original_bootstrap().parse_args(argv)
    return _guarded(_original_bootstrap, arguments)


def run_original_hook(argv: list[str]) -> int:
    """Run ``tectonic-torcx-hook-pre`` with *argv*; returns the exit code."""
    arguments = parsers.build_original_hook().parse_args(argv)
    return _guarded(_original_hook, arguments)


def _guarded(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return command(arguments)
    except BrokenPipeError:
        # The reader went away (torcxd history | head): nothing is wrong. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as raised:
        # What a command did not foresee, such as a folder that this user may not look into.
        error = from_os_error(raised, "access", raised.filename or "a file")
    except Exception as raised:
        error = as_single(raised)
    return fail(error.message, error.hint, error.exit_code)


def read_settings(
    arguments: argparse.Namespace, environment: Mapping[str, str], defaults: Mapping[str, Any] | None = None
) -> Settings:
    """Merge flags, environment and files.

    :param defaults: what counts instead of the usual defaults, where nothing else is given.
    :raises ConfigurationError: naming the flag, variable, or file and line.
    """
    flags: dict[str, Any] = {
        name: convert(BY_NAME[name], value, BY_NAME[name].flag)
        for name, value in vars(arguments).items()
        if name in BY_NAME
    }
    variables = from_environment(environment)
    layout = Layout(Path(arguments.root))
    settings = combine(dict(defaults or {}), config_files.load(layout), variables, flags)
    if settings.version_manifest and not layout.at(settings.version_manifest).is_file():
        # It is read late, or not at all where the cluster has mappings: the day it is needed would be the wrong one.
        option = BY_NAME["version_manifest"]
        where = option.flag if option.name in flags else option.variable if option.name in variables else option.name
        raise ConfigurationError(
            f"{where}: there is no file {settings.version_manifest}",
            hint="put the mappings there, or leave the setting out for the built-in ones",
        )
    return settings


def _settings(arguments: argparse.Namespace, defaults: Mapping[str, Any] | None = None) -> Settings:
    settings = read_settings(arguments, os.environ, defaults)
    set_up_logging(settings.verbose, Layout(Path(arguments.root)).journal_socket)
    return settings


def _bootstrap(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from torcxd.cli.bootstrap import bootstrap

    return bootstrap(settings, Layout(Path(arguments.root)))


def _run(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from torcxd.cli.run import run as serve

    return serve(settings, Layout(Path(arguments.root)), lambda: read_settings(arguments, os.environ))


def _hook(arguments: argparse.Namespace, defaults: Mapping[str, Any] | None = None) -> int:
    settings = _settings(arguments, defaults)
    from torcxd.cli.hook import hook

    return hook(settings, Layout(Path(arguments.root)), sleep=arguments.sleep > 0)


def _original_hook(arguments: argparse.Namespace) -> int:
    # The original tells nobody unless it is given an annotation.
    return _hook(arguments, {**_original_defaults(arguments), "node_annotation": ""})


def _original_defaults(arguments: argparse.Namespace) -> dict[str, str]:
    present = Layout(Path(arguments.root)).at(parsers.ORIGINAL_MAPPINGS).exists()
    return {
        "keyring": parsers.ORIGINAL_KEYRING,
        "version_manifest": parsers.ORIGINAL_MAPPINGS if present else "",
    }


def _original_bootstrap(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, _original_defaults(arguments))
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
