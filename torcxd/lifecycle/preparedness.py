"""Whether the node is prepared for what boots next: the operator's hook and the inhibitor depend on it (I3, I4)."""

from __future__ import annotations

from typing import Final

from torcxd.lifecycle.facts import OsUpdate, Plan
from torcxd.lifecycle.snapshot import Snapshot

# The states in which the disk holds the plan's complete set.
COMPLETE: Final = frozenset({"staged", "reboot-pending", "done"})
# The states in which nothing is left to do before a boot.
PREPARED: Final = frozenset({"reboot-pending", "done"})


def unprepared(snapshot: Snapshot) -> str:
    """Why a reboot now would not be safe, in one clause; empty when it is."""
    update, plan = snapshot.os_update, snapshot.plan
    if update is None:
        return "update_engine has not told yet which OS version boots next"
    if update.unknown:
        return "an OS update is pending, but update_engine does not say which version"
    if plan is None or snapshot.state not in PREPARED or not plan.resolved:
        if snapshot.failure is not None:
            return f"{snapshot.state} failed: {snapshot.failure.message}"
        if snapshot.state in COMPLETE and not update.pending:
            return f"the OS update to {update.version} is not installed yet"
        return f"the addons for OS version {update.version or 'now running'} are not staged yet"
    if plan.target.next_os != update.version:
        return f"the node is prepared for OS version {plan.target.coming_os}, not for {update.version}"
    if update.version is not None and not update.pending:
        # It was installed, and was withdrawn to be installed anew: a boot now would bring what runs already.
        return f"the OS update to {update.version} is not installed yet"
    if plan.boot_os != plan.target.coming_os:
        return f"OS version {plan.target.coming_os} was rolled back too often"
    return ""


def is_for(plan: Plan, seen: OsUpdate) -> bool:
    """Whether *plan* is for what update_engine says now: asked once more before the node may go down (I3, I4).

    One that forgot the version of what it has installed was believed on the record's word (N3).
    """
    if seen.unknown:
        return plan.target.next_os is not None and plan.target.os_update.names(seen)
    return seen.version == plan.target.next_os and (seen.pending or seen.version is None)


def withholding(snapshot: Snapshot) -> str:
    """Why the update operator, which asks for its check, has to wait, in one clause.

    Empty when it does not ask, or need not wait (A28).
    """
    return unprepared(snapshot) if snapshot.hook_asked else ""


def inhibition(snapshot: Snapshot) -> str:
    """Why a reboot must be held up, in one clause; empty when it need not be (N1).

    It is held from the moment a boot into another OS version is pending until that version's set is complete.
    """
    # Not heard for now, what update_engine said last still counts.
    update, plan = snapshot.os_update or snapshot.last_heard, snapshot.plan
    if update is None or not update.pending:
        return ""
    complete = (
        plan is not None
        and plan.resolved
        and snapshot.state in COMPLETE
        and not update.unknown
        and plan.target.next_os == update.version
    )
    if complete:
        return ""
    return f"the addons for OS version {update.version or '(not known)'} are not staged yet"
