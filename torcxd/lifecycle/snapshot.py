"""What the process must remember to resume where it was: the content of the state file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torcxd.lifecycle.facts import OsUpdate, Plan, Target


@dataclass(frozen=True, slots=True)
class Failure:
    """The last error of the present state.

    :param first_at, last_at: when this state failed first and last, seconds since the epoch.
    :param attempts: how often it failed in a row.
    :param final: the process ended over it: nothing is tried again before something starts it anew.
    """

    message: str
    hint: str
    kind: str
    first_at: float
    last_at: float
    attempts: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class RebootNote:
    """The reboot that is pending.

    :param boot_id, target: the boot in which it is asked for, and :attr:`Plan.key`: at most one request each (I7).
    :param clean_docker: whether Docker's data directory is cleaned on the way.
    :param accepted_at: when the system accepted the request, None before.
    """

    boot_id: str
    target: str
    clean_docker: bool
    accepted_at: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The lifecycle at one moment.

    :param since: when ``state`` was entered, seconds since the epoch.
    :param plan: the plan in progress, or the one that was carried out.
    :param planned_in: the boot in which its target was gathered, empty while there is none.
    :param verify_boot: the boot is still to be compared with ``plan``.
    :param next_try: when the failed effect runs again.
    :param waiting_for, waiting_until: what the effect waits for, for people.
    :param boots: how many boots did not bring what they were for, by :attr:`Plan.key`.
    :param docker_seen: the Docker reference that was seen applied last: the one whose data lie in /var/lib/docker.
    :param os_update: what update_engine does, as seen by this process; None until its source has reported.
    :param heard_os: the coming OS version that update_engine named last in this boot, empty when it said that none is
        coming, or none that anybody knows; None until a source of this boot has reported.
    :param heard_pending: whether it said last in this boot that an update is installed, of whatever version.
    :param heard_installation: :attr:`OsUpdate.installation` of the update that was heard of last.
    :param hook_asked: the update operator asks for its pre-reboot check.
    :param hook_answered: the success annotation is on the node.
    :param hook_answered_at: when it was answered last.
    :param transitions: how many there were since the state was first recorded.
    """

    state: str
    since: float
    boot_id: str
    plan: Plan | None = None
    verify_boot: bool = False
    failure: Failure | None = None
    next_try: float | None = None
    waiting_for: str = ""
    waiting_until: float | None = None
    reboot: RebootNote | None = None
    boots: Mapping[str, int] = field(default_factory=dict)
    docker_seen: str | None = None
    published_at: float | None = None
    os_update: OsUpdate | None = None
    hook_asked: bool = False
    hook_answered: bool = False
    hook_answered_at: float | None = None
    transitions: int = 0
    planned_in: str = ""
    heard_os: str | None = None
    heard_pending: bool = False
    heard_installation: str = ""

    @property
    def last_heard(self) -> OsUpdate | None:
        """What update_engine was said to do last in this boot, by whoever heard it; None where nobody has.

        An update is pending until the next boot and no longer: a record of an earlier boot says nothing about this one.
        What a source heard is newer than the plan, which is there only once the cluster has answered, too.
        """
        if self.heard_os is not None or self.heard_pending:
            return OsUpdate(self.heard_os or None, self.heard_pending, self.heard_installation)
        if self.plan is not None and self.planned_in == self.boot_id:
            return self.plan.target.os_update
        return None

    @property
    def target(self) -> Target | None:
        return self.plan.target if self.plan else None
