"""The effects of staged, reboot-pending and done: compare, reboot, publish."""

from __future__ import annotations

import logging
from typing import Final

import trio

from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.inspection import inspect
from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import DBusError
from torcxd.dbus.login1 import Login1
from torcxd.dbus.systemd1 import Systemd1
from torcxd.errors import TransientError
from torcxd.host import docker_cleanup, files
from torcxd.host.env_file import kubelet_env, read_env_file, render
from torcxd.lifecycle.effects import Compare, Publish, Reboot
from torcxd.lifecycle.events import Compared, OsUpdateSeen, Published, RebootRequested, Waiting
from torcxd.lifecycle.facts import OsUpdate, Plan
from torcxd.lifecycle.preparedness import is_for
from torcxd.sources.os_update import read

log = logging.getLogger(__name__)

# systemd stops a unit within 90 s unless told otherwise; several times that, and the accepted request went nowhere.
REBOOT_DEADLINE: Final = 600.0


async def compare(ctx: Context, effect: Compare, report: Report) -> None:
    """Look at what runs and report ``Compared``."""
    running = await inspect(ctx, effect.plan)
    await report(Compared(ctx.clock.now(), running))


async def reboot(ctx: Context, effect: Reboot, report: Report) -> None:
    """Ask for the reboot once, then wait for the end.

    A request that was accepted in this boot is not repeated (I7), nor is one made while the system goes down already:
    the process may have been killed between the request and its record. What it is for is looked at once more before:
    it may have been refused, or the disk full, for hours (I3, I4).

    :raises TransientError: when the request is refused, or was accepted and nothing happened.
    """
    if not effect.accepted:
        async with ctx.system_bus() as bus:
            if await _goes_down(ctx, bus):
                log.info("The system is going down already; no second reboot is asked for.")
            elif not await _still_prepared(ctx, effect.plan, bus, report):
                return
            else:
                await _ask(ctx, effect, bus)
        await report(RebootRequested(ctx.clock.now(), ctx.settings.reboot_via))
    until = ctx.clock.now() + REBOOT_DEADLINE
    await report(Waiting(ctx.clock.now(), "the reboot that was asked for", until))
    await trio.sleep(REBOOT_DEADLINE)
    raise TransientError(
        f"the reboot was accepted, but after {REBOOT_DEADLINE:.0f} s the system still runs",
        hint="see systemctl list-jobs for what holds it up",
    )


async def _goes_down(ctx: Context, bus: Bus) -> bool:
    if ctx.settings.reboot_via == "login1" and await Login1(bus).preparing_for_shutdown():
        return True
    return await Systemd1(bus).going_down()


async def _still_prepared(ctx: Context, plan: Plan, bus: Bus, report: Report) -> bool:
    """Whether the next boot still is that of *plan*, and its set on the disk; reports what is so instead."""
    if not await is_intact(ctx, plan, report):
        return False
    try:
        seen = read(await ctx.update_engine(bus).status())
    except DBusError as error:
        if error.absent:
            return True
        raise
    # An update that is on its way is none yet: the next boot does not bring it.
    update = seen if seen.pending else OsUpdate(None, pending=False)
    if is_for(plan, update):
        return True
    log.warning("The next boot is another one than %s was staged for; it is gathered anew.", plan.outcome)
    await report(OsUpdateSeen(ctx.clock.now(), update))
    return False


async def _ask(ctx: Context, effect: Reboot, bus: Bus) -> None:
    if effect.clean_docker and effect.plan.docker is not None:
        await docker_cleanup.schedule(bus, ctx.layout, effect.plan.docker)
    log.info("Asking %s for a reboot into %s.", ctx.settings.reboot_via, effect.plan.outcome)
    if ctx.settings.reboot_via == "login1":
        await Login1(bus).reboot()
    else:
        # What the original calls; it works where logind is absent.
        await Systemd1(bus).start_unit("reboot.target", "isolate")


async def is_intact(ctx: Context, plan: Plan, report: Report) -> bool:
    """Whether the disk still holds the set of *plan*; reports ``Drifted`` where it does not."""
    running = await inspect(ctx, plan)
    if not running.intact:
        log.warning("The staged set was damaged: %s.", running.detail)
        await ctx.drifts.tell(ctx.clock, running, report)
    return running.intact


async def publish(ctx: Context, effect: Publish, report: Report) -> None:
    """Give kubelet.env its final name, and report ``Published``: kubelet starts because the file exists.

    What runs is looked at once more, so that the file never speaks for another system (I1).
    """
    running = await inspect(ctx, effect.plan)
    if not running.matches(effect.plan):
        log.warning("Not publishing: the node does not run %s. %s", effect.plan.outcome, running.detail)
        await ctx.drifts.tell(ctx.clock, running, report)
        return
    installer = ctx.layout.installer / "kubelet.env"
    inherited = read_env_file(installer) if installer.exists() else {}
    content = render(kubelet_env(inherited, effect.plan.target.kube_version))
    await trio.to_thread.run_sync(files.write_atomic, ctx.kubelet_env, content)
    log.info("Published %s: Kubernetes %s.", ctx.kubelet_env, effect.plan.target.kube_version)
    ctx.drifts.over()
    await report(Published(ctx.clock.now()))
