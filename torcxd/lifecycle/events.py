"""What can happen. Every event carries the time at which it happened: the core has no clock.

An event's trigger, the name that the chart uses, is the class name in snake case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from torcxd.errors import Kind
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.mappings import Mappings


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events.

    :param at: seconds since the epoch.
    """

    trigger: ClassVar[str]
    at: float

    def __init_subclass__(cls) -> None:
        # dataclass(slots=True) makes the class anew and zero-argument super() with it fails: name the base.
        cls.trigger = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The process began. Not a trigger of the chart: it either resumes the recorded state or becomes ``Booted``."""

    boot_id: str


@dataclass(frozen=True, slots=True)
class Booted(Event):
    """The process began in another boot than the one that the state was recorded in."""

    boot_id: str


@dataclass(frozen=True, slots=True)
class Gathered(Event):
    """The target is known.

    :param running: what runs now, compared with the recorded plan where there is one for this very target.
    :param asked: whether update_engine was asked for it, and the target does not rest on what a source had heard.
    """

    target: Target
    running: Running
    asked: bool = False


@dataclass(frozen=True, slots=True)
class BootVerified(Event):
    """After a boot: what came up, to be compared with the recorded plan."""

    running: Running


@dataclass(frozen=True, slots=True)
class Resolved(Event):
    """The manifests were read and verified; the plan names each image."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Fetched(Event):
    """Every image of the plan lies verified in staging or in a store."""


@dataclass(frozen=True, slots=True)
class StagingLost(Event):
    """A staged image is gone or damaged, though it was fetched: the disk was cleaned or lost power."""


@dataclass(frozen=True, slots=True)
class Placed(Event):
    """Stores and profile hold the set."""


@dataclass(frozen=True, slots=True)
class Compared(Event):
    """The complete set was compared with what runs."""

    running: Running


@dataclass(frozen=True, slots=True)
class RebootRequested(Event):
    """The system accepted the request to reboot."""

    via: str


@dataclass(frozen=True, slots=True)
class Published(Event):
    """kubelet.env has its final name."""


@dataclass(frozen=True, slots=True)
class Drifted(Event):
    """Just before publishing, the node was found not to run the recorded set any more."""

    running: Running


@dataclass(frozen=True, slots=True)
class OsUpdateSeen(Event):
    """The source that watches update_engine saw what it does now, or has asked anew."""

    update: OsUpdate


@dataclass(frozen=True, slots=True)
class OsUpdateLost(Event):
    """The source that watches update_engine lost it: what is known of it may be wrong by now."""


@dataclass(frozen=True, slots=True)
class ClusterChanged(Event):
    """A source saw another Kubernetes version, or other runtime mappings.

    :param kube_version: the API server's version, None when it is the mappings that were seen.
    :param mappings: the cluster's runtime mappings, None when they are gone or cannot be read.
    """

    kube_version: str | None
    mappings: Mappings | None = None


@dataclass(frozen=True, slots=True)
class HookAsked(Event):
    """The update operator's pre-reboot check was seen to be asked for, or not any more.

    :param asked: whether it is asked for now.
    :param answered: whether the success annotation is on the node, whoever put it there and when.
    """

    asked: bool
    answered: bool = False


@dataclass(frozen=True, slots=True)
class HookAnswered(Event):
    """The success annotation is on the node."""


@dataclass(frozen=True, slots=True)
class Attended(Event):
    """Everything is done that serving the update operator takes now: whatever failed at it is over."""


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The state's effect failed.

    :param jitter: a random number in [0, 1) that spreads the retries of many nodes.
    :param retry_after: the seconds that a server asked to be left alone for, None when it did not.
    """

    message: str
    hint: str
    kind: Kind
    exit_code: int
    jitter: float
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RetryDue(Event):
    """The time of the next attempt has come."""


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """The state's effect waits for something.

    :param until: when it gives up waiting, seconds since the epoch; None when it is bounded elsewhere.
    """

    reason: str
    until: float | None = None


# The triggers a chart may name.
TRIGGERS: frozenset[str] = frozenset(
    each.trigger
    for each in (
        Booted,
        Gathered,
        BootVerified,
        Resolved,
        Fetched,
        StagingLost,
        Placed,
        Compared,
        RebootRequested,
        Published,
        Drifted,
        OsUpdateSeen,
        OsUpdateLost,
        ClusterChanged,
        HookAsked,
        HookAnswered,
        Attended,
        Failed,
        RetryDue,
        Waiting,
    )
)
