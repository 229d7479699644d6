"""Runs one function in a process of its own, and tells what memory that took.

Measured is the peak of what was resident (VmHWM of proc(5)) above what was before the function ran; the kernel is asked
to forget the earlier peak first. So the interpreter and its modules do not count, and nothing escapes: neither what C
libraries allocate nor what is freed again at once.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from tests.e2e.tree import PROJECT

# proc(5), clear_refs: forget the peak.
_FORGET_PEAK: Final = "5"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a function returned, and what it took.

    :param grown: the peak of its memory, in MB (of 1,000,000 bytes).
    :param descriptors: how many it left open.
    """

    result: Any
    grown: float
    descriptors: int


async def measure(function: Callable[..., Any], *arguments: Any) -> Measured:
    """Call a function of a module of this package, in another process; servers in this one go on meanwhile.

    :param arguments: go there and come back as JSON, as what the function returns does.
    """
    command = [sys.executable, "-m", __name__, function.__module__, function.__name__, json.dumps(arguments)]
    ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd=PROJECT)
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")[-4000:]
    return Measured(**json.loads(ended.stdout.splitlines()[-1]))


def measure_now(function: Callable[..., Any], *arguments: Any) -> Measured:
    """:func:`measure`, without an event loop."""
    return trio.run(measure, function, *arguments)


def _memory(field: str) -> int:
    """Bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _main(module: str, name: str, arguments: str) -> None:
    function = getattr(importlib.import_module(module), name)
    call = partial(function, *json.loads(arguments))
    opened = len(list(Path("/proc/self/fd").iterdir()))
    Path("/proc/self/clear_refs").write_text(_FORGET_PEAK, encoding="ascii")
    before = _memory("VmRSS")
    result = trio.run(call) if inspect.iscoroutinefunction(function) else call()
    grown = (_memory("VmHWM") - before) / 1e6
    descriptors = len(list(Path("/proc/self/fd").iterdir())) - opened
    sys.stdout.write(f"\n{json.dumps({'result': result, 'grown': grown, 'descriptors': descriptors})}\n")


if __name__ == "__main__":
    # trio and what it imports at its first run are not what is measured.
    trio.run(trio.lowlevel.checkpoint)
    _main(*sys.argv[1:])
