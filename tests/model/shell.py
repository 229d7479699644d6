"""What the shell makes of each effect: everything that carrying it out can do to the world and report.

An effect may be cut off at any moment: by a crash, by power loss, or because another event replaced it. So each is
given as what it may leave behind without a word, and as what it reports in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final, NamedTuple

from tests.model.scopes import Scope
from tests.model.world import KUBE, NOTHING, World, inspect, manifests, target, update
from torcxd.errors import Kind
from torcxd.lifecycle import events
from torcxd.lifecycle.effects import (
    Attend,
    Compare,
    Effect,
    Fetch,
    Gather,
    Place,
    Publish,
    Reboot,
    RetryAt,
    VerifyBoot,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.plan import resolve
from torcxd.lifecycle.preparedness import is_for
from torcxd.lifecycle.snapshot import Snapshot

# The time at which everything happens, and one at which every patience is over.
NOW: Final = 1000.0
LATE: Final = 1_000_000.0


class Outcome(NamedTuple):
    """One thing that can happen to a running effect.

    :param label: for people.
    :param benign: whether it happens where nothing goes wrong.
    :param world: what it leaves behind.
    :param event: what it reports, None when it is cut off.
    :param ends: whether the effect has nothing left to do.
    """

    label: str
    benign: bool
    world: World
    event: events.Event | None
    ends: bool = True


@cache
def failed(kind: Kind, *, late: bool = False) -> events.Failed:
    exit_code = {Kind.TRANSIENT: 75, Kind.PERMANENT: 65, Kind.CONFIGURATION: 78}[kind]
    return events.Failed(LATE if late else NOW, "it failed", "", kind, exit_code, 0.5)


@cache
def gathered(found: Target, sealed: str | None, *, intact: bool, asked: bool) -> events.Gathered:
    return events.Gathered(NOW, found, Running(found.current_os, sealed, intact), asked)


@cache
def seen(coming: OsUpdate) -> events.OsUpdateSeen:
    return events.OsUpdateSeen(NOW, coming)


class AtWork(NamedTuple):
    """An effect that runs, with what it has come to meanwhile: all that its outcomes depend on besides the world.

    :param answered: whether it knows the update operator to be answered.
    """

    effect: Effect
    answered: bool = False


def at_work(effect: Effect, snapshot: Snapshot) -> AtWork:
    """*effect*, which runs while the core remembers *snapshot*: it goes on from what it has reported."""
    plan, reboot = snapshot.plan, snapshot.reboot
    match effect:
        case Fetch() if not effect.plan.resolved and plan is not None and plan.resolved:
            return AtWork(Fetch(plan))
        case Reboot() if reboot is not None and reboot.accepted_at is not None:
            return AtWork(replace(effect, accepted=True))
        case Attend():
            return AtWork(effect, snapshot.hook_answered)
    return AtWork(effect)


def outcomes(work: AtWork, world: World, scope: Scope) -> Iterator[Outcome]:
    """Everything that can happen to an effect that runs."""
    for outcome in _outcomes(work.effect, work.answered, world, scope):
        # From then on it is known whose data lie in /var/lib/docker.
        looked = hasattr(outcome.event, "running")
        yield outcome._replace(world=outcome.world._replace(witnessed=True)) if looked else outcome


def _outcomes(effect: Effect, answered: bool, world: World, scope: Scope) -> Iterator[Outcome]:
    match effect:
        case RetryAt():
            yield Outcome("the back-off is over", True, world, events.RetryDue(NOW))
            return
        case Gather():
            yield from _gather(effect, world, scope)
        case VerifyBoot(plan=plan):
            yield Outcome("the boot is verified", True, world, events.BootVerified(NOW, inspect(world, plan)))
        case Fetch():
            yield from _fetch(effect, world)
        case Place():
            yield from _place(effect, world)
        case Compare(plan=plan):
            yield Outcome("compared", True, world, events.Compared(NOW, inspect(world, plan)))
        case Reboot():
            yield from _reboot(effect, world)
        case Publish():
            yield from _publish(effect, world)
        case Attend():
            yield from _attend(effect, answered, world)
        case _:
            raise AssertionError(effect)
    for kind in Kind:
        yield Outcome(f"{kind.value} failure", False, world, failed(kind))
    if scope.policy.retry_for is not None:
        yield Outcome("late failure", False, world, failed(Kind.TRANSIENT, late=True))


def _gather(effect: Gather, world: World, scope: Scope) -> Iterator[Outcome]:
    def report(coming: OsUpdate, kube: str, after: World) -> Outcome:
        found = target(after.os, coming, kube, scope.stage)
        same = effect.recorded is not None and effect.recorded.target.same_as(found)
        intact = inspect(after, effect.recorded if same else None).intact
        event = gathered(found, after.sealed, intact=intact, asked=effect.os_update is None)
        truth = kube == KUBE[after.kube]
        return Outcome(f"gathered: {coming.version}, {kube}", truth, after, event)

    yield Outcome("waits for a reason", False, world, events.Waiting(NOW, "the cluster"), ends=False)
    for kube in scope.kube_versions:
        if effect.os_update is not None:
            yield report(effect.os_update, kube, world)
            continue
        if world.engine == "forgot":
            # It is waited for until the time is over, unless the record knows.
            if effect.known is not None and effect.known.names(world.seen):
                yield report(replace(world.seen, version=effect.known.version), kube, world)
            continue
        # It drives update_engine: what that works on is installed in the end, or there was nothing.
        for version in scope.newer(world.os) if world.newer is None else (world.newer,):
            installed = world._replace(engine="installed", newer=version)
            yield report(installed.seen, kube, installed)
        if world.engine in ("idle", "coming"):
            yield report(update(None, pending=True), kube, world._replace(engine="idle", newer=None))


def _fetch(effect: Fetch, world: World) -> Iterator[Outcome]:
    plan = effect.plan
    if not plan.resolved:
        yield Outcome("resolved", True, world, resolved(plan), ends=False)
        return
    missing = {
        (each.os_version, each.reference)
        for each in plan.images
        if not each.vendor_path and (each.os_version, each.reference) not in world.stored
    }
    after = world._replace(staged=world.staged | missing)
    yield Outcome("fetched, unsaid", False, after, None)
    yield Outcome("fetched", True, after, events.Fetched(NOW))


@cache
def resolved(plan: Plan) -> events.Resolved:
    return events.Resolved(NOW, resolve(plan, manifests()))


def _place(effect: Place, world: World) -> Iterator[Outcome]:
    plan = effect.plan
    needed = {(each.os_version, each.reference) for each in plan.images if not each.vendor_path}
    if not needed <= world.stored | world.staged:
        yield Outcome("staging is lost", True, world, events.StagingLost(NOW))
        return
    after = world._replace(stored=world.stored | needed)
    yield Outcome("placed, unsaid", False, after, None)
    if plan.docker is not None:
        if effect.clean_docker:
            after = after._replace(cleanup=after.cleanup | {plan.docker})
            yield Outcome("clean-up scheduled, unsaid", False, after, None)
        after = after._replace(pin=plan.docker)
        yield Outcome("pinned, unsaid", False, after, None)
        target_ = plan.target
        kept = {each for each in after.stored if each[0] >= target_.current_os or each[0] == target_.coming_os}
        after = after._replace(stored=frozenset(kept))
        yield Outcome("cleaned up, unsaid", False, after, None)
    after = after._replace(staged=frozenset())
    yield Outcome("placed", True, after, events.Placed(NOW))


def _reboot(effect: Reboot, world: World) -> Iterator[Outcome]:
    if effect.accepted:
        yield Outcome("waits for the reboot", False, world, events.Waiting(NOW, "the reboot"), ends=False)
        lost = world._replace(asked=frozenset(), expected=None)
        yield Outcome("the reboot is lost", False, lost, failed(Kind.TRANSIENT))
        return
    plan = effect.plan
    if not world.asked:
        # It is looked once more: what was compared may have become wrong since.
        coming = world.seen if world.seen.pending else NOTHING
        if not is_for(plan, coming):
            yield Outcome("update_engine says otherwise", True, world, seen(coming))
            return
        if not inspect(world, plan).intact:
            yield Outcome("the set is damaged", True, world, events.Drifted(NOW, inspect(world, plan)))
            return
    after = world
    if not world.asked:
        if effect.clean_docker and plan.docker is not None:
            after = after._replace(cleanup=after.cleanup | {plan.docker})
        after = after.expecting(plan)._replace(asked=after.asked | {plan.key})
        yield Outcome("a reboot is asked for, unsaid", False, after, None)
        yield Outcome("a reboot is asked for, and the answer lost", False, after, failed(Kind.TRANSIENT))
    yield Outcome("a reboot is asked for", True, after, events.RebootRequested(NOW, "login1"), ends=False)


def _publish(effect: Publish, world: World) -> Iterator[Outcome]:
    running = inspect(world, effect.plan)
    if not running.matches(effect.plan):
        yield Outcome("drifted", True, world, events.Drifted(NOW, running))
        return
    after = world._replace(published=True)
    yield Outcome("published, unsaid", False, after, None)
    yield Outcome("published", True, after, events.Published(NOW))


def _attend(effect: Attend, answered: bool, world: World) -> Iterator[Outcome]:
    plan = effect.plan
    if effect.clean_docker and plan.docker is not None:
        world = world._replace(cleanup=world.cleanup | {plan.docker})
    if effect.answer and not is_for(plan, world.seen):
        yield Outcome("update_engine says otherwise", True, world, seen(world.seen))
        return
    running = inspect(world, plan)
    if not running.intact:
        yield Outcome("drifted", True, world, events.Drifted(NOW, running))
        return
    if effect.answer and world.hook and not answered:
        after = world.expecting(plan)._replace(answered=True)
        yield Outcome("answered, unsaid", False, after, None)
        yield Outcome("answered", True, after, events.HookAnswered(NOW), ends=False)
        return
    yield Outcome("attended", True, world, events.Attended(NOW))
