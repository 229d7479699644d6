"""The conditions that the chart names: pure functions of what is remembered and what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from torcxd.errors import TorcxdError
from torcxd.lifecycle.events import BootVerified, ClusterChanged, Compared, Event, Gathered, OsUpdateSeen
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.plan import has_addons
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.lifecycle.versions import KubeVersion

# Three boots: one may be lost to a power cut, a second to update_engine's own fallback before the boot was marked
# good; a third failure is no accident any more.
MOST_BOOTS: Final = 3

Guard = Callable[[Snapshot, Event], bool]


def os_key(os_version: str) -> str:
    """Under which boots that did not bring an OS version are counted."""
    return f"os {os_version}"


def docker_key(os_version: str, docker: str | None) -> str:
    """Under which boots that brought the OS version but not its Docker are counted."""
    return f"docker {docker} on {os_version}"


def runs_the_recorded_set(snapshot: Snapshot, event: Event) -> bool:
    """The recorded, resolved plan is for this target, its set is on disk, and it is what runs."""
    plan = snapshot.plan
    if plan is None or not plan.resolved or not isinstance(event, Gathered | BootVerified):
        return False
    if isinstance(event, Gathered) and not plan.target.same_as(event.target):
        return False
    return event.running.matches(plan)


def nothing_to_stage(_: Snapshot, event: Event) -> bool:
    """Addons are not wanted, or the coming OS version has none to fetch (A5, A36)."""
    return isinstance(event, Gathered) and not (event.target.stage and has_addons(event.target.coming_os))


def boot_needed(snapshot: Snapshot, event: Event) -> bool:
    """Only another OS or another Docker version needs a boot (A3)."""
    return isinstance(event, Compared) and snapshot.plan is not None and not event.running.applies(snapshot.plan)


def boots_exhausted(snapshot: Snapshot, event: Event) -> bool:
    """So many boots did not bring this that another one would be a reboot loop (I7)."""
    plan = snapshot.plan
    if plan is None:
        return False
    counts = (snapshot.boots.get(key, 0) for key in (os_key(plan.boot_os), docker_key(plan.boot_os, plan.docker)))
    return max(counts) >= MOST_BOOTS


def awaits_boot(snapshot: Snapshot, event: Event) -> bool:
    """A boot was needed for a set that is complete: what came up is to be compared with it."""
    return snapshot.plan is not None and (snapshot.state == "reboot-pending" or snapshot.verify_boot)


def update_unfinished(snapshot: Snapshot, event: Event) -> bool:
    """The set was staged ahead of an OS update that is not installed yet: there is nothing to boot into."""
    return isinstance(event, Compared) and snapshot.plan is not None and not snapshot.plan.target.next_pending


def other_os_update(snapshot: Snapshot, event: Event) -> bool:
    """Another OS version is coming than the one that is worked on, or none any more (N8)."""
    if not isinstance(event, OsUpdateSeen):
        return False
    seen = known_update(snapshot, event.update)
    if snapshot.state == "gathering":
        # The plan is the one before: what is gathered rests on the word that was heard last, if there was one.
        known = snapshot.os_update
        return known is None or known.unknown or seen.version != known.version
    return snapshot.plan is None or seen.unknown or seen.version != snapshot.plan.target.next_os


def other_os_update_known(snapshot: Snapshot, event: Event) -> bool:
    """What was seen of update_engine meanwhile is not what the plan is for: what was verified is not the last word."""
    update = snapshot.os_update
    if update is None or snapshot.plan is None:
        return False
    return update.unknown or update.version != snapshot.plan.target.next_os


def other_cluster(snapshot: Snapshot, event: Event) -> bool:
    """The cluster moved to another version than the plan is for, or its mappings changed."""
    if not isinstance(event, ClusterChanged) or snapshot.plan is None:
        return False
    target = snapshot.plan.target
    if event.kube_version is not None:
        return event.kube_version != target.kube_version
    try:
        preferences = event.mappings.docker_for(KubeVersion.parse(target.kube_version)) if event.mappings else None
    except (TorcxdError, ValueError):
        # Mappings that do not cover the version: gathering says so, with what to do.
        return True
    return preferences != target.docker_preferences


def recorded_update(snapshot: Snapshot) -> OsUpdate | None:
    """The OS update on record, for an update_engine that has forgotten the version of its own (N3); None for none."""
    recorded = snapshot.last_heard
    return recorded if recorded is not None and recorded.version is not None else None


def known_update(snapshot: Snapshot, seen: OsUpdate) -> OsUpdate:
    """What was seen, with the version from the record where update_engine has forgotten it.

    Not where the record is of another installation: that one was reset, and another installed, while nobody listened.
    """
    recorded = recorded_update(snapshot) if seen.unknown else None
    if recorded is None or not recorded.names(seen):
        return seen
    return replace(seen, version=recorded.version, installation=seen.installation or recorded.installation)


GUARDS: Mapping[str, Guard] = {
    each.__name__: each
    for each in (
        runs_the_recorded_set,
        nothing_to_stage,
        boot_needed,
        boots_exhausted,
        awaits_boot,
        update_unfinished,
        other_os_update,
        other_os_update_known,
        other_cluster,
    )
}
