"""The names by which the two update operators and their agents talk to hooks through a node's labels and annotations.

The Container Linux Update Operator and its successor, the Flatcar Linux Update Operator, differ in the prefix only; the
names after it are those of their package ``constants``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torcxd.kube.nodes import Node

TRUE: Final = "true"
FALSE: Final = "false"

# The annotation by which the original hook answers. The operator is told it by name, so it is whatever the cluster's
# administrator wrote there: with or without the operator's prefix.
HOOK_ANNOTATION: Final = "tectonic-torcx-pre-hook-ok"


@dataclass(frozen=True, slots=True)
class OperatorNames:
    """One operator's names.

    :param prefix: with the slash at its end.
    """

    prefix: str

    # The label that the operator sets.
    @property
    def before_reboot(self) -> str:
        """Asks the hooks to prepare the node for its reboot."""
        return f"{self.prefix}before-reboot"

    # Labels that the agent sets.
    @property
    def id(self) -> str:
        """The ``ID`` of the node's os-release."""
        return f"{self.prefix}id"

    @property
    def group(self) -> str:
        """The node's update channel."""
        return f"{self.prefix}group"

    @property
    def version(self) -> str:
        """The ``VERSION`` of the node's os-release."""
        return f"{self.prefix}version"

    # Annotations.
    @property
    def reboot_needed(self) -> str:
        """By the agent, as annotation and as label: an update waits for a reboot."""
        return f"{self.prefix}reboot-needed"

    @property
    def reboot_ok(self) -> str:
        """By the operator: the agent may drain and reboot."""
        return f"{self.prefix}reboot-ok"

    @property
    def reboot_in_progress(self) -> str:
        """By the agent: it drains, or the node reboots."""
        return f"{self.prefix}reboot-in-progress"

    @property
    def reboot_paused(self) -> str:
        """By the administrator: no reboot for now."""
        return f"{self.prefix}reboot-paused"

    @property
    def status(self) -> str:
        """By the agent: update_engine's operation, such as ``UPDATE_STATUS_UPDATED_NEED_REBOOT``."""
        return f"{self.prefix}status"

    @property
    def new_version(self) -> str:
        """By the agent: update_engine's new version, with all that this can be; never a plan's base."""
        return f"{self.prefix}new-version"

    def asks(self, node: Node) -> bool:
        """Whether the operator waits for the hooks of *node* now, and nobody has paused its reboots."""
        return node.labels.get(self.before_reboot) == TRUE and not self.is_paused(node)

    def is_paused(self, node: Node) -> bool:
        """Whether an administrator has paused the reboots of *node*."""
        return node.annotations.get(self.reboot_paused) == TRUE


CONTAINER_LINUX: Final = OperatorNames("container-linux-update.v1.coreos.com/")
FLATCAR: Final = OperatorNames("flatcar-linux-update.v1.flatcar-linux.net/")
# The successor first: of two that left equal traces, it is the one that is still there.
OPERATORS: Final = (FLATCAR, CONTAINER_LINUX)


def detect(node: Node) -> OperatorNames | None:
    """The operator that looks after *node*, or None where neither has left a trace.

    After a move from one to the other the old names stay on the node: the one that asks for something counts first.
    """
    # A label without an agent's annotation can be an administrator's, who chose the nodes for the agent to run on.
    for sign in (_asks_hooks, _needs_reboot, _has_annotation, _has_label):
        for names in OPERATORS:
            if sign(names, node):
                return names
    return None


def _asks_hooks(names: OperatorNames, node: Node) -> bool:
    return node.labels.get(names.before_reboot) == TRUE


def _needs_reboot(names: OperatorNames, node: Node) -> bool:
    return node.annotations.get(names.reboot_needed) == TRUE


def _has_annotation(names: OperatorNames, node: Node) -> bool:
    return any(each.startswith(names.prefix) for each in node.annotations)


def _has_label(names: OperatorNames, node: Node) -> bool:
    return any(each.startswith(names.prefix) for each in node.labels)
