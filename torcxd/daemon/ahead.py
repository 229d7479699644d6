"""What was found out ahead of its state, while the OS update was still downloading."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torcxd.lifecycle.facts import Plan


@dataclass(slots=True)
class Ahead:
    """The plan whose manifests were read and verified, and whose images were fetched, ahead.

    It lives as long as the process, that is for one OS update, and is used once: whoever tries again reads again.
    """

    _plan: Plan | None = None

    def keep(self, plan: Plan) -> None:
        """:param plan: a resolved plan."""
        self._plan = plan

    def take(self, plan: Plan) -> Plan | None:
        """*plan* resolved, if that was done ahead for the same target; None otherwise."""
        ahead, self._plan = self._plan, None
        if ahead is None or not ahead.target.same_as(plan.target):
            return None
        return replace(ahead, target=plan.target, boot_os=plan.boot_os)
