"""The commands whose core is explored, and how much of the world around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tests.model.world import KUBE, VERSIONS
from torcxd.daemon.process import DAEMON
from torcxd.lifecycle.policy import Policy


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is explored.

    :param name: of the command.
    :param most_boots: how many boots come that nobody asked for, or that do not bring what they were asked for; None
        for any number. A boot that was asked for comes in any case.
    :param updates: how many newer OS versions there are.
    :param kubes: how many Kubernetes versions the cluster moves between.
    :param damage: whether somebody removes images and edits the profile.
    :param marks: whether update_engine's marker can be seen, which tells one installation from another.
    :param stage: whether torcx is set up at all.
    :param vain: torcx fails in each boot.
    :param most_states: where to stop.
    """

    name: str
    policy: Policy
    most_boots: int | None = 2
    updates: int = 1
    kubes: int = 2
    damage: bool = False
    marks: bool = False
    stage: bool = True
    vain: bool = False
    most_states: int | None = None

    @property
    def bootstraps(self) -> bool:
        return not self.policy.attends

    @property
    def serves(self) -> bool:
        """Whether it is the daemon, which hears more."""
        return self.policy.attends and not self.policy.ends_when_answered

    @property
    def kube_versions(self) -> tuple[str, ...]:
        return KUBE[: self.kubes]

    @property
    def forgets(self) -> bool:
        """Whether update_engine may forget the version of what it has installed.

        Without its marker it is believed on the record's word, for want of a better one. Where one update superseded
        another unheard, that word is wrong: the one thing about a third OS version that the core cannot know then.
        """
        return self.marks or self.updates == 1

    def newer(self, os_version: str) -> tuple[str, ...]:
        """The OS versions that may follow *os_version*."""
        return tuple(each for each in VERSIONS[1 : 1 + self.updates] if each > os_version)


BOOTSTRAP: Final = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=600)
HOOK: Final = replace(DAEMON, ends_when_answered=True)
UNTOLD: Final = replace(HOOK, ends_when_prepared=True)

COMMANDS: Final = {
    "bootstrap": BOOTSTRAP,
    "daemon": DAEMON,
    "hook": HOOK,
    "hook without annotation": UNTOLD,
}
# All of a small world for the command that has the fewest events, the beginning of it for the others.
QUICK: Final = (
    Scope("bootstrap", BOOTSTRAP, most_boots=0, kubes=1),
    Scope("daemon", DAEMON, most_boots=1, damage=True, most_states=2500),
    Scope("hook", HOOK, most_boots=1, damage=True, most_states=2500),
    Scope("hook without annotation", UNTOLD, most_boots=1, damage=True, most_states=2500),
)
# What is walked through at random: any number of boots, two OS updates, and everything that can be damaged.
WALKED: Final = (
    *(
        Scope(name, policy, most_boots=None, updates=2, damage=True, marks=True, stage=stage)
        for name, policy in COMMANDS.items()
        for stage in (True, False)
    ),
    Scope("bootstrap", BOOTSTRAP, most_boots=None, vain=True),
    Scope("daemon", DAEMON, most_boots=None, vain=True),
)
