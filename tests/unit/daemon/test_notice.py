"""The notice for the update operator: patched again where it does not stay, and ever more slowly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
import trio
import trio.testing

from torcxd.charts import load_chart
from torcxd.daemon.notice import NoticeKeeper
from torcxd.daemon.operator import OperatorDesk
from torcxd.daemon.process import DAEMON
from torcxd.kube.nodes import Node
from torcxd.lifecycle.events import HookAsked, OsUpdateSeen, Started
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.machine import Lifecycle

BARE = Node("node-1", "uid", "1", {}, {})
# Two minutes between two in the end, and some more before that; a loop makes thousands.
MOST_IN_AN_HOUR = 45


class Desk:
    """Every reason is due on every node but one that has it.

    :param takes: whether the API server puts on the node what it says that it did.
    """

    def __init__(self, *, takes: bool) -> None:
        self.takes = takes
        self.kept: list[float] = []
        self.changed = trio.Event()

    def notice_due(self, node: Node, reason: str) -> Mapping[str, str | None]:
        return {"reason": reason} if reason and node.annotations.get("reason") != reason else {}

    async def keep_notice(self, reason: str) -> Node:
        await trio.lowlevel.checkpoint()
        self.kept.append(trio.current_time())
        assert len(self.kept) <= MOST_IN_AN_HOUR
        self.changed.set()
        return Node("node-1", "uid", "2", {}, {"reason": reason} if self.takes else {})


@pytest.mark.accepts("A28")
@pytest.mark.parametrize("takes", [False, True])
async def test_a_notice_that_does_not_stay_is_kept_ever_more_slowly(
    takes: bool, autojump_clock: trio.abc.Clock
) -> None:
    """The API server drops it without a word, or somebody takes it away as often as it is there."""
    desk = Desk(takes=takes)
    keeper = NoticeKeeper(cast("OperatorDesk", desk), lambda: 0.5)
    core = Lifecycle(load_chart(), DAEMON)
    step = core.start(None, Started(0, "boot-1"))
    for event in (OsUpdateSeen(1, OsUpdate("1576.4.0", pending=True)), HookAsked(2, asked=True)):
        step = core.step(step.snapshot, event)
        keeper.stepped(step, event)

    async def takes_away() -> None:
        while True:
            await desk.changed.wait()
            desk.changed = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            keeper.saw(BARE)

    with trio.move_on_after(3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            nursery.start_soon(takes_away)
            keeper.saw(BARE)
    assert desk.kept[0] == 0.0
    assert len(desk.kept) > 10
