"""Builds of the program that are broken on purpose: each has to be found out by a power cut at the right moment.

Each function breaks the process that calls it, before the program runs in it. What they break does no harm as long as
the power stays on.
"""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from torcxd.addons.profile import ensure_pinned
from torcxd.daemon import addons, perform
from torcxd.host import files
from torcxd.sandbox.sandbox import OLD_OS


def _replace(module: ModuleType, name: str, value: Any) -> None:
    mock.patch.object(module, name, value).start()


def syncs_no_content() -> None:
    """A file gets its name without being made durable first."""

    fsync = os.fsync

    def directories_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            fsync(descriptor)

    _replace(os, "fsync", directories_only)


def syncs_no_names() -> None:
    """Files are durable, but their names are not."""

    def leave(directory: Path) -> None:
        del directory

    _replace(files, "fsync_directory", leave)


def pins_first() -> None:
    """The profile pins the other Docker before its images are in the stores."""
    place = addons.place

    async def early(ctx: Any, effect: Any, report: Any) -> None:
        ensure_pinned(ctx.layout, ctx.settings.torcx_profile, "docker", effect.plan.docker)
        await place(ctx, effect, report)

    _replace(perform, "place", early)


def cleans_up_later() -> None:
    """Docker's clean-up is scheduled when the reboot is asked for, as late as in a shutdown, not before the pinning."""

    async def never(*_: Any) -> None:
        pass

    _replace(addons, "docker_cleanup", SimpleNamespace(schedule=never))


def trusts_systemd_with_links() -> None:
    """The links to the unit that cleans are as durable as systemd makes them."""
    _replace(files, "sync_everything", lambda: None)


def _dies_before_it_syncs(name: str) -> None:
    """Like a process that is killed: after it has named something in the directory *name*, before that is durable."""
    sync = files.fsync_directory

    def die(directory: Path) -> None:
        if directory.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(directory)

    _replace(files, "fsync_directory", die)


def dies_at_the_store() -> None:
    """Killed when an image has its name in the store."""
    _dies_before_it_syncs(OLD_OS)


def dies_at_the_profile() -> None:
    """Killed when the profile is there."""
    _dies_before_it_syncs("profiles")


def dies_at_torcx() -> None:
    """Killed when torcx's folder is to be made durable for the first time."""
    _dies_before_it_syncs("torcx")
