"""What a node goes through while its program is killed: from the start to the end of one command's whole work.

A journey drives the node and its peers, and starts the program again after each kill, as its unit or its pod would be.
It is at its end when the work is done, wherever it was cut. The node is judged on every stop.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from tests.crash.server import WatchedServer
from tests.crash.watch import Strike, Watch, plain
from tests.integration.bootstrap.bench import QUIET, UPDATING, Bench, open_bench
from tests.integration.bootstrap.program import Process
from tests.integration.daemon.bench import NODE, PLOT, Service, open_service
from torcxd.daemon.statefile import read_recorded
from torcxd.dbus.bus import open_bus
from torcxd.dbus.login1 import Login1
from torcxd.sandbox.sandbox import OLD_OS, Plot

# Seconds, a fail-safe for a node that never gets there: the longest journey takes two, or twenty on a machine that is
# busy with ten other things.
_TOO_LONG: Final = 120.0
# A run for each kill, one for each boot, and one to spare: what needs more goes round in circles.
_MOST_RUNS: Final = 8
_LOOK: Final = 0.005


@dataclass(frozen=True, slots=True)
class Arrival:
    """The end of a journey.

    :param left: what is on the node's disk in the end, by path: the same for every journey of a kind.
    """

    watch: Watch
    left: dict[str, str]


Travel = Callable[[WatchedServer, Path, tuple[Strike, ...]], Awaitable[Arrival]]


async def bootstrap(server: WatchedServer, folder: Path, strikes: tuple[Strike, ...], plot: Plot = UPDATING) -> Arrival:
    """A bootstrap through its reboot: by default the OS and the Docker version change with it."""
    async with open_bench(folder, server, plot, seconds=_TOO_LONG) as node:
        watch = _watch(node, server, strikes)
        for _ in range(_MOST_RUNS):
            reboots, struck = node.box.reboots, len(watch.struck)
            process = await node.bootstrap()
            await _settle(node)
            node.judge()
            if node.box.reboots > reboots:
                if len(watch.struck) > struck:
                    await _start_again_on_the_way_down(node, watch)
                await node.box.reboot()
                node.judge()
            elif process.code == 0:
                break
            else:
                _assert_killed(process, watch, struck)
        assert node.bootstrapped, "the bootstrap does not get to its end"
        assert node.box.reboots == 1, f"{node.box.reboots} reboots were asked for"
        return _arrival(node, watch)


async def docker_only(server: WatchedServer, folder: Path, strikes: tuple[Strike, ...]) -> Arrival:
    """A bootstrap that finds no OS update: Docker changes alone."""
    return await bootstrap(server, folder, strikes, QUIET)


async def hook(server: WatchedServer, folder: Path, strikes: tuple[Strike, ...]) -> Arrival:
    """The answer to the update operator's check, with an OS update that waits; then the reboot."""
    async with open_service(folder, server, PLOT, seconds=_TOO_LONG) as node:
        watch = _watch(node, server, strikes)
        await node.install()
        node.ask()
        for _ in range(_MOST_RUNS):
            struck = len(watch.struck)
            async with node.hook() as process:
                pass
            node.note()
            node.judge()
            if process.code == 0:
                break
            _assert_killed(process, watch, struck)
        assert node.answered, "the operator is not answered"
        _assert_never_withdrawn(node)
        left = _arrival(node, watch)
        node.withdraw()
        await node.box.reboot()
        node.judge()
        return left


async def update(server: WatchedServer, folder: Path, strikes: tuple[Strike, ...]) -> Arrival:
    """The daemon through an OS update: announced, installed, asked for by the operator, answered, booted into."""
    async with open_service(folder, server, PLOT, seconds=_TOO_LONG) as node:
        watch = _watch(node, server, strikes)
        async with _kept_running(node, watch):
            await _until(node, "done")
            await node.announce()
            await _until(node, "staged")
            await node.install()
            await _until(node, "reboot-pending")
            node.ask()
            await node.until_answered()
            _assert_never_withdrawn(node)
            node.withdraw()
        await node.box.reboot()
        node.judge()
        node.register()
        async with _kept_running(node, watch):
            while node.path(f"/var/lib/torcx/store/{OLD_OS}").exists():
                await trio.sleep(_LOOK)
            await _until(node, "done")
        node.judge()
        assert node.box.reboots == 0, "the daemon asked for a reboot, which is the operator's"
        return _arrival(node, watch)


JOURNEYS: Final[dict[str, Travel]] = {
    "bootstrap": bootstrap,
    "docker-only": docker_only,
    "hook": hook,
    "update": update,
}


def _watch(node: Bench, server: WatchedServer, strikes: tuple[Strike, ...]) -> Watch:
    assert node.box.api_server is not None
    peers = {
        node.box.bus.address.removeprefix("unix:path="): "the bus",
        f"127.0.0.1:{node.box.bucket_server.port}": "the bucket",
        f"127.0.0.1:{node.box.api_server.port}": "the API server",
    }
    temporary = Path(node.box.environment["TMPDIR"])
    server.watch = watch = Watch({node.root: "", temporary: "$TMPDIR"}, peers, strikes)
    return watch


def _assert_killed(process: Process, watch: Watch, struck: int) -> None:
    assert len(watch.struck) > struck, f"a run that nobody killed ended with {process.code}:\n{process.stderr}"


def _assert_never_withdrawn(node: Service) -> None:
    node.note()
    answers = [value for name, value in node.told if name == node.annotation]
    assert answers == ["true"], f"the operator was told {answers}"


async def _settle(node: Bench) -> None:
    """Wait until the bus has delivered what it was given: a killed program's last message, too."""
    async with open_bus(node.box.bus.address) as bus:
        await Login1(bus).preparing_for_shutdown()


async def _start_again_on_the_way_down(node: Bench, watch: Watch) -> None:
    """The unit is quicker than the shutdown: its program comes up once more, and must not ask a second time."""
    struck = len(watch.struck)
    while True:
        async with (
            node.start("bootstrap", "--api-retry-for=0.5s", *node.box.flags) as process,
            trio.open_nursery() as up,
        ):

            async def wait(process: Process = process, up: trio.Nursery = up) -> None:
                await process.ended()
                up.cancel_scope.cancel()

            up.start_soon(wait)
            await process.says("Waiting for the reboot")
            process.send(signal.SIGTERM)
        node.judge()
        if len(watch.struck) == struck:
            return
        struck = len(watch.struck)


@asynccontextmanager
async def _kept_running(node: Service, watch: Watch) -> AsyncIterator[None]:
    """The daemon for the length of the block, started again whenever it was killed; ended by SIGTERM.

    One that is killed when the block is over already is followed by another, which looks after what was left.
    """
    process: Process

    async def keep() -> None:
        nonlocal process
        while True:
            struck = len(watch.struck)
            async with node.start("run", f"--node-name={NODE}", "--api-retry-for=0.5s", *node.box.flags) as process:
                if ending:
                    # The signal that ends the block went to its predecessor.
                    await _at_work(process, watch, len(watch.moments))
                    process.send(signal.SIGTERM)
            node.judge()
            if len(watch.struck) == struck:
                assert ending, f"nobody killed it, but it ended with {process.code}:\n{process.stderr}"
                assert process.code == 0, f"SIGTERM ended it with {process.code}:\n{process.stderr}"
                return

    ending = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        yield
        ending = True
        process.send(signal.SIGTERM)


async def _at_work(process: Process, watch: Watch, begun: int) -> None:
    """Wait until *process* asks the API server, or ends.

    :param begun: how many moments there were when it began.
    """
    while process.code is None and not any(each.call.where == "the API server" for each in watch.moments[begun:]):
        await trio.sleep(_LOOK)


async def _until(node: Service, state: str) -> None:
    """Wait until *state* is recorded."""
    while (recorded := read_recorded(node.box.node.layout)) is None or recorded.state != state:
        await trio.sleep(_LOOK)


def _arrival(node: Bench, watch: Watch) -> Arrival:
    left = node.end_state()
    state = node.path("/var/lib/torcxd")
    # Of what the program keeps for itself, the names: nothing that a kill leaves may stay for ever.
    for each in sorted(state.rglob("*")):
        left[plain(str(each.relative_to(node.root)))] = "a folder" if each.is_dir() else "a file"
    recorded = read_recorded(node.box.node.layout)
    left["the recorded state"] = recorded.state if recorded else "none"
    return Arrival(watch, left)
