"""The end of a story: all troubles end, and the node has to come to the right end, through one more OS update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from tests.simulation.world.peers import WANTED
from tests.simulation.world.story import LAST_OS
from torcxd.daemon.statefile import read_recorded
from torcxd.sandbox.scenarios import update

if TYPE_CHECKING:
    from tests.simulation.world.world import World

# Seconds from the end of all troubles to the right end: the longest back-off, polls, an OS update and three boots.
PATIENCE: Final = 3 * 3600.0
# Tasks and connections at the end of a story: everybody's together are some dozens; what is leaked comes on top.
_MOST_TASKS: Final = 150
_MOST_SOCKETS: Final = 60


async def finish(world: World) -> None:
    """End all troubles, wait, and judge. The violations are the world's then."""
    checker = world.checker
    world.say("-- all troubles end")
    _mend(world)
    started = trio.current_time()
    problem = await _last_update(world)
    world.recovery = trio.current_time() - started
    if problem:
        checker.violations.append(f"END: {problem}, {PATIENCE / 3600:g} h after all troubles have ended")
    # Longer than any poll: what is to follow has followed.
    await trio.sleep(300)
    world.look(quiet=True)
    if not problem and (problem := _unfinished(world)):
        checker.violations.append(f"END: the node does not stay well: {problem}")
    tasks = trio.lowlevel.current_statistics().tasks_living
    if tasks > _MOST_TASKS:
        checker.violations.append(f"END: {tasks} tasks live")
    if len(world.peers.network.sockets) > _MOST_SOCKETS:
        checker.violations.append(f"END: {len(world.peers.network.sockets)} sockets are open")
    world.violations += checker.violations


def _mend(world: World) -> None:
    for mend in world.menders[:]:
        world.menders.remove(mend)
        mend()
    peers = world.peers
    peers.bucket.heal()
    queues = (peers.api.faults, peers.api.watches.faults, peers.bus.faults, peers.bus.reply_faults)
    for faults in (*queues, world.machine.dockerd.faults):
        faults.clear()
    for link in peers.network.links.values():
        link.cuts.clear()
        link.flips.clear()
    world.settings_good = True


async def _last_update(world: World) -> str:
    """Wait for the right end; returns why it did not come, empty when it did."""
    started = trio.current_time()
    problem = ""
    while trio.current_time() < started + PATIENCE:
        await trio.sleep(30)
        engine = world.peers.update_engine
        idle = not engine._playing and world.node.pending is None and engine._nursery is not None
        due = world.node.os_version != LAST_OS and world.node.layout.at("/etc/kubernetes/kubelet.env").exists()
        if idle and due:
            # Anew where a reboot cut it off, as update_engine does by itself.
            world.say("-- the last update")
            engine.scenario = update(LAST_OS, 120)
            await engine._attempt_update()
        elif world.excused and trio.current_time() > started + 600 and engine._state.version == "0.0.0":
            world.say("-- an administrator withdraws the update that nobody can name")
            world.excused = False
            await engine._reset_status()
            world.node.pending = None
        problem = _unfinished(world)
        if not problem:
            break
    return problem


def _unfinished(world: World) -> str:
    """What is not yet as it should be in the end."""
    layout, version = world.node.layout, world.peers.api.version
    path = layout.at("/etc/kubernetes/kubelet.env")
    if not path.exists():
        return "there is no kubelet.env"
    if world.node.os_version != LAST_OS:
        return f"OS {world.node.os_version} runs, {world.node.pending} is pending"
    wanted = WANTED[version.removeprefix("v").rpartition(".")[0].rpartition(".")[0]]
    if world.checker.disk.sealed_docker() != wanted:
        return f"Docker {world.checker.disk.sealed_docker()} runs instead of {wanted}"
    if world.story.attendant == "hook":
        return ""
    if world.story.settings.get("update_kubelet") and version.replace("+", "_") not in path.read_text():
        return f"kubelet.env has not followed the cluster to {version}"
    snapshot = read_recorded(layout)
    if snapshot is None or snapshot.state != "done" or snapshot.failure is not None:
        return f"the state is {snapshot.state if snapshot else 'unknown'}: {snapshot and snapshot.failure}"
    return ""
