"""What has to hold in each state that the model reaches, in terms of the world and not of the program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.world import KUBE, World, inspect
from torcxd.lifecycle.effects import Attend, Effect, End, Place, Publish, Reboot
from torcxd.lifecycle.events import BootVerified, Compared, Event, Gathered, OsUpdateSeen, Published
from torcxd.lifecycle.facts import OsUpdate, Plan
from torcxd.lifecycle.guards import MOST_BOOTS, recorded_update
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.policy import Policy
from torcxd.lifecycle.preparedness import unprepared
from torcxd.lifecycle.snapshot import Snapshot

_STATES_WITHOUT_PLAN = frozenset({"gathering"})


def world_violations(before: World, after: World, effect: Effect) -> Iterator[str]:
    """What carrying out *effect* did to the world that it must not do."""
    if isinstance(effect, Publish) and after.published and not before.published:
        running = inspect(after, effect.plan)
        if not running.matches(effect.plan):
            yield f"I1: published for {effect.plan.outcome} while {running} ran"
    if isinstance(effect, Reboot) and after.asked != before.asked and after.asked:
        if before.asked:
            yield "I7: a second reboot was asked for"
        yield from _next_boot("a reboot was asked for", after, effect.plan)
    if isinstance(effect, Attend) and after.answered and not before.answered:
        yield from _next_boot("the operator was answered", after, effect.plan)
    if isinstance(effect, Place) and effect.plan.target.current_os != before.os:
        yield f"I5: images are placed for OS {effect.plan.target.current_os}, which does not run"


def _next_boot(what: str, world: World, plan: Plan) -> Iterator[str]:
    """Whether the next boot's set is complete."""
    coming = world.coming
    if plan.target.coming_os != coming:
        yield f"I4: {what} for OS {plan.target.coming_os}, and {coming} comes"
    if not plan.resolved:
        yield f"I3: {what}, and the set is not known"
    if world.next_docker(coming) is None:
        yield f"I3: {what}, and no store has Docker {world.pin} for OS {coming}"
    if plan.docker not in (None, world.pin):
        yield f"I3: {what}, and Docker {world.pin} is pinned instead of {plan.docker}"
    if max(world.vain) >= MOST_BOOTS:
        yield f"I7: {what} after {MOST_BOOTS} boots in vain"


def boot_violation(before: World, after: World) -> str:
    """What the boot did to Docker's data that it must not do; empty for nothing.

    Data of unknown origin are left alone: those of a boot in which the process came to nothing.
    """
    if after.sealed is None or before.data is None or not before.witnessed:
        return ""
    cleaned = after.sealed in before.cleanup
    if before.data != after.sealed and not cleaned:
        return f"I6: Docker {after.sealed} runs on the data of {before.data}"
    if before.data == after.sealed and cleaned:
        return f"I6: the data of Docker {after.sealed} went away, which stays"
    return ""


def idle_violation(snapshot: Snapshot, work: tuple[Effect, ...] | None, policy: Policy) -> str:
    """What is wrong with what is remembered, or with a process that does nothing; empty for nothing."""
    if snapshot.state not in _STATES_WITHOUT_PLAN and snapshot.plan is None:
        return f"{snapshot.state} without a plan"
    if snapshot.verify_boot and (snapshot.plan is None or snapshot.state != "gathering"):
        return f"{snapshot.state} is to verify a boot"
    if snapshot.state == "reboot-pending" and snapshot.reboot is None:
        return "reboot-pending without a note"
    if snapshot.next_try is not None and snapshot.failure is None:
        return "a next try without a failure"
    if work is not None and not work:
        if not policy.attends:
            return f"{snapshot.state}: nothing runs, and the process goes on"
        if snapshot.state in ("gathering", "fetching", "verified") and not snapshot.waiting_for:
            return f"{snapshot.state}: nothing runs, and no reason is given"
    return ""


def end_violation(step: Step, event: Event) -> str:
    """What is wrong with entering a state, or with the end of the process; empty for nothing."""
    after = step.snapshot
    if step.move is not None and after.state == "done" and isinstance(event, Gathered | BootVerified | Compared):
        assert after.plan is not None
        if not event.running.applies(after.plan):
            return f"I1: done, while {event.running} runs instead of {after.plan.outcome}"
    ends_well = any(isinstance(each, End) and each.exit_code == 0 for each in step.effects)
    if ends_well and not isinstance(event, Published) and unprepared(after):
        return f"I3: the process ends well, and {unprepared(after)}"
    return ""


@dataclass(frozen=True, slots=True)
class Goal:
    """Where the process wants to get, or where only people can help and are told so, as far as it is up to the world.

    :param here: it is there, whatever the world.
    :param published: it is there once kubelet.env is.
    :param nameless: it is there while update_engine has forgotten what it has installed.
    :param known: the record, where it is not there if that names what was forgotten.
    :param plan: it is there once the cluster is at this plan's version, and the node has its set.
    :param given_up: the plan's set need not be there: its OS was rolled back too often.
    :param asks_once: the cluster need not be at its version: it was asked once.
    """

    here: bool = False
    published: bool = False
    nameless: bool = False
    known: OsUpdate | None = None
    plan: Plan | None = None
    given_up: bool = False
    asks_once: bool = False

    def met(self, world: World) -> bool:
        """Whether the process is there."""
        if self.here or (self.published and world.published):
            return True
        if self.nameless and world.engine == "forgot" and not _names(self.known, world.seen):
            return True
        plan = self.plan
        if plan is None or (plan.target.kube_version != KUBE[world.kube] and not self.asks_once):
            return False
        if self.given_up:
            return True
        prepared = inspect(world, plan).intact and plan.target.coming_os == world.coming
        return prepared and (not world.hook or world.answered)


def _names(recorded: OsUpdate | None, seen: OsUpdate) -> bool:
    """Whether the record tells the version of what was seen without one."""
    if recorded is None or recorded.version is None:
        return False
    if "" in (seen.installation, recorded.installation):
        return recorded.pending or not seen.installation
    return recorded.installation == seen.installation


def hearing_violation(before: Snapshot, event: Event, after: Snapshot) -> str:
    """What is wrong with what is made of a word of update_engine; empty for nothing."""
    if not isinstance(event, OsUpdateSeen):
        return ""
    seen, made = event.update, after.os_update
    if not seen.unknown:
        right = made == seen and (after.heard_os, after.heard_installation) == (seen.version or "", seen.installation)
        return "" if right else f"N3: {seen} was heard, and {made} is remembered"
    recorded = OsUpdate(before.heard_os or None, before.heard_pending, before.heard_installation)
    if before.heard_os is None:
        here = before.plan is not None and before.planned_in == before.boot_id
        recorded = before.plan.target.os_update if here and before.plan else OsUpdate(None, pending=False)
    version = recorded.version if _names(recorded, seen) else None
    if made is None or made.version != version or not made.pending:
        return f"N3: {seen} was heard with {recorded} on record, and {made} is made of it"
    return ""


def stuck(snapshot: Snapshot) -> bool:
    """Whether boots do not help any more, and people are told so."""
    return snapshot.failure is not None and "did not bring" in snapshot.failure.message


def goal(snapshot: Snapshot, finished: bool, policy: Policy) -> Goal:
    """What a process that remembers *snapshot* wants."""
    if stuck(snapshot):
        return Goal(here=True)
    if not policy.attends:
        # The process waits for the version of what is installed, and says so.
        return Goal(published=True, nameless=snapshot.state == "gathering", known=recorded_update(snapshot))
    if finished:
        return Goal(here=True)
    why = unprepared(snapshot)
    nameless = why.endswith("does not say which version")
    given_up = "rolled back too often" in why
    if snapshot.plan is None or snapshot.os_update is None or (why and not given_up):
        return Goal(nameless=nameless)
    # The hook is there for one answer: it asks the cluster once.
    return Goal(nameless=nameless, plan=snapshot.plan, given_up=given_up, asks_once=policy.ends_when_answered)
