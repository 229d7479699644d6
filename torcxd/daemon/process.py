"""Puts a process that serves the update operator together: engine, sources, inhibitor, service manager."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import trio

from torcxd.charts import load_chart
from torcxd.daemon.bus_object import BusObject
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Engine, Observer
from torcxd.daemon.inhibitor import InhibitionGuard
from torcxd.daemon.journal_observer import JournalObserver
from torcxd.daemon.manager_observer import ManagerObserver
from torcxd.daemon.narrator import Narrator
from torcxd.daemon.notice import NoticeKeeper
from torcxd.daemon.observers import Observers
from torcxd.daemon.operator import OperatorDesk
from torcxd.daemon.perform import performer
from torcxd.daemon.preload import preload
from torcxd.daemon.statefile import StateFile
from torcxd.daemon.watchdog import watch
from torcxd.daemon.watching import Watch
from torcxd.dbus.bus import open_bus
from torcxd.host.boot import read_boot_id
from torcxd.host.notify import ServiceManager, watchdog_interval
from torcxd.lifecycle.effects import End
from torcxd.lifecycle.machine import Lifecycle, Policy
from torcxd.sources.health import HealthBoard
from torcxd.sources.supervisor import keep_running

Exporter = Callable[[], Awaitable[None]]

DAEMON = Policy(ends_when_published=False, ends_on_permanent=False, retry_for=None, attends=True)


def export_metrics(
    ctx: Context, health: HealthBoard, guard: InhibitionGuard, told: list[Observer], exporters: list[Exporter]
) -> Context:
    """Add what the settings ask for: an observer that counts to *told*, and what writes or serves to *exporters*.

    :returns: *ctx* with a progress that counts bytes.
    """
    # prometheus_client costs 3 MB: only those pay who want metrics.
    from torcxd.daemon.metrics import CONTENT_TYPE, CountedProgress, Metrics
    from torcxd.daemon.metrics_endpoint import MetricsEndpoint
    from torcxd.daemon.metrics_file import write_metrics

    metrics = Metrics(
        load_chart(), sources=lambda: health.sources, inhibitor_held=lambda: bool(guard.held), counts=ctx.counts
    )
    told.append(metrics)
    settings = ctx.settings
    if settings.metrics_file:
        exporters.append(partial(write_metrics, metrics.text, ctx.path(settings.metrics_file)))
    if settings.metrics_listen:
        listen = settings.metrics_listen
        where = str(ctx.path(listen)) if listen.startswith("/") else listen
        exporters.append(partial(MetricsEndpoint(metrics.text, CONTENT_TYPE).keep_serving, where))
    return replace(ctx, progress=CountedProgress(ctx.counts, ctx.progress))


async def attend_node(
    ctx: Context,
    policy: Policy,
    *,
    as_daemon: bool,
    manager: ServiceManager,
    random: Callable[[], float],
    observers: Sequence[Observer] = (),
) -> End:
    """Serve the update operator until the policy says that nothing is left to do. Cancellation ends it at once.

    :param as_daemon: with the sources of a node's whole life, the inhibitor and the watchdog; otherwise only what the
        one-shot hook needs.
    :param observers: told of each step, besides the log and the service manager.
    :raises TorcxdError: when it cannot begin.
    """
    preload()
    ctx = replace(ctx, asks_docker=True)
    health = HealthBoard(ctx.layout.sources_file, ctx.clock)
    guard = InhibitionGuard(lambda: open_bus(enable_fds=True), limit=ctx.settings.inhibit_for, random=random)
    shown = BusObject(random)
    notice = NoticeKeeper(OperatorDesk(ctx), random)
    told: list[Observer] = [Narrator(ctx), JournalObserver(), ManagerObserver(manager, health), notice, *observers]
    if as_daemon:
        told += [guard, shown]
    exporters: list[Exporter] = []
    if as_daemon and (ctx.settings.metrics_file or ctx.settings.metrics_listen):
        ctx = export_metrics(ctx, health, guard, told, exporters)
    engine = Engine(
        Lifecycle(load_chart(), policy),
        StateFile(ctx.layout),
        performer(ctx, random),
        boot_id=read_boot_id(ctx.layout.boot_id),
        clock=ctx.clock,
        random=random,
        observer=Observers(*told),
        decided=guard.decided if as_daemon else None,
    )
    watched = Watch(ctx, engine.report, health, random, saw_node=notice.saw)
    sources = watched.daemon_sources() if as_daemon else watched.hook_sources()
    health.expect(sources)
    async with trio.open_nursery() as nursery:
        for name, source in sources.items():
            nursery.start_soon(keep_running, name, source, health, random)
        nursery.start_soon(notice.run)
        if as_daemon:
            nursery.start_soon(guard.run)
            nursery.start_soon(shown.run)
            for each in exporters:
                nursery.start_soon(each)
            interval = watchdog_interval(ctx.environment)
            if interval is not None:
                nursery.start_soon(watch, engine, manager.watchdog, interval)
        end = await engine.run()
        nursery.cancel_scope.cancel()
    return end
