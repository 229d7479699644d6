"""``torcxd run``: the daemon of a node's whole life."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable

import trio

from torcxd import messages
from torcxd.cli.output import fail
from torcxd.cli.signals import until_signal
from torcxd.daemon.context import Context
from torcxd.daemon.lock import only_instance
from torcxd.daemon.process import DAEMON, attend_node
from torcxd.errors import EX_OK, TorcxdError
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
    environment = dict(os.environ)
    manager = ServiceManager(environment)
    with only_instance(layout):
        outcome = trio.run(_serve, Context(settings, layout, environment), manager, reload)
    if isinstance(outcome, End) and outcome.exit_code != EX_OK:
        return fail(outcome.message, outcome.hint, outcome.exit_code)
    return EX_OK


async def _serve(ctx: Context, manager: ServiceManager, reload: Callable[[], Settings]) -> End | signal.Signals:
    settings = ctx.settings

    async def serve() -> End:
        return await attend_node(
            Context(settings, ctx.layout, ctx.environment, clock=ctx.clock),
            DAEMON,
            as_daemon=True,
            manager=manager,
            random=random.random,
        )

    while True:
        outcome = await until_signal(serve, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if outcome is not signal.SIGHUP:
            manager.stopping()
            if isinstance(outcome, signal.Signals):
                log.info("Stopped by %s.", outcome.name)
            return outcome
        manager.reloading()
        try:
            settings = reload()
            log.info("The configuration was reloaded.", extra=messages.CONFIGURATION_RELOADED.extra())
        except TorcxdError as error:
            log.error(
                "The configuration was not reloaded, the old one is kept: %s.",
                error,
                extra=messages.CONFIGURATION_REFUSED.extra(
                    {"TORCXD_ERROR": error.message, "TORCXD_HINT": error.hint or None}
                ),
            )
        manager.ready()
