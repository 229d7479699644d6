"""torcxd, killed at what it records for the first time: each state, and each kind of event in it.

The step is on disk then, and what follows from it has not begun.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

from torcxd.__main__ import main
from torcxd.cli import run
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step

KILLED = Path("/var/lib/killed")


class Killer:
    def stepped(self, step: Step, event: Event) -> None:
        moment = KILLED / f"{step.snapshot.state} {event.trigger}"
        if not moment.exists():
            moment.touch()
            os.kill(os.getpid(), signal.SIGKILL)


vars(run)["attend_node"] = partial(vars(run)["attend_node"], observers=[Killer()])
sys.exit(main())
