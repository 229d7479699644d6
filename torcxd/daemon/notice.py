"""The notice on the Node that says why the update operator has to wait (A28).

What it should say follows from the snapshot at each step, whatever the state's effect is at; what it does say is seen
on the node. Where the two differ the node is patched, beside whatever runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from torcxd.daemon.operator import OperatorDesk
from torcxd.daemon.withheld import Withheld
from torcxd.errors import TorcxdError
from torcxd.kube.nodes import Node
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step

log = logging.getLogger(__name__)


class NoticeKeeper:
    """An observer of the engine that keeps the notice in step with its snapshot.

    :param random: gives numbers in [0, 1) for jitter.
    """

    def __init__(self, desk: OperatorDesk, random: Callable[[], float]) -> None:
        self._desk = desk
        self._random = random
        self._reason = ""
        # How often the node was patched, or was to be, for this reason.
        self._tries = 0
        self._withheld = Withheld()
        self._node: Node | None = None
        self._changed = trio.Event()
        self._work = trio.CancelScope()

    def stepped(self, step: Step, event: Event) -> None:
        reason = self._withheld.reason(step, event)
        if reason != self._reason:
            self._reason = reason
            self._tries = 0
            # Cut off before the state's effects begin: the answer must not meet a reason that is still being written.
            self._work.cancel()
            self._changed.set()

    def saw(self, node: Node | None) -> None:
        """The source that watches the node has seen it so."""
        self._node = node
        self._changed.set()

    async def run(self) -> None:
        """Keep it until cancelled. A failure is tried again: without an answer the operator waits anyway."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            with trio.CancelScope() as self._work:
                await self._keep()

    def _due(self) -> bool:
        return self._node is not None and bool(self._desk.notice_due(self._node, self._reason))

    async def _keep(self) -> None:
        while self._due():
            if self._tries:
                # What does not stay is not put back at once: whoever takes it away may be as quick.
                await trio.sleep(retry.delay(self._tries, self._random()))
                if not self._due():
                    return
            self._tries += 1
            seen = self._node
            try:
                kept = await self._desk.keep_notice(self._reason)
                if self._node is seen:
                    # Otherwise the watch has told of something newer meanwhile.
                    self._node = kept
            except TorcxdError as error:
                if self._tries == 1 and self._reason:
                    log.warning(
                        "The update operator has to wait (%s), and could not be told why: %s. It is tried again.",
                        self._reason,
                        error,
                    )
