"""The bootstrap's parts strictly one after the other, as the original did them: the OS update, then for each OS version
its manifest and its image, and in the end the request for the reboot.

``python -m tests.bench.sequential --root=DIR FLAG…`` takes the flags of ``torcxd bootstrap`` and prints the seconds
that each part took, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import trio

from torcxd.cli import parser
from torcxd.cli.dispatch import read_settings
from torcxd.daemon.addons import download, place, resolve_plan
from torcxd.daemon.context import Context
from torcxd.daemon.gathering import find_target
from torcxd.dbus.login1 import Login1
from torcxd.lifecycle.effects import Place
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.plan import os_versions_to_stage
from torcxd.paths import Layout

T = TypeVar("T")


async def run(ctx: Context) -> dict[str, float]:
    """Do all parts; returns what each one took."""
    parts: dict[str, float] = {}

    async def timed(part: str, work: Awaitable[T]) -> T:
        begun = time.perf_counter()
        result = await work
        parts[part] = time.perf_counter() - begun
        return result

    target = await timed("OS update", find_target(ctx, None, random=random.random, upgrade_os=True, prefetch=False))
    plan = Plan(target, target.coming_os, resolved=True)
    async with ctx.bucket() as http:
        for version in os_versions_to_stage(target):
            alone = Plan(replace(target, current_os=version, next_os=None), version)
            alone = await timed(f"manifest {version}", resolve_plan(ctx, http, alone))
            await timed(f"image {version}", download(ctx, http, alone))
            plan = replace(plan, docker=alone.docker, images=(*plan.images, *alone.images))
    await timed("placing", place(ctx, Place(plan), _ignore))
    async with ctx.system_bus() as bus:
        await Login1(bus).reboot()
    return parts


async def _ignore(_event: Event) -> None:
    pass


def main(argv: list[str]) -> None:
    """The program."""
    arguments = parser.build().parse_args(["bootstrap", *argv])
    context = Context(read_settings(arguments, os.environ), Layout(Path(arguments.root)), dict(os.environ))
    print(json.dumps(trio.run(run, context)))


if __name__ == "__main__":
    main(sys.argv[1:])
