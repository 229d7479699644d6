"""``torcxd plan``: what bootstrap would do, and why; nothing is changed."""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import asdict

import trio

from torcxd.cli.style import bold
from torcxd.daemon.addons import missing_images, plan_without_traces
from torcxd.daemon.context import Context
from torcxd.daemon.failures import as_single
from torcxd.daemon.gathering import find_target
from torcxd.daemon.inspection import inspect
from torcxd.daemon.statefile import read_recorded
from torcxd.host.boot import read_boot_id
from torcxd.lifecycle.facts import Image, Plan, Running
from torcxd.lifecycle.guards import recorded_update
from torcxd.paths import Layout
from torcxd.settings import Settings


def plan(settings: Settings, layout: Layout, *, as_json: bool) -> int:
    """Gather, resolve, print; returns the exit code.

    An OS update is not started: one that is pending already is counted, one that update_engine might find is not.

    :raises TorcxdError: when a fact cannot be had that bootstrap would need.
    """
    ctx = Context(settings, layout, dict(os.environ))
    try:
        found, missing, running = trio.run(_look, ctx)
    except Exception as raised:
        raise as_single(raised) from raised
    if as_json:
        print(json.dumps({"plan": asdict(found), "missing": [asdict(each) for each in missing]}, indent=2))
        return 0
    for line in _explain(ctx, found, missing, running):
        print(line)
    return 0


async def _look(ctx: Context) -> tuple[Plan, list[Image], Running]:
    recorded = read_recorded(ctx.layout)
    this_boot = recorded is not None and recorded.boot_id == read_boot_id(ctx.layout.boot_id)
    known = recorded_update(recorded) if recorded is not None and this_boot else None
    target = await find_target(ctx, known, random=random.random, upgrade_os=False, prefetch=False)
    found = await plan_without_traces(ctx, Plan(target, target.coming_os))
    return found, await missing_images(ctx, found), await inspect(ctx, found)


def _explain(ctx: Context, found: Plan, missing: list[Image], running: Running) -> list[str]:
    target = found.target
    update = f"OS version {target.next_os} is pending" if target.next_os else "no OS update is pending"
    lines = [
        bold("Facts", sys.stdout),
        f"  OS version {target.current_os} runs on board {target.board}; {update}.",
        f"  Kubernetes is {target.kube_version}, says {target.kube_source}.",
        f"  It accepts Docker {', '.join(target.docker_preferences)} (best first), says {target.mappings_source}.",
        f"  Docker {running.docker or '(none)'} is applied now.",
        bold("Would do", sys.stdout),
    ]
    if ctx.kubelet_env.exists():
        return [*lines, f"  Nothing: {ctx.kubelet_env} exists, so this node is bootstrapped."]
    if ctx.settings.upgrade_os:
        lines.append("  Let update_engine look for a newer OS version, and follow its update to the end.")
    if found.docker is None:
        lines.append("  Stage no addons: " + ("--torcx-skip-setup." if not target.stage else "the OS is too old."))
    else:
        lines.append(f"  Choose Docker {found.docker}: the best that the manifest of {target.coming_os} offers.")
    for image in found.images:
        needed = image in missing
        lines.append(
            f"  {'Download' if needed else 'Keep'} {image.label} ({image.digest.algorithm} {image.digest.hex[:12]}…)."
        )
    if running.lacks_docker(found):
        lines.append(f"  Pin docker:{found.docker} in the next torcx profile; clean /var/lib/docker on the way.")
    # Nobody knows yet what update_engine will find.
    open_end = ctx.settings.upgrade_os and not target.next_os
    if running.applies(found):
        lines.append(f"  Need no reboot{' but for an update' if open_end else ''}: OS and Docker are the wanted ones.")
    else:
        lines.append(f"  Reboot into {found.outcome}{' (or into what the update brings)' if open_end else ''}.")
    return [*lines, f"  Publish {ctx.kubelet_env} with Kubernetes {target.kube_version}."]
