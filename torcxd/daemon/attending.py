"""The effect of a process that serves the update operator: answer, and let kubelet follow the cluster."""

from __future__ import annotations

import logging

import trio

from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.finishing import is_intact
from torcxd.daemon.operator import OperatorDesk
from torcxd.dbus.bus import Bus
from torcxd.dbus.systemd1 import Systemd1
from torcxd.host import docker_cleanup, files
from torcxd.host.env_file import installer_kube_version, kubelet_env, read_env_file, render
from torcxd.lifecycle.effects import Attend
from torcxd.lifecycle.events import Attended, HookAnswered, OsUpdateSeen
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.preparedness import is_for
from torcxd.lifecycle.versions import KubeVersion
from torcxd.sources.os_update import read

log = logging.getLogger(__name__)

KUBELET: str = "kubelet.service"


async def attend(ctx: Context, effect: Attend, report: Report) -> None:
    """Answer the operator if due, let kubelet.env follow the cluster if wanted, and report ``Attended``.

    Docker's clean-up is scheduled first: once the operator is answered, the reboot may come at any moment.
    """
    async with ctx.system_bus() as bus:
        if effect.clean_docker and effect.plan.docker is not None:
            await docker_cleanup.schedule(bus, ctx.layout, effect.plan.docker)
        if effect.answer and not await _still_true(ctx, bus, effect.plan, report):
            return
    if not await is_intact(ctx, effect.plan, report):
        return
    ctx.drifts.over()
    if effect.answer:

        async def answered() -> None:
            await report(HookAnswered(ctx.clock.now()))

        await OperatorDesk(ctx).answer(answered)
    if ctx.settings.update_kubelet:
        await follow_cluster(ctx, effect.plan)
    await report(Attended(ctx.clock.now()))


async def _still_true(ctx: Context, bus: Bus, plan: Plan, report: Report) -> bool:
    """Whether update_engine still says what *plan* is for; reports what it says instead.

    Its signals get lost, and the next poll may be a minute away: an answer must not rest on what was true then (I3).
    """
    seen = read(await ctx.update_engine(bus).status())
    if is_for(plan, seen):
        return True
    await report(OsUpdateSeen(ctx.clock.now(), seen))
    return False


async def follow_cluster(ctx: Context, plan: Plan) -> None:
    """Bring kubelet.env to the cluster's version, within Kubernetes' version-skew policy (A30).

    The kubelet must never be newer than the API server. What the API server itself said is by definition not newer;
    a version from anywhere else may be, and changes nothing. A node that was never bootstrapped is left alone.

    :raises TorcxdError: when the file cannot be read or written, or the kubelet cannot be restarted.
    """
    path = ctx.kubelet_env
    wanted = plan.target.kube_version
    if plan.target.kube_source != "the API server" or not path.exists():
        return
    present = read_env_file(path)
    running = installer_kube_version(present, str(path))
    due = ctx.layout.kubelet_restart_due
    if KubeVersion.parse(running) != KubeVersion.parse(wanted):
        if ctx.settings.restart_kubelet:
            # Noted first: once the file is written, a process that was cut off here could not tell that it is due.
            await trio.to_thread.run_sync(files.write_atomic, due, b"")
        await trio.to_thread.run_sync(files.write_atomic, path, render(kubelet_env(present, wanted)))
        log.info("%s follows the cluster from %s to %s.", path, running, wanted)
    if ctx.settings.restart_kubelet and due.exists():
        # An event that comes in between must not make it two restarts; the call has a deadline of its own.
        with trio.CancelScope(shield=True):
            async with ctx.system_bus() as bus:
                await Systemd1(bus).restart_unit(KUBELET)
            await trio.to_thread.run_sync(files.remove, due)
        log.info("Restarted %s.", KUBELET)
