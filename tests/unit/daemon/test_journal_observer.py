"""What the journal is told of the operator's waiting: each reason once, and a bounded number of them is remembered."""

from __future__ import annotations

import pytest

from torcxd.charts import load_chart
from torcxd.daemon.journal_observer import MOST_REASONS, JournalObserver
from torcxd.daemon.process import DAEMON
from torcxd.errors import Kind
from torcxd.lifecycle.events import Event, Failed, HookAsked, OsUpdateSeen, RetryDue, Started
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.machine import Lifecycle


@pytest.mark.accepts("N10", "A28")
def test_reasons_that_are_never_the_same_do_not_add_up(caplog: pytest.LogCaptureFixture) -> None:
    """A download that breaks off elsewhere each time, for weeks, while the operator asks."""
    observer, core = JournalObserver(), Lifecycle(load_chart(), DAEMON)
    step = core.start(None, Started(0, "boot-1"))
    events: list[Event] = [OsUpdateSeen(1, OsUpdate("1576.4.0", pending=True)), HookAsked(2, asked=True)]
    for number in range(3 * MOST_REASONS):
        words = f"the answer ended after {number} bytes"
        failed = Failed(3, message=words, hint="", kind=Kind.TRANSIENT, exit_code=75, jitter=0.5)
        events += [failed, RetryDue(4), failed]
    for event in events:
        step = core.step(step.snapshot, event)
        observer.stepped(step, event)
    assert len(observer._told) <= MOST_REASONS
    told = [each for each in caplog.messages if each.startswith("The update operator has to wait")]
    # And one before it failed at all.
    assert len(told) == len(set(told)) == 3 * MOST_REASONS + 1
