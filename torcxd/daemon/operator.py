"""The update operator's pre-reboot check: answered on the own Node, or withheld with a reason (A26 to A28).

The operator asks by the label ``before-reboot=true`` and waits for an annotation. It may withdraw the question at any
time, so whatever is written is written on the condition that all it rests on is as it was seen: the question, the
answer and the reason. A patch that was cut off, and which the API server takes only later, then changes nothing any
more that was decided since.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from torcxd.daemon.cluster import open_api
from torcxd.daemon.context import Context
from torcxd.errors import PermanentError, TorcxdError
from torcxd.kube.client import KubeClient
from torcxd.kube.events import EventType, create_event
from torcxd.kube.nodes import Node, PreconditionFailed, get_node, patch_annotations
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, TRUE, OperatorNames, detect
from torcxd.settings import Settings

log = logging.getLogger(__name__)

# Beside the success annotation, so that `kubectl describe node` shows why a node waits.
_REASON_SUFFIX: Final = "-reason"
# One word for programs, as Kubernetes names the reasons of events.
EVENT_WITHHELD: Final = "TorcxRebootWithheld"
EVENT_READY: Final = "TorcxRebootReady"
# How often a node is looked at and patched at once, before a conflict counts as a failure: whoever else writes to it
# (kubelet, operator, agent) does so every few seconds at most.
_ATTEMPTS: Final = 5
# Seconds. An event is a courtesy that must not hold up the end of the process.
_EVENT_DEADLINE: Final = 2.0


def node_name(settings: Settings, environment: Mapping[str, str]) -> str:
    """This node's name in the cluster.

    The original's pod got it in ``NODE``; otherwise a kubelet registers under the host name in lower case.
    """
    return settings.node_name or environment.get("NODE") or environment.get("NODE_NAME") or socket.gethostname().lower()


class OperatorDesk:
    """Where the operator's questions are read and answered."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.node_name = node_name(ctx.settings, ctx.environment)

    def names(self, node: Node) -> OperatorNames | None:
        """The names of the operator that looks after *node*; None while neither has left a trace."""
        configured = {"cluo": CONTAINER_LINUX, "fluo": FLATCAR}.get(self._ctx.settings.update_operator)
        return configured or detect(node)

    def annotation(self, names: OperatorNames) -> str:
        """The full name of the success annotation."""
        name = self._ctx.settings.node_annotation
        return name if "/" in name else names.prefix + name

    def read(self, node: Node | None) -> tuple[bool, bool]:
        """Whether the operator asks for the check, and whether the answer is on the node.

        Neither where it was not said by which annotation it is answered.
        """
        names = self.names(node) if node is not None else None
        if node is None or names is None or not self._ctx.settings.node_annotation:
            return False, False
        return names.asks(node), node.annotations.get(self.annotation(names)) == TRUE

    async def answer(self, answered: Callable[[], Awaitable[None]]) -> None:
        """Set the success annotation while it is asked for, and make an event of it.

        :param answered: called as soon as the annotation is there.
        :raises TorcxdError: when the API server does not take it. A question that was withdrawn meanwhile is no error.
        """
        async with self._client() as client:
            for left in reversed(range(_ATTEMPTS)):
                node = await get_node(client, self.node_name)
                names = self.names(node)
                if names is None or not names.asks(node):
                    log.info("The update operator's check was withdrawn before it was answered.")
                    return
                annotation = self.annotation(names)
                changes = {annotation: TRUE, annotation + _REASON_SUFFIX: None}
                if await self._patch(client, node, changes, names, last=not left) is not None:
                    log.info("Told the update operator that this node is prepared (%s=true).", annotation)
                    # Side by side: the operator goes on at once, and may thereby end what answers it.
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(
                            self._tell, client, node, EVENT_READY, "prepared for the reboot", EventType.NORMAL
                        )
                        nursery.start_soon(answered)
                    return

    def notice_due(self, node: Node, reason: str) -> Mapping[str, str | None]:
        """What is to be changed in *node*'s annotations for them to say that *reason* is why the operator waits.

        An answer that was given too early is taken back; a reason that outlived its question goes. Nothing is changed
        where the operator asks and there is no reason to wait: that is for the answer.
        """
        names = self.names(node)
        if names is None or not self._ctx.settings.node_annotation:
            # There is nobody to be told, or it was not said where.
            return {}
        annotation = self.annotation(names)
        wanted: dict[str, str | None] = {}
        if not names.asks(node):
            wanted = {annotation + _REASON_SUFFIX: None}
        elif reason:
            wanted = {annotation: None, annotation + _REASON_SUFFIX: reason}
        return {name: value for name, value in wanted.items() if node.annotations.get(name) != value}

    async def keep_notice(self, reason: str) -> Node:
        """Make the node say why the operator waits, and an event of each reason that is new to it.

        :param reason: one clause for people; empty where it need not wait.
        :returns: the node as it was seen last.
        :raises TorcxdError: when the API server does not take it.
        """
        async with self._client() as client:
            for left in reversed(range(_ATTEMPTS)):
                node = await get_node(client, self.node_name)
                names, changes = self.names(node), self.notice_due(node, reason)
                if names is None or not changes:
                    break
                patched = await self._patch(client, node, changes, names, last=not left)
                if patched is None:
                    continue
                if reason in changes.values():
                    log.info("Told the update operator on the node %s why it has to wait.", self.node_name)
                    await self._tell(client, node, EVENT_WITHHELD, reason, EventType.WARNING)
                return patched
            return node

    async def _patch(
        self, client: KubeClient, node: Node, changes: Mapping[str, str | None], names: OperatorNames, *, last: bool
    ) -> Node | None:
        """Change annotations while everything is as it was when that was decided; None where it is not any more.

        :param last: then that is raised.
        """
        answer = self.annotation(names)
        rests_on = (answer, answer + _REASON_SUFFIX, names.reboot_paused)
        try:
            return await patch_annotations(
                client,
                node,
                changes,
                expect_labels={names.before_reboot: node.labels.get(names.before_reboot)},
                expect_annotations={each: node.annotations.get(each) for each in rests_on},
            )
        except PreconditionFailed:
            if last:
                raise
            return None

    async def _tell(self, client: KubeClient, node: Node, reason: str, message: str, type_: EventType) -> None:
        # Told also where the operator is satisfied, or has withdrawn its question, already.
        with trio.move_on_after(_EVENT_DEADLINE, shield=True):
            try:
                await create_event(client, node, reason, message, type_, clock=self._ctx.clock)
            except TorcxdError as error:
                log.info("No event was made for `kubectl describe node`: %s.", error)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[KubeClient]:
        async with open_api(self._ctx) as client:
            if client is None:
                raise PermanentError(
                    f"there is no kubeconfig at {self._ctx.settings.kubeconfig}: the operator cannot be answered",
                    hint="give --kubeconfig, or run in a pod with a service account",
                )
            yield client
