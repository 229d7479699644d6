"""``torcxd run``: the daemon of a node's whole life."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace

import trio

from torcxd import messages
from torcxd.cli.output import fail, set_level
from torcxd.cli.signals import until_signal
from torcxd.daemon.context import Context
from torcxd.daemon.lock import only_instance
from torcxd.daemon.process import DAEMON, attend_node
from torcxd.errors import EX_OK, TorcxdError
from torcxd.host.malloc import keep_heap_small
from torcxd.host.notify import ServiceManager
from torcxd.lifecycle.effects import End
from torcxd.paths import Layout
from torcxd.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout, reload: Callable[[], Settings]) -> int:
    """Run the daemon until SIGTERM or SIGINT; returns the exit code.

    SIGHUP reloads: the work goes on from the state on disk with the new settings. Settings that are wrong are refused
    with a message, and the old ones kept.

    :param reload: reads the settings anew; raises ``TorcxdError``.
    :raises TorcxdError: when it cannot even begin.
    """
    keep_heap_small()
    environment = dict(os.environ)
    manager = ServiceManager(environment)
    with only_instance(layout, "run"):
        outcome = trio.run(_serve, Context(settings, layout, environment), manager, reload)
    if isinstance(outcome, End) and outcome.exit_code != EX_OK:
        return fail(outcome.message, outcome.hint, outcome.exit_code)
    return EX_OK


async def _serve(ctx: Context, manager: ServiceManager, reload: Callable[[], Settings]) -> End | signal.Signals:
    server = _Server(ctx, manager, reload)
    outcome = await until_signal(server.run, signal.SIGTERM, signal.SIGINT)
    manager.stopping()
    if isinstance(outcome, signal.Signals):
        log.info("Stopped by %s.", outcome.name)
    return outcome


class _Server:
    """Serves with the settings in force; SIGHUP changes them."""

    def __init__(self, ctx: Context, manager: ServiceManager, reload: Callable[[], Settings]) -> None:
        self._ctx = ctx
        self._manager = manager
        self._reload = reload
        self._work = trio.CancelScope()

    async def run(self) -> End:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen)
            while True:
                with trio.CancelScope() as self._work:
                    end = await attend_node(
                        self._ctx, DAEMON, as_daemon=True, manager=self._manager, random=random.random
                    )
                    nursery.cancel_scope.cancel()
                    return end

    async def _listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGHUP) as received:
            task_status.started()
            async for _ in received:
                self._manager.reloading()
                self._take_over()
                self._manager.ready()

    def _take_over(self) -> None:
        """Read the settings anew; only ones that are right end the work that goes on with the old ones."""
        try:
            settings = self._reload()
        except TorcxdError as error:
            log.error(
                "The configuration was not reloaded, the old one is kept: %s.",
                error,
                extra=messages.CONFIGURATION_REFUSED.extra(
                    {"TORCXD_ERROR": error.message, "TORCXD_HINT": error.hint or None}
                ),
            )
            return
        set_level(settings.verbose)
        log.info("The configuration was reloaded.", extra=messages.CONFIGURATION_RELOADED.extra())
        self._ctx = replace(self._ctx, settings=settings)
        self._work.cancel()
