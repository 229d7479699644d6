"""Builds of the program that are broken on purpose: each has to be found out by a crash at the right moment.

Each function breaks the process that calls it, before the program runs in it. What they break does no harm as long as
nobody kills the program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from torcxd.cli import bootstrap
from torcxd.daemon import finishing
from torcxd.errors import TransientError
from torcxd.host import docker_cleanup, files
from torcxd.paths import Layout


def _replace(module: ModuleType, name: str, function: Callable[..., Any]) -> None:
    mock.patch.object(module, name, function).start()


def writes_in_place() -> None:
    """Files get their final name before their content."""

    def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        files.make_directory(path.parent)
        path.write_bytes(data)
        path.chmod(mode)

    _replace(files, "write_atomic", write)


def copies_images() -> None:
    """An image gets its name in the store before its content."""

    def copy(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())

    _replace(files, "link", copy)


def leaves_things_about() -> None:
    """What a killed process has left is nobody's business."""

    def leave(path: Path) -> None:
        del path

    _replace(files, "_remove_abandoned", leave)


def asks_without_looking() -> None:
    """A reboot is asked for whether or not the system goes down already."""

    async def never(*_: Any) -> bool:
        return False

    _replace(finishing, "_goes_down", never)


def cleans_after_asking() -> None:
    """The reboot is asked for first, and the removal of Docker's data prepared then."""
    schedule, ask = docker_cleanup.schedule, finishing._ask
    postponed: list[tuple[Any, ...]] = []

    async def postpone(_: Any, *arguments: Any) -> None:
        postponed.append(arguments)

    async def ask_first(ctx: Any, effect: Any, bus: Any) -> None:
        await ask(ctx, effect, bus)
        for each in postponed:
            await schedule(bus, *each)

    _replace(docker_cleanup, "schedule", postpone)
    _replace(finishing, "_ask", ask_first)


def locks_with_a_file() -> None:
    """Whoever finds the lock's file thinks that it is held."""

    @contextmanager
    def only_instance(layout: Layout, *_: Any) -> Iterator[None]:
        path = layout.state_directory / "held"
        files.make_directory(path.parent)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise TransientError("another torcxd works on this node", hint="wait for it to end") from None
        try:
            yield
        finally:
            path.unlink()

    _replace(bootstrap, "only_instance", only_instance)
