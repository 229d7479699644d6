"""What is made equal before it is explored, so that there is an end: what decides nothing of what follows.

Each of it is an abstraction of the core's memory that forgets only what the core never asks for again. That this is so
is a test, and no belief: ``test_canonical.py`` has the core go on from both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tests.model.shell import NOW
from tests.model.verdicts import stuck
from torcxd.lifecycle.effects import Effect
from torcxd.lifecycle.guards import MOST_BOOTS
from torcxd.lifecycle.memory import resumed
from torcxd.lifecycle.policy import Policy
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot

# The present boot, and any other one: the core only compares them.
PRESENT: Final = "present"
BEFORE: Final = "before"


def canonical(snapshot: Snapshot, policy: Policy) -> Snapshot:
    """The snapshot that stands for all from which the same follows."""
    # Once update_engine was heard in this boot, it is not asked any more in which boot the plan was made.
    planned_here = snapshot.planned_in == snapshot.boot_id and snapshot.heard_os is None
    says = policy.attends and snapshot.state == "gathering"
    return replace(
        snapshot,
        # Times and counters are for people: nothing is compared with them but the patience of a failing bootstrap,
        # which ends by an event of its own here.
        since=NOW,
        published_at=None,
        hook_answered_at=None,
        transitions=0,
        failure=_failure(snapshot, policy),
        next_try=None if snapshot.next_try is None else NOW,
        # Words are for people, too: there they only must not be missing.
        waiting_for="something" if says and snapshot.waiting_for else "",
        waiting_until=None,
        reboot=_reboot(snapshot),
        # Boots in vain are compared with the most that there may be.
        boots={key: min(count, MOST_BOOTS) for key, count in sorted(snapshot.boots.items())},
        # Whether it is answered counts where it is asked, and each word of the operator's tells both.
        hook_answered=snapshot.hook_asked and snapshot.hook_answered,
        planned_in=snapshot.boot_id if planned_here else "",
        # The inhibitor asks for it, which follows the core and tells it nothing; and who has to know whether a version
        # without an installation is of an installed update.
        heard_pending=snapshot.heard_pending and bool(snapshot.heard_os) and not snapshot.heard_installation,
    )


def of_the_ended(snapshot: Snapshot) -> Snapshot:
    """What is left of the memory of a process that has ended: what the next one takes over of it, in any boot.

    That boots do not help any more is left, too, though the next one has to find it out again: people are told so.
    """
    left = resumed(snapshot)
    return replace(left, failure=snapshot.failure) if stuck(snapshot) else left


def _failure(snapshot: Snapshot, policy: Policy) -> Failure | None:
    """Only that it failed counts, and whether boots do not help: neither the words nor how often.

    Where failures are tried again for ever, one whose next attempt has begun counts no more than none.
    """
    failure = snapshot.failure
    if failure is None:
        return None
    if stuck(snapshot):
        return Failure("boots did not bring it", "", "", NOW, NOW, 1, final=failure.final)
    if policy.retry_for is None and not policy.ends_on_permanent and snapshot.next_try is None:
        return None
    return Failure("it failed", "", "", NOW, NOW, 1)


def _reboot(snapshot: Snapshot) -> RebootNote | None:
    """Outside of its state a note tells only whether this boot's request was accepted, and for what."""
    note = snapshot.reboot
    if note is None:
        return None
    accepted_at = None if note.accepted_at is None else NOW
    if snapshot.state == "reboot-pending":
        return replace(note, accepted_at=accepted_at)
    if note.boot_id != snapshot.boot_id or accepted_at is None:
        return None
    return replace(note, accepted_at=accepted_at, clean_docker=False)


def elsewhere(snapshot: Snapshot) -> Snapshot:
    """What is remembered, as seen from another boot."""
    reboot = snapshot.reboot and replace(snapshot.reboot, boot_id=BEFORE)
    planned_in = snapshot.planned_in and BEFORE
    return replace(snapshot, boot_id=BEFORE, reboot=reboot, planned_in=planned_in)


def plain(effect: Effect) -> Effect:
    """An effect without what makes no difference: when."""
    changes: dict[str, Any] = {"when": NOW} if hasattr(effect, "when") else {}
    return replace(effect, **changes) if changes else effect
