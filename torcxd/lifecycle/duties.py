"""What is done next: the effects of a state that was entered, and of an event that left the machine where it was.

Of an event that left it there, no effects mean that what runs goes on.

Two duties are no effects, since they last: why reboots are held up and why the update operator has to wait follow from
the snapshot alone (:mod:`torcxd.lifecycle.preparedness`), and the shell keeps both in step with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torcxd.errors import EX_OK, EX_TEMPFAIL, Kind
from torcxd.lifecycle.effects import (
    Attend,
    Compare,
    Effect,
    End,
    Fetch,
    Gather,
    Place,
    Publish,
    Reboot,
    RetryAt,
    VerifyBoot,
)
from torcxd.lifecycle.events import (
    Compared,
    Event,
    Failed,
    HookAnswered,
    HookAsked,
    OsUpdateLost,
    OsUpdateSeen,
    Published,
    RetryDue,
)
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.guards import recorded_update
from torcxd.lifecycle.memory import changes_docker
from torcxd.lifecycle.policy import Policy
from torcxd.lifecycle.preparedness import COMPLETE, unprepared
from torcxd.lifecycle.snapshot import Snapshot

_BY_PLAN: Mapping[str, Callable[[Plan], Effect]] = {
    "fetch": Fetch,
    "compare": Compare,
    "publish": Publish,
}
# The effects that a chart may name; what each state's effect carries is decided in _effect.
EFFECTS = frozenset({"gather", "place", "reboot", *_BY_PLAN})


def on_entry(name: str, snapshot: Snapshot, policy: Policy) -> tuple[Effect, ...]:
    """The effects of the state that *snapshot* is in.

    :param name: the effect that the chart gives the state, one of :data:`EFFECTS`.
    """
    if not policy.attends:
        return (_effect(name, snapshot),)
    if not unprepared(snapshot):
        # Whichever is seen last, after a restart: the answer on the node, or that it holds.
        answered = snapshot.hook_asked and snapshot.hook_answered
        if policy.ends_when_prepared or (policy.ends_when_answered and answered):
            return (End(EX_OK),)
    return _attending(name, snapshot)


def on_stay(name: str, snapshot: Snapshot, event: Event, policy: Policy) -> tuple[Effect, ...]:
    """The effects of an *event* after which the machine is in the same state, and remembers *snapshot*.

    :param name: as of :func:`on_entry`.
    """
    failure = snapshot.failure
    match event:
        case Published() if policy.ends_when_published:
            return (End(EX_OK),)
        case Failed() if _is_final(event, snapshot, policy):
            return (End(event.exit_code, event.message, event.hint),)
        case Compared() if policy.ends_on_permanent and failure:
            return (End(EX_TEMPFAIL, failure.message, failure.hint),)
        case Failed() | Compared() if snapshot.next_try is not None:
            return (RetryAt(snapshot.next_try),)
        case Compared() if policy.attends and snapshot.plan is not None:
            # The profile is pinned already: a boot before the OS update is installed changes Docker, too.
            clean_docker = changes_docker(snapshot, snapshot.plan)
            return (Attend(snapshot.plan, answer=False, clean_docker=clean_docker),)
        case RetryDue():
            return on_entry(name, snapshot, policy)
        case HookAnswered() if policy.ends_when_answered:
            return (End(EX_OK),)
        case HookAsked(asked=True, answered=True) if not unprepared(snapshot):
            # The answer may be seen on the node before the effect that gave it has come to report it.
            return (End(EX_OK),) if policy.ends_when_answered else ()
        case OsUpdateSeen() | OsUpdateLost() | HookAsked() if snapshot.state in COMPLETE and snapshot.next_try is None:
            # What is served depends on them: whether to answer, and whether that is safe.
            return on_entry(name, snapshot, policy)
        case _:
            return ()


def at_work(snapshot: Snapshot) -> bool:
    """Whether there is something to do: gathering without word of update_engine only waits for it."""
    return snapshot.state != "gathering" or (snapshot.os_update is not None and not snapshot.os_update.unknown)


def waits_for(snapshot: Snapshot) -> str:
    """What a process that serves the update operator waits for in the state just entered; empty for nothing."""
    if not at_work(snapshot) and not snapshot.verify_boot:
        return "update_engine to tell which OS version boots next"
    if snapshot.state != "reboot-pending":
        return ""
    if snapshot.plan is not None and snapshot.plan.target.next_os is None:
        # A cluster that wants another Docker. Operators reboot for an OS update only.
        return "somebody to reboot the node: no OS update is pending for which the operator would"
    return "the update operator to reboot the node"


def _is_final(event: Failed, snapshot: Snapshot, policy: Policy) -> bool:
    if event.kind is Kind.CONFIGURATION:
        return True
    if event.kind is Kind.PERMANENT:
        return policy.ends_on_permanent
    allowed, failure = policy.retry_for, snapshot.failure
    return allowed is not None and failure is not None and event.at - failure.first_at >= allowed


def _attending(name: str, snapshot: Snapshot) -> tuple[Effect, ...]:
    """A state's effects in a process that serves the update operator."""
    plan = snapshot.plan
    if name == "gather" and not snapshot.verify_boot:
        # Without knowing what boots next there is nothing to do but to wait for the source that will tell.
        return (Gather(plan, snapshot.os_update),) if at_work(snapshot) else ()
    if name in ("reboot", "publish"):
        assert plan is not None
        answer = snapshot.hook_asked and not snapshot.hook_answered and not unprepared(snapshot)
        clean_docker = name == "reboot" and snapshot.reboot is not None and snapshot.reboot.clean_docker
        return (Attend(plan, answer, clean_docker),)
    return (_effect(name, snapshot),)


def _effect(name: str, snapshot: Snapshot) -> Effect:
    """A state's effect with what it needs to know."""
    plan = snapshot.plan
    if name == "gather":
        if snapshot.verify_boot:
            assert plan is not None
            return VerifyBoot(plan)
        return Gather(plan, known=recorded_update(snapshot))
    assert plan is not None, f"the state {snapshot.state} is entered with a plan only"
    if name == "reboot":
        note = snapshot.reboot
        assert note is not None
        return Reboot(plan, note.clean_docker, accepted=note.accepted_at is not None)
    if name == "place":
        return Place(plan, changes_docker(snapshot, plan))
    return _BY_PLAN[name](plan)
