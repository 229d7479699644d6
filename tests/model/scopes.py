"""The commands whose core is explored, and how much of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.model.shell import Scope
from torcxd.daemon.process import DAEMON
from torcxd.lifecycle.policy import Policy

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
# What is walked through at random: far more boots, and everything that can be damaged.
WALKED: Final = (
    *(
        Scope(name, policy, most_boots=9, damage=True, stage=stage)
        for name, policy in COMMANDS.items()
        for stage in (True, False)
    ),
    Scope("bootstrap", BOOTSTRAP, most_boots=9, vain=True),
    Scope("daemon", DAEMON, most_boots=9, vain=True),
)
