"""Why the update operator has to wait, as soon as this process can know."""

from __future__ import annotations

from torcxd.lifecycle.events import Event, OsUpdateLost, OsUpdateSeen
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.preparedness import withholding


class Withheld:
    """Follows the steps of one engine.

    Before update_engine was tried nothing is wrong but that the process is new: nobody is told to wait for that, and an
    answer that its predecessor gave is not taken back.
    """

    def __init__(self) -> None:
        self._tried = False

    def reason(self, step: Step, event: Event) -> str:
        """The reason after *step*, in one clause; empty where there is none."""
        self._tried = self._tried or isinstance(event, OsUpdateSeen | OsUpdateLost)
        return withholding(step.snapshot) if self._tried else ""
