"""Events about a node, for ``kubectl describe node``."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from torcxd.clock import Clock, SystemClock
from torcxd.kube.client import KubeClient
from torcxd.kube.nodes import Node

# Events about what lives in no namespace are kept in this one, where kubectl looks for them.
NAMESPACE: Final = "default"
# The largest note of events.k8s.io/v1, as which the API server shows the same object.
_LONGEST_MESSAGE: Final = 1024

_RULE: Final = f'a Role in the namespace {NAMESPACE} with apiGroups [""], resources ["events"] and verbs ["create"]'


class EventType(StrEnum):
    """What kubectl shows in an event's first column."""

    NORMAL = "Normal"
    WARNING = "Warning"


async def create_event(
    client: KubeClient,
    node: Node,
    reason: str,
    message: str,
    type_: EventType,
    *,
    clock: Clock | None = None,
) -> None:
    """Create an event (core/v1) about *node*. Nothing is deduplicated: call it once for what happened once.

    An event is a courtesy: a caller goes on without it where the server refuses, e.g. with status 403.

    :param reason: one word in CamelCase, for programs.
    :param message: sentences for people; cut after 1024 characters.
    :param clock: the time of day; default: the host's.
    :raises TorcxdError: as :class:`KubeClient`.
    """
    moment = datetime.fromtimestamp((clock or SystemClock()).now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "kind": "Event",
        "apiVersion": "v1",
        # The server adds some letters to the name.
        "metadata": {"generateName": f"{node.name}.", "namespace": NAMESPACE},
        # As the kubelet writes it: kubectl finds a node's events by a uid that is the node's name.
        "involvedObject": {"kind": "Node", "name": node.name, "uid": node.name},
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "source": {"component": "torcxd", "host": node.name},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "type": str(type_),
    }
    response = await client.send("POST", f"/api/v1/namespaces/{NAMESPACE}/events", document)
    client.read(response, _RULE)
