"""The effect of gathering: the target, from the OS, update_engine and the cluster at the same time.

As soon as update_engine names the coming version, while it still downloads, the addons for it are fetched into
staging (N9). Staging is keyed by digest, so the fetching state finds them there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import trio

from torcxd.daemon.addons import check_keyring, download, resolve_plan
from torcxd.daemon.cluster import Cluster, ask_cluster
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.failures import as_single
from torcxd.daemon.inspection import inspect
from torcxd.dbus.update_engine import Operation, Status
from torcxd.host.docker import server_version
from torcxd.host.os_release import OsRelease, read_os_release
from torcxd.lifecycle.effects import Gather, VerifyBoot
from torcxd.lifecycle.events import BootVerified, Gathered, Waiting
from torcxd.lifecycle.facts import OsUpdate, Plan, Target
from torcxd.lifecycle.versions import is_docker
from torcxd.sources.os_update import read
from torcxd.sources.update_engine import follow_update

log = logging.getLogger(__name__)


async def gather(ctx: Context, effect: Gather, report: Report, *, random: Callable[[], float]) -> None:
    """Find out the target and report ``Gathered``."""
    await ctx.drifts.rest(ctx.clock, report)
    recorded = effect.recorded
    if effect.os_update is None:
        target = await find_target(
            ctx, effect.known, random=random, upgrade_os=ctx.settings.upgrade_os, prefetch=True, report=report
        )
    else:
        # A source watches update_engine: what it saw last is what counts.
        release = read_os_release(ctx.layout.os_release)
        await report(Waiting(ctx.clock.now(), "the cluster to tell its version and runtime mappings"))
        target = _target(ctx, release, effect.os_update, await ask_cluster(ctx, random))
    same = recorded is not None and recorded.target.same_as(target)
    running = await inspect(ctx, recorded if same else None)
    await report(Gathered(ctx.clock.now(), target, running, asked=effect.os_update is None))


async def verify_boot(ctx: Context, effect: VerifyBoot, report: Report) -> None:
    """Compare what came up with the recorded plan, without network, and report ``BootVerified``.

    The disk decides. A Docker daemon of another version than the applied one is reported only: another boot would bring
    the same again, and one that has not started yet is no sign of a failed boot.
    """
    running = await inspect(ctx, effect.plan)
    if running.matches(effect.plan):
        running = replace(running, detail=await _foreign_docker(ctx, effect.plan))
    else:
        log.warning(
            "The boot did not bring the staged set (%s): OS version %s runs, Docker is %s. %s",
            effect.plan.outcome,
            running.os_version,
            running.docker or "missing",
            running.detail,
        )
    await report(BootVerified(ctx.clock.now(), running))


async def _foreign_docker(ctx: Context, plan: Plan) -> str:
    """What is wrong with the Docker daemon that runs, in one clause; empty where nothing is, or none answers."""
    if not ctx.asks_docker or plan.docker is None:
        return ""
    version = await server_version(ctx.layout.docker_socket)
    if version is None or is_docker(version, plan.docker):
        return ""
    return f"the Docker daemon that answers is {version}, though torcx applied docker:{plan.docker}"


async def find_target(
    ctx: Context,
    known: OsUpdate | None,
    *,
    random: Callable[[], float],
    upgrade_os: bool,
    prefetch: bool,
    report: Report | None = None,
) -> Target:
    """Ask everybody who knows, at the same time.

    :param known: the OS update on record, which counts where update_engine has forgotten the version of its own.
    :param upgrade_os: whether to make update_engine look for an update, and wait for its end.
    :param prefetch: whether to fetch the addons of an announced version meanwhile.
    :param report: told of what is waited for; None for a caller that only looks.
    """
    release = read_os_release(ctx.layout.os_release)
    async with trio.open_nursery() as nursery:
        prefetcher = _Prefetcher(ctx, release) if prefetch and not ctx.settings.torcx_skip_setup else None
        cluster: list[Cluster] = []
        asked = trio.Event()

        async def ask() -> None:
            cluster.append(await ask_cluster(ctx, random))
            asked.set()
            if prefetcher is not None:
                prefetcher.cluster_known(cluster[0])

        if prefetcher is not None:
            # An OS update takes long, and without a usable keyring it would be for nothing.
            nursery.start_soon(check_keyring, ctx)
            nursery.start_soon(prefetcher.run)
        nursery.start_soon(ask)
        # The reasons to wait come from synchronous callbacks; there are a handful of them.
        reasons, told = trio.open_memory_channel[str](math.inf)
        if report is not None:
            nursery.start_soon(_tell, ctx, told, report)
        update = await _os_update(ctx, known, upgrade_os=upgrade_os, prefetcher=prefetcher, on_wait=reasons.send_nowait)
        await asked.wait()
        nursery.cancel_scope.cancel()
    return _target(ctx, release, update, cluster[0])


def _target(ctx: Context, release: OsRelease, update: OsUpdate, cluster: Cluster) -> Target:
    return Target(
        board=release.board,
        current_os=release.version,
        next_os=update.version,
        kube_version=cluster.kube_version,
        kube_source=cluster.kube_source,
        docker_preferences=cluster.docker_preferences,
        mappings_source=cluster.mappings_source,
        stage=not ctx.settings.torcx_skip_setup,
        next_pending=update.pending or update.version is None,
        installation=update.installation,
    )


async def _os_update(
    ctx: Context,
    known: OsUpdate | None,
    *,
    upgrade_os: bool,
    prefetcher: _Prefetcher | None,
    on_wait: Callable[[str], None],
) -> OsUpdate:
    def recorded(status: Status) -> str | None:
        return known.version if known is not None and known.names(read(status)) else None

    def changed(status: Status) -> None:
        if prefetcher is not None and status.version is not None:
            prefetcher.announced(status.version)
        if status.operation is Operation.DOWNLOADING:
            # update_engine's progress is a fraction; the display counts whole units.
            ctx.progress.advanced(f"OS {status.version or ''}".strip(), round(1000 * status.progress), 1000)

    async with ctx.system_bus() as bus:
        outcome = await follow_update(
            ctx.update_engine(bus),
            attempt=upgrade_os,
            progress_deadline=ctx.settings.update_deadline,
            on_status=changed,
            resolve_version=recorded,
            on_wait=on_wait,
        )
    log.info("Next OS version: %s (%s).", outcome.next_version or "none", outcome.note)
    installation = outcome.status.installation if outcome.status is not None else ""
    if not installation and known is not None and known.version == outcome.next_version:
        # The marker is not to be seen now; it was as the record was made.
        installation = known.installation
    return OsUpdate(outcome.next_version, pending=True, installation=installation)


async def _tell(ctx: Context, reasons: trio.MemoryReceiveChannel[str], report: Report) -> None:
    async for reason in reasons:
        await report(Waiting(ctx.clock.now(), reason))


class _Prefetcher:
    """Fetches the addons of the version announced last; an announcement of another one starts over (N8)."""

    def __init__(self, ctx: Context, release: OsRelease) -> None:
        self._ctx = ctx
        self._release = release
        self._cluster: Cluster | None = None
        self._version: str | None = None
        self._changed = trio.Event()
        self._work = trio.CancelScope()

    def announced(self, version: str) -> None:
        if version != self._version:
            log.info("OS version %s is coming; its addons are fetched while it downloads.", version)
            self._version = version
            self._poke()

    def cluster_known(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._poke()

    def _poke(self) -> None:
        self._work.cancel()
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled. What fails here is left to the fetching state, which tells of it."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            if self._version is None or self._cluster is None:
                continue
            target = _target(self._ctx, self._release, OsUpdate(self._version, pending=False), self._cluster)
            with trio.CancelScope() as self._work:
                try:
                    async with self._ctx.bucket() as http:
                        plan = await resolve_plan(self._ctx, http, Plan(target, target.coming_os))
                        await download(self._ctx, http, plan)
                    self._ctx.ahead.keep(plan)
                    log.info("The addons for OS version %s are fetched.", self._version)
                except* Exception as raised:
                    log.debug("Fetching ahead failed: %s.", as_single(raised))
