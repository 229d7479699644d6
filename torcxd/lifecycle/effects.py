"""What the shell is to do. An effect is plain data; the shell has one function for each (torcxd/daemon/)."""

from __future__ import annotations

from dataclasses import dataclass

from torcxd.lifecycle.facts import OsUpdate, Plan


@dataclass(frozen=True, slots=True)
class Gather:
    """Find out the target; report ``Gathered``.

    :param recorded: the plan made last, to be checked against the disk where it is for the same target.
    :param os_update: what the source that watches update_engine saw; None to ask update_engine oneself, and to make it
        look for an update where that is wanted (bootstrap).
    :param known: the OS update on record, where update_engine has forgotten the version of its own; None for none.
    """

    recorded: Plan | None
    os_update: OsUpdate | None = None
    known: OsUpdate | None = None


@dataclass(frozen=True, slots=True)
class VerifyBoot:
    """Compare what came up with the recorded plan, without network; report ``BootVerified``."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Fetch:
    """Resolve the plan if it is not resolved yet (report ``Resolved``), download; report ``Fetched``."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Place:
    """Place the staged images, pin the profile, remove what is no longer needed; report ``Placed``.

    :param clean_docker: whether the pinned Docker is another one than that whose data lie in /var/lib/docker: from the
        moment that it is pinned, a power cut is enough to boot into it (C20).
    """

    plan: Plan
    clean_docker: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """Look at what runs; report ``Compared``."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Reboot:
    """Ask for a reboot unless one was accepted in this boot; report ``RebootRequested`` and wait for the end.

    :param clean_docker: whether Docker's data directory is to be cleaned on the way (C20).
    :param accepted: whether the request of this boot was accepted already.
    """

    plan: Plan
    clean_docker: bool
    accepted: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """Write kubelet.env; report ``Published``."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Attend:
    """The set is on the disk. Report ``HookAnswered`` after answering, and ``Attended`` when nothing is left to do.

    :param answer: whether to tell the update operator now.
    :param clean_docker: whether Docker's data directory is to be cleaned in the reboot that follows (C20).
    """

    plan: Plan
    answer: bool
    clean_docker: bool = False


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Wait; report ``RetryDue``.

    :param when: seconds since the epoch.
    """

    when: float


@dataclass(frozen=True, slots=True)
class End:
    """End the process.

    :param exit_code: as in sysexits(3); 0 only when kubelet.env is published.
    """

    exit_code: int
    message: str = ""
    hint: str = ""


Effect = Gather | VerifyBoot | Fetch | Place | Compare | Reboot | Publish | Attend | RetryAt | End
