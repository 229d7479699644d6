"""A program that hangs tells what it waits for, when it is asked by a signal: its threads, and its trio tasks."""

from __future__ import annotations

import faulthandler
import signal
import sys
import traceback
from types import FrameType
from typing import Final

import trio

ASK: Final = signal.SIGUSR1
# The last line of what it tells.
END: Final = "-- that is all that it waits for"


def install() -> None:
    """Answer :data:`ASK` in this process, on its standard error."""
    signal.signal(ASK, _tell)


def _tell(_number: int, _frame: FrameType | None) -> None:
    print("-- threads", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        root = None
    if root is not None:
        print("-- tasks", file=sys.stderr)
        _tell_task(root, 0)
    print(END, file=sys.stderr, flush=True)


def _tell_task(task: trio.lowlevel.Task, depth: int) -> None:
    margin = "  " * depth
    print(f"{margin}{task.name}", file=sys.stderr)
    for frame in traceback.StackSummary.extract(task.iter_await_frames()):
        # The inside of trio is the same for all.
        if "/trio/" not in frame.filename:
            print(f"{margin}  {frame.filename}:{frame.lineno} {frame.line}", file=sys.stderr)
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda each: each.name):
            _tell_task(child, depth + 1)
