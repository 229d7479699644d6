"""``torcxd bootstrap``: from first boot to a published kubelet.env."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from contextlib import suppress
from dataclasses import replace

import trio

from torcxd.charts import load_chart
from torcxd.cli.output import fail
from torcxd.cli.signals import SIGNALLED, until_signal
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Engine
from torcxd.daemon.journal_observer import JournalObserver
from torcxd.daemon.lock import only_instance
from torcxd.daemon.narrator import Narrator
from torcxd.daemon.observers import Observers
from torcxd.daemon.perform import performer
from torcxd.daemon.progress import progress_for
from torcxd.daemon.statefile import StateFile, read_recorded
from torcxd.errors import EX_OK, TorcxdError
from torcxd.host.boot import read_boot_id
from torcxd.lifecycle.machine import Lifecycle, Policy
from torcxd.paths import Layout
from torcxd.settings import Settings

log = logging.getLogger(__name__)


def engine_for(context: Context) -> Engine:
    """The engine of one bootstrap.

    :raises TorcxdError: the boot id cannot be read.
    """
    policy = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=context.settings.retry_for)
    return Engine(
        Lifecycle(load_chart(), policy),
        StateFile(context.layout),
        performer(context, random.random),
        boot_id=read_boot_id(context.layout.boot_id),
        clock=context.clock,
        random=random.random,
        observer=Observers(Narrator(context), JournalObserver()),
    )


def bootstrap(settings: Settings, layout: Layout) -> int:
    """Run the bootstrap to its end; returns the exit code: 0 only with kubelet.env in place.

    :raises TorcxdError: when it cannot even begin.
    """
    progress = progress_for(sys.stderr)
    context = Context(settings, layout, dict(os.environ), progress=progress)
    if context.kubelet_env.exists():
        _note_publication(context)
        log.info("%s exists: this node is bootstrapped already; nothing is left to do.", context.kubelet_env)
        return EX_OK
    engine = engine_for(context)
    with only_instance(layout, "bootstrap"):
        try:
            ending = trio.run(until_signal, engine.run, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        finally:
            progress.finish()
    if isinstance(ending, signal.Signals):
        if _reboots(layout):
            log.info("Ended for the reboot; the next boot goes on from here.")
        else:
            log.warning("Stopped by %s; the next run goes on from here.", ending.name)
        # Never 0: a bootstrap that was stopped must not release the kubelet (C6).
        return SIGNALLED + ending
    if ending.exit_code != EX_OK:
        return fail(ending.message, ending.hint, ending.exit_code)
    return EX_OK


def _note_publication(context: Context) -> None:
    """Make up for what a run could not do that was killed between its publication and the record of it.

    Whoever works on the node meanwhile keeps the record himself.
    """
    if not context.layout.state_file.exists():
        return
    with suppress(TorcxdError), only_instance(context.layout, "bootstrap"):
        recorded = read_recorded(context.layout)
        if recorded is not None and recorded.state == "done" and recorded.published_at is None:
            at = context.kubelet_env.stat().st_mtime
            noted = replace(recorded, published_at=at, failure=None, waiting_for="", waiting_until=None)
            StateFile(context.layout).save(noted)


def _reboots(layout: Layout) -> bool:
    """Whether a reboot is asked for: being stopped is then a part of it.

    Its acceptance need not be recorded yet: systemd can be quicker than its own answer.
    """
    snapshot = read_recorded(layout)
    return snapshot is not None and snapshot.state == "reboot-pending" and snapshot.failure is None
