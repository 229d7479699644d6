"""From argv to a command's function: settings are merged, errors become messages and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torcxd import config_files
from torcxd.cli import parser as parsers
from torcxd.cli.output import fail, fail_to_print, is_of_standard_output, set_up_logging
from torcxd.daemon.failures import as_single, leaves_of
from torcxd.errors import EX_NOINPUT, ConfigurationError, PermanentError, from_os_error
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, Settings, combine, convert, from_environment

# What a shell makes of SIGINT: 128 and its number.
_INTERRUPTED = 130
# As systemd and D-Bus's own programs call it.
_BUS_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"


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
        _check_root(arguments)
        exit_code = command(arguments)
        # Not left to the exit of Python, which would tell of a full disk in its own words.
        sys.stdout.flush()
        return exit_code
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as raised:
        return _ended_by(raised, arguments)


def _ended_by(raised: BaseException, arguments: argparse.Namespace) -> int:
    """Tell of what ended the command, if anybody is to be told; returns the exit code."""
    # A nursery wraps what the keyboard and the files say, too.
    leaves = leaves_of(raised)
    if any(isinstance(each, KeyboardInterrupt) for each in leaves):
        return _INTERRUPTED
    for each in leaves:
        if isinstance(each, OSError) and is_of_standard_output(each):
            return fail_to_print(each)
    if not isinstance(raised, Exception):
        raise raised
    # The programs with the original's names have one command, which logs.
    command = getattr(arguments, "command", None)
    error = as_single(raised, logs=command is None or command in BY_NAME["verbose"].commands)
    return fail(error.message, error.hint, error.exit_code)


def _check_root(arguments: argparse.Namespace) -> None:
    """Refuse a --root that is not there: nothing could be told of it, and it is hardly meant to be made.

    :raises PermanentError: naming the folder.
    """
    root = getattr(arguments, "root", "/")
    if not Path(root).is_dir():
        raise PermanentError(f"--root: there is no folder {root}", hint="correct the path", exit_code=EX_NOINPUT)


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
    origins: dict[str, str] = {}
    of_files = config_files.load(layout, origins)
    origins |= {name: BY_NAME[name].variable for name in variables} | {name: BY_NAME[name].flag for name in flags}
    settings = combine(dict(defaults or {}), of_files, variables, flags, origins=origins)
    if settings.version_manifest:
        # It is read late, or not at all where the cluster has mappings: the day it is needed would be the wrong one.
        _check_mappings(layout.at(settings.version_manifest), settings)
    return settings


def _check_mappings(path: Path, settings: Settings) -> None:
    try:
        if path.is_file():
            return
        problem = f"there is no file {settings.version_manifest}"
    except OSError as error:
        problem = from_os_error(error, "look at", settings.version_manifest).message
    raise ConfigurationError(
        f"{settings.origin('version_manifest')}: {problem}",
        hint="put the mappings there, or leave the setting out for the built-in ones",
    )


def _settings(arguments: argparse.Namespace, defaults: Mapping[str, Any] | None = None) -> Settings:
    _check_bus(arguments.root, os.environ)
    settings = read_settings(arguments, os.environ, defaults)
    set_up_logging(settings.verbose, Layout(Path(arguments.root)).journal_socket)
    return settings


def _check_bus(root: str, environment: Mapping[str, str]) -> None:
    """Refuse to work on a node in a folder with the bus of the machine around it: it would be rebooted.

    :raises ConfigurationError: naming the variable that is to be set.
    """
    if os.path.realpath(root) != "/" and not environment.get(_BUS_VARIABLE):
        raise ConfigurationError(
            f"--root={root} is another system than this one, and {_BUS_VARIABLE} is not set: update_engine and the "
            "reboot would be this machine's",
            hint=f"set {_BUS_VARIABLE} to the address of that system's bus, such as unix:path=/run/…",
        )


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
