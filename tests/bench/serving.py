"""A node in service with the daemon as a process of its own, and what the kernel knows of that process."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from tests.integration.bootstrap.program import ForkServer
from tests.integration.daemon.bench import NODE, PLOT, Service
from torcxd.daemon.statefile import StateFile
from torcxd.sandbox.sandbox import open_sandbox
from torcxd.sandbox.update_engine import Scenario


@asynccontextmanager
async def serving(directory: Path, *flags: str) -> AsyncIterator[tuple[Service, int]]:
    """A node with ``torcxd run`` on it, at rest, and the number of that process; both end with the block."""
    async with open_sandbox(directory, PLOT) as box:
        # Nothing happens to the OS by itself.
        box.update_engine.scenario = Scenario()
        node = Service(box, ForkServer(directory))
        node.put_in_service()
        command = box.command("run", f"--node-name={NODE}", "--verbose=error", *box.flags, *flags)
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                lambda task_status: trio.run_process(
                    command, env=box.process_environment, check=False, task_status=task_status
                )
            )
            await until_state(node, "done")
            yield node, process.pid
            process.terminate()


async def until_state(node: Service, *states: str) -> None:
    """Wait until the recorded state is one of *states*."""
    while True:
        snapshot = StateFile(node.box.node.layout).load()
        if snapshot is not None and snapshot.state in states:
            return
        await trio.sleep(0.005)


@contextmanager
def bare_trio() -> Iterator[int]:
    """A process that has imported trio and wakes up once a second; yields its number."""
    program = "import trio\nasync def main():\n  print(flush=True)\n  while True: await trio.sleep(1)\ntrio.run(main)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def memory(pid: int) -> tuple[float, float]:
    """RSS and PSS in megabytes; proc(5), smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE))
    return int(found["Rss"]) * 1024 / 1e6, int(found["Pss"]) * 1024 / 1e6


def processor(pid: int) -> float:
    """Milliseconds of processor time that the process has taken, threads that have ended included."""
    # What clock_getcpuclockid(3) makes of a process's number, on Linux.
    return time.clock_gettime_ns(~pid << 3 | 2) / 1e6
