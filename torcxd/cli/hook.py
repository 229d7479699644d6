"""``torcxd hook``: the answer to one pre-reboot check, as a pod; the drop-in for ``tectonic-torcx-hook-pre``."""

from __future__ import annotations

import logging
import os
import random
import signal
from dataclasses import replace

import trio

from torcxd.cli.output import fail
from torcxd.cli.signals import SIGNALLED, until_signal
from torcxd.daemon.context import Context
from torcxd.daemon.lock import only_instance
from torcxd.daemon.process import DAEMON, attend_node
from torcxd.errors import EX_OK
from torcxd.host.notify import ServiceManager
from torcxd.lifecycle.effects import End
from torcxd.paths import Layout
from torcxd.settings import Settings

log = logging.getLogger(__name__)


def hook(settings: Settings, layout: Layout, *, sleep: bool) -> int:
    """Prepare the node for its next boot, answer the operator, and end; returns the exit code.

    A failure is told to the operator and retried: a pod that ended would be started again anyway.

    :param sleep: stay after the answer until a signal comes, as a DaemonSet's pod has to.
    :raises TorcxdError: when it cannot even begin.
    """
    context = Context(settings, layout, dict(os.environ))
    with only_instance(layout, "hook"):
        outcome = trio.run(_answer, context, sleep)
    if isinstance(outcome, signal.Signals):
        log.info("Stopped by %s.", outcome.name)
        # The normal end of a pod that was to sleep is no failure.
        return EX_OK if sleep else SIGNALLED + outcome
    return EX_OK if outcome.exit_code == EX_OK else fail(outcome.message, outcome.hint, outcome.exit_code)


async def _answer(ctx: Context, sleep: bool) -> End | signal.Signals:
    untold = not ctx.settings.node_annotation
    policy = replace(DAEMON, ends_when_answered=True, ends_when_prepared=untold)

    async def work() -> End:
        end = await attend_node(
            ctx, policy, as_daemon=False, manager=ServiceManager(ctx.environment), random=random.random
        )
        if sleep and end.exit_code == EX_OK:
            log.info("The check is answered; sleeping until the pod is ended.")
            await trio.sleep_forever()
        return end

    return await until_signal(work, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
