"""The automaton: one event in, the next snapshot and the effects to run out.

Theory of operation. The chart (``states/``) says which state follows; it is run by a ``transitions`` machine whose
callbacks only answer guards. What is remembered besides the state is computed here, by one function an event. Both are
pure: the same snapshot and event give the same step, so the core can be explored exhaustively and simulated.

What keeps this file honest: nothing here may import trio, open a file or read a clock; a new event gets a row in the
chart, a branch in ``_remember`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from transitions import EventData, Machine, MachineError

from torcxd.errors import EX_OK, EX_TEMPFAIL, Kind
from torcxd.lifecycle import retry
from torcxd.lifecycle.chart import Chart, Transition
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
    Withhold,
)
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
    Started,
    Waiting,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.guards import (
    GUARDS,
    MOST_BOOTS,
    docker_key,
    known_next_os,
    known_update,
    nothing_to_stage,
    os_key,
)
from torcxd.lifecycle.preparedness import COMPLETE, unprepared
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot

_BY_PLAN: Mapping[str, Callable[[Plan], Effect]] = {
    "fetch": Fetch,
    "place": Place,
    "compare": Compare,
    "publish": Publish,
}
# The effects that a chart may name; what each state's effect carries is decided in _effect.
EFFECTS = frozenset({"gather", "reboot", *_BY_PLAN})


class IllegalEvent(Exception):
    """The chart has no row for this event in this state: a defect of the program, not of its input."""


@dataclass(frozen=True, slots=True)
class Policy:
    """In what the commands differ.

    :param ends_when_published: the process has nothing left to do once kubelet.env is published (bootstrap).
    :param ends_on_permanent: a permanent failure ends the process, so that its unit shows it as failed (bootstrap).
    :param attends: the process stays and serves the update operator: it watches update_engine instead of driving it,
        and never asks for a reboot itself (daemon, hook).
    :param ends_when_answered: the process has nothing left to do once the operator is answered (hook).
    :param ends_when_prepared: nor once the node is prepared, since nobody is to be told (hook without annotation).
    :param retry_for: seconds for which a state's transient failures are retried before the process ends and leaves
        the retrying to its unit; None retries for ever (daemon).
    """

    ends_when_published: bool
    ends_on_permanent: bool
    retry_for: float | None
    attends: bool = False
    ends_when_answered: bool = False
    ends_when_prepared: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """A transition that was taken: what the journal and the history tell."""

    source: str
    dest: str
    trigger: str
    because: str


@dataclass(frozen=True, slots=True)
class Step:
    """The answer to an event.

    :param move: the transition, None when the machine stayed where it was.
    :param effects: what to run now, in place of what runs; empty leaves that alone.
    """

    snapshot: Snapshot
    move: Move | None
    effects: tuple[Effect, ...]


class _Model:
    """What ``transitions`` moves. It holds the step's input while guards are asked."""

    state: str
    snapshot: Snapshot
    event: Event
    row: Transition | None
    trigger: Any


class Lifecycle:
    """The core for one chart and policy. It has no state of its own between steps.

    :param chart: a validated chart.
    """

    def __init__(self, chart: Chart, policy: Policy) -> None:
        self.chart = chart
        self.policy = policy
        self._model = _Model()
        self._machine = Machine(
            self._model,
            states=[each.name for each in chart.states],
            initial=chart.initial,
            queued=True,
            send_event=True,
            auto_transitions=False,
        )
        for row in chart.transitions():
            self._machine.add_transition(
                row.trigger,
                row.source,
                row.dest,
                conditions=[_condition(name) for name in row.guards],
                before=_note(row),
            )

    def start(self, snapshot: Snapshot | None, event: Started) -> Step:
        """Begin, or resume where *snapshot* left off.

        In the same boot the recorded state's effect simply runs again, since effects are idempotent; another boot is
        an event of the chart.
        """
        if snapshot is None:
            fresh = Snapshot(self.chart.initial, event.at, event.boot_id)
            return Step(fresh, None, self._effects(fresh))
        if snapshot.boot_id != event.boot_id:
            return self.step(snapshot, Booted(event.at, event.boot_id))
        # What the sources saw is as old as the process that saw it.
        resumed = replace(snapshot, next_try=None, os_update=None, hook_asked=False, hook_answered=False)
        if resumed.failure is not None:
            resumed = replace(resumed, failure=replace(resumed.failure, final=False))
        return Step(resumed, None, self._effects(resumed))

    def step(self, snapshot: Snapshot, event: Event) -> Step:
        """Handle one event.

        :raises IllegalEvent: when the chart has no row for it in the present state.
        """
        model = self._model
        model.snapshot, model.event, model.row = snapshot, event, None
        self._machine.set_state(snapshot.state)
        try:
            model.trigger(event.trigger)
        except (MachineError, AttributeError) as error:
            raise IllegalEvent(f"{event.trigger} in {snapshot.state}: {error}") from error
        row = self._taken()
        if row is None:
            raise IllegalEvent(f"{event.trigger} in {snapshot.state}: no guard holds")
        remembered = self._remember(snapshot, event)
        if row.dest is None:
            effects = self._stay(remembered, event)
            if remembered.failure is not None and any(isinstance(each, End) for each in effects):
                given_up = replace(remembered.failure, final=True)
                remembered = replace(remembered, failure=given_up, next_try=None)
            return Step(remembered, None, effects)
        move = Move(snapshot.state, row.dest, event.trigger, row.because)
        entered = _enter(remembered, row.dest, event)
        if self.policy.attends:
            entered = replace(entered, waiting_for=_attends_for(entered))
        return Step(entered, move, self._effects(entered))

    def _taken(self) -> Transition | None:
        """The row that the machine just took; it was noted by a callback, behind the type checker's back."""
        return self._model.row

    # What is remembered of an event, whatever the state.

    def _remember(self, snapshot: Snapshot, event: Event) -> Snapshot:
        if isinstance(event, Gathered | BootVerified | Compared | Drifted) and event.running.docker is not None:
            snapshot = replace(snapshot, docker_seen=event.running.docker)
        match event:
            case Booted(boot_id=boot_id):
                awaits = GUARDS["awaits_boot"](snapshot, event)
                unheard = replace(snapshot, os_update=None, hook_asked=False, hook_answered=False)
                return replace(unheard, boot_id=boot_id, verify_boot=awaits)
            case Gathered(target=target):
                return replace(snapshot, plan=self._plan(snapshot, target, event), planned_in=snapshot.boot_id)
            case BootVerified(running=running):
                return _remember_boot(snapshot, running)
            case Resolved(plan=plan):
                return replace(snapshot, plan=plan, waiting_for="", waiting_until=None)
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

    def _plan(self, snapshot: Snapshot, target: Target, event: Gathered) -> Plan:
        rolled_back = snapshot.boots.get(os_key(target.coming_os), 0) >= MOST_BOOTS
        boot_os = target.current_os if rolled_back else target.coming_os
        recorded = snapshot.plan
        if recorded is not None and recorded.target.same_as(target):
            return replace(recorded, target=target, boot_os=boot_os)
        return Plan(target, boot_os, resolved=nothing_to_stage(snapshot, event))

    # What runs next.

    def _effects(self, snapshot: Snapshot) -> tuple[Effect, ...]:
        name = self.chart.state(snapshot.state).effect
        if self.policy.attends:
            if self.policy.ends_when_prepared and not unprepared(snapshot):
                return (End(EX_OK),)
            return _attending_effects(name, snapshot)
        return (_effect(name, snapshot),)

    def _stay(self, snapshot: Snapshot, event: Event) -> tuple[Effect, ...]:
        failure = snapshot.failure
        match event:
            case Published() if self.policy.ends_when_published:
                return (End(EX_OK),)
            case Failed() if self._is_final(event, failure):
                return (End(event.exit_code, event.message, event.hint),)
            case Compared() if self.policy.ends_on_permanent and failure:
                return (End(EX_TEMPFAIL, failure.message, failure.hint),)
            case Failed() | Compared() if snapshot.next_try is not None:
                return (RetryAt(snapshot.next_try), *_withheld(snapshot))
            case Compared() if self.policy.attends and snapshot.plan is not None:
                # The profile is pinned already: a boot before the OS update is installed changes Docker, too.
                clean_docker = _changes_docker(snapshot, snapshot.plan)
                return (Attend(snapshot.plan, answer=False, clean_docker=clean_docker), *_withheld(snapshot))
            case RetryDue():
                return self._effects(snapshot)
            case HookAnswered() if self.policy.ends_when_answered:
                return (End(EX_OK),)
            case HookAsked(asked=True, answered=True) if not unprepared(snapshot):
                # The answer may be seen on the node before the effect that gave it has come to report it.
                return (End(EX_OK),) if self.policy.ends_when_answered else ()
            case OsUpdateSeen() | OsUpdateLost() | HookAsked() if snapshot.next_try is not None:
                return (RetryAt(snapshot.next_try), *_withheld(snapshot))
            case OsUpdateSeen() if snapshot.state in COMPLETE:
                return self._effects(snapshot)
            case HookAsked() | OsUpdateLost() if snapshot.state in COMPLETE or not _effects_run(snapshot):
                return self._effects(snapshot)
            case _:
                return ()

    def _is_final(self, event: Failed, failure: Failure | None) -> bool:
        if event.kind is Kind.CONFIGURATION:
            return True
        if event.kind is Kind.PERMANENT:
            return self.policy.ends_on_permanent
        allowed = self.policy.retry_for
        return allowed is not None and failure is not None and event.at - failure.first_at >= allowed


def _effects_run(snapshot: Snapshot) -> bool:
    """Whether a state's effect is at work that must not be started over. Gathering without facts only waits."""
    return snapshot.state != "gathering" or (snapshot.os_update is not None and not snapshot.os_update.unknown)


def _attends_for(snapshot: Snapshot) -> str:
    """What a process that serves the update operator waits for in the state just entered."""
    if not _effects_run(snapshot) and not snapshot.verify_boot:
        return "update_engine to tell which OS version boots next"
    return "the update operator to reboot the node" if snapshot.state == "reboot-pending" else ""


def _withheld(snapshot: Snapshot) -> tuple[Effect, ...]:
    """Tell the operator why it has to wait, if it does."""
    reason = unprepared(snapshot)
    return (Withhold(reason),) if snapshot.hook_asked and reason else ()


def _attending_effects(name: str, snapshot: Snapshot) -> tuple[Effect, ...]:
    """A state's effects in a process that serves the update operator."""
    plan = snapshot.plan
    if name == "gather" and not snapshot.verify_boot:
        if not _effects_run(snapshot):
            # Without knowing what boots next there is nothing to do but to wait for the source that will tell.
            return _withheld(snapshot)
        return (Gather(plan, snapshot.os_update), *_withheld(snapshot))
    if name in ("reboot", "publish"):
        assert plan is not None
        reason = unprepared(snapshot)
        answer = snapshot.hook_asked and not snapshot.hook_answered and not reason
        clean_docker = name == "reboot" and snapshot.reboot is not None and snapshot.reboot.clean_docker
        return (Attend(plan, answer, clean_docker), *_withheld(snapshot))
    return (_effect(name, snapshot), *_withheld(snapshot))


def _condition(name: str) -> Any:
    guard = GUARDS[name]

    def ask(data: EventData) -> bool:
        model = cast("_Model", data.model)
        return guard(model.snapshot, model.event)

    return ask


def _note(row: Transition) -> Any:
    def note(data: EventData) -> None:
        cast("_Model", data.model).row = row

    return note


def _enter(snapshot: Snapshot, state: str, event: Event) -> Snapshot:
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


def _remember_os_update(snapshot: Snapshot, seen: OsUpdate) -> Snapshot:
    update = known_update(snapshot, seen)
    plan = snapshot.plan
    if plan is not None and update.version is not None and plan.target.next_os == update.version:
        plan = replace(plan, target=replace(plan.target, next_pending=update.pending))
    return replace(snapshot, os_update=update, plan=plan)


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
    if GUARDS["boots_exhausted"](snapshot, event):
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
        clean_docker=_changes_docker(snapshot, plan),
        accepted_at=asked.accepted_at if asked and same else None,
    )
    return replace(snapshot, reboot=note)


def _changes_docker(snapshot: Snapshot, plan: Plan) -> bool:
    """Whether the next boot brings another Docker, which has no use for the data of the one before.

    Where no Docker was ever seen, none can change, and data of unknown origin are left alone (I6).
    """
    return plan.docker is not None and snapshot.docker_seen not in (None, plan.docker)


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
        next_try=event.at + retry.delay(attempts, event.jitter),
        waiting_for="",
        waiting_until=None,
        reboot=reboot,
    )


def _effect(name: str, snapshot: Snapshot) -> Effect:
    """A state's effect with what it needs to know."""
    plan = snapshot.plan
    if name == "gather":
        if snapshot.verify_boot:
            assert plan is not None
            return VerifyBoot(plan)
        return Gather(plan, known_next_os=known_next_os(snapshot))
    assert plan is not None, f"the state {snapshot.state} is entered with a plan only"
    if name == "reboot":
        note = snapshot.reboot
        assert note is not None
        return Reboot(plan, note.clean_docker, accepted=note.accepted_at is not None)
    return _BY_PLAN[name](plan)
