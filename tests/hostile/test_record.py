"""A local user who has written, or put links into, the folder of the record, which decides what is done."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import IO

import msgspec
import pytest

from tests.hostile.attack import attack, nothing, removed
from tests.hostile.scene import DOCKER, OS, Scene
from tests.hostile.test_local_files import LINKS, give, harmed, precious
from torcxd.daemon import document as document_module
from torcxd.daemon import lock, statefile
from torcxd.daemon.lock import only_instance
from torcxd.daemon.statefile import StateFile
from torcxd.errors import TorcxdError, TransientError
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.snapshot import Snapshot


@pytest.mark.parametrize("kind", ["file", "link"])
@attack(removed(statefile, "untrusted", lambda found: ""))
async def test_a_record_that_somebody_else_wrote(scene: Scene, kind: str) -> str:
    """The record has digests that were verified once, and are not again."""
    evil = Plan(scene.plan().target, OS, docker=DOCKER, images=(), resolved=True)
    content = document_module.encode(msgspec.to_builtins(Snapshot(state="fetching", since=1.0, boot_id="b", plan=evil)))
    path = scene.node.layout.state_file
    if kind == "file":
        give(scene.node.write("/var/lib/torcxd/state.json", content))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(give(scene.node.write("/home/state.json", content)))
    loaded = StateFile(scene.node.layout).load()
    return "" if loaded is None else f"it goes on from {loaded.plan}"


@attack(removed(lock, "check_directory", nothing), LINKS)
async def test_a_link_in_place_of_the_lock(scene: Scene) -> str:
    secret = precious(scene)
    directory = scene.node.layout.state_directory
    directory.mkdir(parents=True)
    give(directory)
    (directory / "lock").symlink_to(secret)
    try:
        with only_instance(scene.node.layout):
            pass
    except TorcxdError:
        pass
    return harmed(secret)


@attack(LINKS)
async def test_a_link_in_place_of_the_history(scene: Scene) -> str:
    secret = precious(scene)
    path = scene.node.layout.history_file
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)
    StateFile(scene.node.layout).record({"at": 1})
    return harmed(secret)


def _held_by_a_reader(path: Path) -> IO[bytes]:
    """What any user can do with a file that it may read."""
    stream = path.open("rb")
    fcntl.fcntl(stream, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    return stream


@attack(removed(lock, "_open", lambda path, _mode: os.open(path, os.O_RDWR | os.O_CREAT, 0o644)))
async def test_a_lock_that_a_reader_holds(scene: Scene) -> str:
    """So that no torcxd ever works on the node."""
    with only_instance(scene.node.layout):
        pass
    folder = scene.node.layout.state_directory
    readable = [each for each in folder.iterdir() if each.is_file() and each.stat().st_mode & stat.S_IROTH]
    assert readable
    held = [_held_by_a_reader(each) for each in readable]
    try:
        with only_instance(scene.node.layout):
            return ""
    except TransientError as error:
        return error.message
    finally:
        for each in held:
            each.close()
