"""The health of the sources, and the supervisor that keeps them running."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from torcxd.errors import TransientError
from torcxd.sources.health import HealthBoard
from torcxd.sources.supervisor import keep_running


class VirtualClock:
    def now(self) -> float:
        return 1_000_000 + trio.current_time()


@pytest.fixture
def board(tmp_path: Path) -> HealthBoard:
    return HealthBoard(tmp_path / "run/sources.json", VirtualClock())


def written(tmp_path: Path) -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = json.loads((tmp_path / "run/sources.json").read_text())
    return content


async def test_what_is_lost_and_found_is_told_once_and_written_at_once(
    tmp_path: Path, board: HealthBoard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    board.up("node")
    assert written(tmp_path)["node"]["up"] is True
    board.down("node", "connection refused")
    board.down("node", "connection refused again")
    assert written(tmp_path)["node"]["detail"] == "connection refused again"
    assert board.missing() == ["node"]
    board.up("node")
    assert written(tmp_path)["node"]["up"] is True
    assert [each.message for each in caplog.records] == [
        "The source node is not heard: connection refused. The others go on.",
        "The source node is back.",
    ]


async def test_many_events_are_not_many_writes(
    tmp_path: Path, board: HealthBoard, autojump_clock: trio.abc.Clock
) -> None:
    board.up("node")
    first = written(tmp_path)["node"]["heard_at"]
    for _ in range(9):
        await trio.sleep(1)
        board.up("node")
    assert written(tmp_path)["node"]["heard_at"] == first
    await trio.sleep(1)
    board.up("node")
    assert written(tmp_path)["node"]["heard_at"] == pytest.approx(1_000_000 + trio.current_time())


async def test_a_lost_source_is_sought_for_ever_with_back_off_and_disturbs_no_other(
    board: HealthBoard, autojump_clock: trio.abc.Clock
) -> None:
    attempts: list[float] = []
    ticks = 0

    async def broken() -> None:
        attempts.append(trio.current_time())
        raise TransientError("no bus")

    async def sound() -> None:
        nonlocal ticks
        while True:
            board.up("sound")
            ticks += 1
            await trio.sleep(60)

    with trio.move_on_after(3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running, "broken", broken, board, lambda: 0.5)
            nursery.start_soon(keep_running, "sound", sound, board, lambda: 0.5)
    assert ticks == 60
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert pauses[:4] == pytest.approx([1, 2, 4, 8])
    assert max(pauses) == pytest.approx(120)
    assert board.sources["broken"].detail == "no bus"


async def test_the_back_off_starts_over_once_the_source_was_up(
    board: HealthBoard, autojump_clock: trio.abc.Clock
) -> None:
    attempts: list[float] = []

    async def flapping() -> None:
        attempts.append(trio.current_time())
        if len(attempts) == 5:
            board.up("flapping")
        if len(attempts) == 8:
            await trio.sleep_forever()
        raise TransientError("gone")

    with trio.move_on_after(600):
        await keep_running("flapping", flapping, board, lambda: 0.5)
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert pauses == pytest.approx([1, 2, 4, 8, 1, 2, 4])
