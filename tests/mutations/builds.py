"""Broken builds of the program: each is a patch that is applied in the new process, before the program's entry point.

None of them is a copy of the program: they replace a function, or what it answers, by the mistake that the name tells.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torcxd.addons.partial import PartialFile
from torcxd.addons.profile import ProfileEdit
from torcxd.addons.signature import Verifier
from torcxd.addons.staging import Staging
from torcxd.addons.store import Store
from torcxd.daemon import addons, attending, document, finishing, inspection, statefile
from torcxd.host import docker_cleanup, env_file, files
from torcxd.lifecycle import duties, guards, memory
from torcxd.lifecycle.facts import OsUpdate, Running
from torcxd.sources import os_update


def _break(owner: Any, name: str, mistake: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} to be broken: the program has changed")
    setattr(owner, name, mistake)


def _believe_in_the_disk() -> None:
    """Nobody looks whether the set is there: what is lost on the way shows outside only."""

    async def undamaged(*_: object) -> str:
        return ""

    _break(inspection, "_damage", undamaged)


# I1


def publishes_before_the_reboot() -> None:
    guards.GUARDS["boot_needed"] = lambda *_: False  # type: ignore[index]
    _break(Running, "matches", lambda *_: True)


def publishes_half_a_file() -> None:
    render = env_file.render
    _break(finishing, "render", lambda values: render(values)[:-8])


def forgets_what_the_installer_gave() -> None:
    kubelet_env = env_file.kubelet_env
    _break(finishing, "kubelet_env", lambda _, version: kubelet_env({}, version))


# I2


def believes_every_digest() -> None:
    _break(PartialFile, "found", lambda self: self._digest)
    _break(Staging, "_holds", lambda self, digest: self.path(digest).exists())


def believes_every_signature() -> None:
    async def verify(*_: object) -> str:
        return "somebody"

    _break(Verifier, "verify", verify)


# I3


def pins_nothing() -> None:
    _believe_in_the_disk()
    _break(addons, "ensure_pinned", lambda *_: ProfileEdit("tectonic", Path(), changed=False, previous=None))


def places_nothing() -> None:
    _believe_in_the_disk()
    _break(Store, "place", lambda _, verified, *__: verified)


def reboots_without_another_look() -> None:
    async def intact(*_: object) -> bool:
        return True

    _break(finishing, "is_intact", intact)


# I4


def takes_an_unknown_version_for_none() -> None:
    read = os_update.read

    def misread(status: Any) -> OsUpdate:
        update = read(status)
        return OsUpdate(None, pending=False) if update.unknown else update

    _break(os_update, "read", misread)
    _break(attending, "read", misread)


def never_looks_at_update_engine_again() -> None:
    _break(finishing, "is_for", lambda *_: True)


# I5


def _removes(chooses: Callable[[str, str], bool]) -> None:
    def gc(self: Store, current: str, next_: str) -> tuple[str, ...]:
        removed = [each for each in self.versions() if each != next_ and chooses(each, current)]
        for each in removed:
            shutil.rmtree(self._layout.user_store / each)
        return tuple(removed)

    _believe_in_the_disk()
    _break(Store, "gc", gc)


def removes_the_current_store() -> None:
    _removes(lambda name, current: name == current)


def removes_newer_stores() -> None:
    _removes(lambda name, current: name > current)


# I6


def never_cleans_docker() -> None:
    async def schedule(*_: object) -> None:
        pass

    _break(docker_cleanup, "schedule", schedule)


def always_cleans_docker() -> None:
    _break(duties, "changes_docker", lambda *_: True)
    _break(memory, "changes_docker", lambda *_: True)


# I7


def asks_for_each_reboot_again() -> None:
    resumed = memory.resumed

    def forgetful(snapshot: Any) -> Any:
        again = resumed(snapshot)
        return replace(again, reboot=replace(again.reboot, accepted_at=None)) if again.reboot else again

    async def stays(*_: object) -> bool:
        return False

    _break(memory, "resumed", forgetful)
    _break(finishing, "_goes_down", stays)


def never_gives_a_target_up() -> None:
    _break(guards, "MOST_BOOTS", 1000)
    _break(memory, "MOST_BOOTS", 1000)


# I8


def writes_the_state_in_place() -> None:
    def write(path: Path, data: bytes, **_: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                stream.write(part)
                stream.flush()
                os.fsync(stream.fileno())

    _break(files, "write_atomic", write)


def writes_no_checksum() -> None:
    encode = document.encode
    _break(document, "encode", lambda content: encode(content).replace(b'"sha256": "', b'"sha256": "0'))
    decode = document.decode
    _break(document, "decode", lambda data: decode(data.replace(b'"sha256": "0', b'"sha256": "')))


def believes_every_state() -> None:
    def decode(data: bytes) -> Any:
        try:
            return json.loads(data)["snapshot"]
        except ValueError:
            raise document.DamagedDocument("it is not JSON") from None

    _break(document, "decode", decode)


def throws_a_damaged_state_away() -> None:
    def rename(source: Path, _: Path) -> None:
        source.unlink()

    class Files:
        rename: Any = None

        def __getattr__(self, name: str) -> Any:
            return getattr(files, name)

    Files.rename = staticmethod(rename)
    _break(statefile, "files", Files())


# Of the scenarios.


def _dies_at_sync(number: int) -> Callable[[], None]:
    def lurk() -> None:
        sync: Any = os.fsync
        count = 0

        def deadly(descriptor: Any) -> None:
            nonlocal count
            # Folders are made durable, too, several of them before anything is written.
            count += stat.S_ISREG(os.fstat(descriptor).st_mode)
            sync(descriptor)
            if count == number:
                os.kill(os.getpid(), 9)

        _break(os, "fsync", deadly)

    return lurk


dies_at_sync_1, dies_at_sync_2, dies_at_sync_3, dies_at_sync_4 = map(_dies_at_sync, range(1, 5))
