"""What people do to a node's files, theirs and the program's; what they write is durable at once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from torcxd.daemon.statefile import read_recorded
from torcxd.dbus.update_engine import installation_at
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.guards import recorded_update

if TYPE_CHECKING:
    from tests.simulation.world.world import World


def write(world: World, path: str, content: bytes) -> None:
    """Somebody else writes a file of the node."""
    world.disk.settle(world.node.write(path, content))


def remove(world: World, path: str) -> None:
    """Somebody else removes a file of the node."""
    target = world.node.layout.at(path)
    target.unlink(missing_ok=True)
    world.disk.settle(target)


def note_what_is_known(world: World) -> None:
    """update_engine is about to forget which version it has installed."""
    snapshot = read_recorded(world.node.layout)
    known = recorded_update(snapshot) if snapshot is not None else None
    pending = OsUpdate(world.node.pending, True, installation_at(world.node.layout.os_update_marker))
    world.excused |= pending.version is not None and known != pending


def tamper(world: World, where: str) -> None:
    """Somebody's hands in what is the program's."""
    layout, checker = world.node.layout, world.checker
    world.excused |= "state" in where
    world.fired[f"hands: {where}"] += 1
    match where:
        case "image":
            for each in sorted(layout.user_store.glob("*/*.tgz"))[:1]:
                checker._kept.discard(each)
                each.unlink()
        case "staging":
            shutil.rmtree(layout.staging, ignore_errors=True)
        case "state":
            layout.state_file.unlink(missing_ok=True)
            checker.state_lost()
        case "damaged state":
            if layout.state_file.exists():
                data = layout.state_file.read_bytes()
                layout.state_file.write_bytes(data[: len(data) // 2])
                checker.state_damaged()
                world.disk.settle()
                # Whoever runs remembers, and writes over it: it counts for the next start.
                world.programs.kill()
        case "history":
            layout.history_file.unlink(missing_ok=True)
    world.disk.settle()
