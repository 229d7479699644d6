"""What is remembered of an event: one branch an event, pure functions of the snapshot before.

Which state follows is the chart's to say, and what is done next is decided in :mod:`torcxd.lifecycle.duties`.
"""

from __future__ import annotations

from dataclasses import replace

from torcxd.errors import EX_TEMPFAIL, Kind
from torcxd.lifecycle import retry
from torcxd.lifecycle.events import (
    Attended,
    Booted,
    BootVerified,
    Compared,
    Drifted,
    Event,
    Failed,
    Gathered,
    HookAnswered,
    HookAsked,
    OsUpdateLost,
    OsUpdateSeen,
    Published,
    RebootRequested,
    Resolved,
    RetryDue,
    Waiting,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.guards import (
    MOST_BOOTS,
    awaits_boot,
    boots_exhausted,
    docker_key,
    known_update,
    nothing_to_stage,
    os_key,
)
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot


def resumed(snapshot: Snapshot) -> Snapshot:
    """What a process that begins in the boot of the record takes over of it.

    What the sources saw is as old as the process that saw it. What failed and ended that process is tried anew, with
    all the patience that there is: else each process of a long outage would end at its first failure, with no back-off.
    """
    resumed = _unheard(replace(snapshot, next_try=None))
    if resumed.failure is not None and resumed.failure.final:
        resumed = replace(resumed, failure=None)
    return resumed


def remember(snapshot: Snapshot, event: Event) -> Snapshot:
    """What is known after *event*, whatever the state; that a state is entered is told to :func:`entered`."""
    if isinstance(event, Gathered | BootVerified | Compared | Drifted) and event.running.docker is not None:
        snapshot = replace(snapshot, docker_seen=event.running.docker)
    match event:
        case Booted(boot_id=boot_id):
            awaits = awaits_boot(snapshot, event)
            fresh = _without_update(_unheard(snapshot))
            return replace(fresh, boot_id=boot_id, verify_boot=awaits)
        case Gathered(target=target, asked=asked):
            if asked:
                # The target is the newer word.
                snapshot = _without_update(snapshot)
            plan = _as_heard(snapshot, _planned(snapshot, target, event))
            return replace(snapshot, plan=plan, planned_in=snapshot.boot_id)
        case BootVerified(running=running):
            return _remember_boot(snapshot, running)
        case Resolved(plan=plan):
            return replace(snapshot, plan=_as_heard(snapshot, plan), waiting_for="", waiting_until=None)
        case Compared(running=running):
            return _remember_comparison(snapshot, running, event)
        case OsUpdateSeen(update=update):
            return _remember_os_update(snapshot, update)
        case OsUpdateLost():
            return replace(snapshot, os_update=None)
        case HookAsked(asked=asked, answered=answered):
            at = event.at if answered and not snapshot.hook_answered else snapshot.hook_answered_at
            return replace(snapshot, hook_asked=asked, hook_answered=answered, hook_answered_at=at)
        case HookAnswered():
            return replace(snapshot, hook_answered=True, hook_answered_at=event.at)
        case Attended():
            return replace(snapshot, failure=None)
        case RebootRequested():
            assert snapshot.reboot is not None
            return replace(snapshot, reboot=replace(snapshot.reboot, accepted_at=event.at), failure=None)
        case Published():
            return replace(snapshot, published_at=event.at, failure=None, waiting_for="", waiting_until=None)
        case Failed():
            return _remember_failure(snapshot, event)
        case RetryDue():
            return replace(snapshot, next_try=None)
        case Waiting(reason=reason, until=until):
            return replace(snapshot, waiting_for=reason, waiting_until=until)
        case _:
            return snapshot


def entered(snapshot: Snapshot, state: str, event: Event) -> Snapshot:
    """A new state begins without its predecessor's errors and reasons to wait."""
    return replace(
        snapshot,
        state=state,
        since=event.at,
        failure=None,
        next_try=None,
        waiting_for="",
        waiting_until=None,
        transitions=snapshot.transitions + 1,
    )


def given_up(snapshot: Snapshot) -> Snapshot:
    """The process ends over the state's failure: nothing is tried again before something starts it anew."""
    if snapshot.failure is None:
        return snapshot
    return replace(snapshot, failure=replace(snapshot.failure, final=True), next_try=None)


def changes_docker(snapshot: Snapshot, plan: Plan) -> bool:
    """Whether the next boot brings another Docker, which has no use for the data of the one before.

    Where no Docker was ever seen, none can change, and data of unknown origin are left alone (I6).
    """
    return plan.docker is not None and snapshot.docker_seen not in (None, plan.docker)


def _unheard(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, os_update=None, hook_asked=False, hook_answered=False)


def _without_update(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, os_update=None, heard_os=None, heard_pending=False, heard_installation="")


def _planned(snapshot: Snapshot, target: Target, event: Gathered) -> Plan:
    rolled_back = snapshot.boots.get(os_key(target.coming_os), 0) >= MOST_BOOTS
    boot_os = target.current_os if rolled_back else target.coming_os
    recorded = snapshot.plan
    if recorded is not None and recorded.target.same_as(target):
        return replace(recorded, target=target, boot_os=boot_os)
    return Plan(target, boot_os, resolved=nothing_to_stage(snapshot, event))


def _remember_os_update(snapshot: Snapshot, seen: OsUpdate) -> Snapshot:
    # One that the record does not name ends the record: what was heard before is not what is coming.
    update = known_update(snapshot, seen)
    remembered = replace(
        snapshot,
        os_update=update,
        heard_os=update.version or "",
        heard_pending=update.pending,
        heard_installation=update.installation,
    )
    return replace(remembered, plan=_as_heard(remembered, snapshot.plan)) if snapshot.plan is not None else remembered


def _as_heard(snapshot: Snapshot, plan: Plan) -> Plan:
    """A plan with what update_engine said last of its OS update.

    The effect that made the plan may be older than that word, which is not repeated.
    """
    update = snapshot.os_update
    if update is None or update.version is None or plan.target.next_os != update.version:
        return plan
    return replace(plan, target=replace(plan.target, next_pending=update.pending, installation=update.installation))


def _remember_boot(snapshot: Snapshot, running: Running) -> Snapshot:
    plan = snapshot.plan
    assert plan is not None
    boots = dict(snapshot.boots)
    if running.matches(plan):
        for key in (os_key(plan.boot_os), docker_key(plan.boot_os, plan.docker)):
            boots.pop(key, None)
    elif running.os_version != plan.boot_os:
        key = os_key(plan.boot_os)
        boots[key] = boots.get(key, 0) + 1
    elif running.lacks_docker(plan):
        key = docker_key(plan.boot_os, plan.docker)
        boots[key] = boots.get(key, 0) + 1
    return replace(snapshot, boots=boots, verify_boot=False, reboot=None)


def _remember_comparison(snapshot: Snapshot, running: Running, event: Compared) -> Snapshot:
    plan = snapshot.plan
    assert plan is not None
    if running.applies(plan):
        return replace(snapshot, reboot=None)
    if not plan.target.next_pending:
        return replace(snapshot, reboot=None, waiting_for=f"the OS update to {plan.target.next_os} to be installed")
    if boots_exhausted(snapshot, event):
        why = running.detail or f"the node runs OS {running.os_version}, Docker {running.docker or '(none)'}"
        stuck = Failed(
            event.at,
            message=f"{MOST_BOOTS} boots did not bring {plan.outcome}; {why}",
            hint="see the journal of torcx-generator and docs/operations.md, 'a boot did not bring the set'",
            kind=Kind.PERMANENT,
            exit_code=EX_TEMPFAIL,
            jitter=0.5,
        )
        return _remember_failure(snapshot, stuck)
    asked = snapshot.reboot
    same = asked is not None and (asked.boot_id, asked.target) == (snapshot.boot_id, plan.key)
    note = RebootNote(
        snapshot.boot_id,
        plan.key,
        clean_docker=changes_docker(snapshot, plan),
        accepted_at=asked.accepted_at if asked and same else None,
    )
    return replace(snapshot, reboot=note)


def _remember_failure(snapshot: Snapshot, event: Failed) -> Snapshot:
    previous = snapshot.failure
    attempts = previous.attempts + 1 if previous else 1
    failure = Failure(
        event.message,
        event.hint,
        event.kind.value,
        first_at=previous.first_at if previous else event.at,
        last_at=event.at,
        attempts=attempts,
    )
    # A reboot that was accepted and did not come was lost: the next attempt asks again.
    reboot = replace(snapshot.reboot, accepted_at=None) if snapshot.reboot else None
    return replace(
        snapshot,
        failure=failure,
        next_try=event.at + retry.delay(attempts, event.jitter, event.retry_after),
        waiting_for="",
        waiting_until=None,
        reboot=reboot,
    )
