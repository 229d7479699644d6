"""The watch itself: it sees each system call that counts, and no other, and a kill comes exactly where it says."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.crash import notify
from tests.crash.server import WatchedServer
from tests.crash.watch import Watch
from tests.integration.bootstrap.program import Preparation, Process

EVERY_KIND = [
    ("openat", "/new"),
    ("write", "/new"),
    ("writev", "/new"),
    ("pwrite64", "/new"),
    ("fchmod", "/new"),
    ("fsync", "/new"),
    ("link", "/second"),
    ("rename", "/third"),
    ("unlinkat", "/second"),
    ("symlink", "/name"),
    ("mkdir", "/inner"),
    ("rmdir", "/inner"),
    ("truncate", "/third"),
]


@dataclass
class Stage:
    """Where the samples run."""

    server: WatchedServer
    folder: Path
    peer: Path

    async def run(self, sample: str, *strikes: int) -> tuple[Watch, Process]:
        watch = Watch({self.folder: ""}, {str(self.peer): "peer"}, strikes)
        self.server.watch = watch
        environment = {"FOLDER": str(self.folder), "PEER": str(self.peer), "PATH": "/usr/bin:/bin"}
        preparation = Preparation(f"tests.crash.samples:{sample}")
        async with self.server.start(["--version"], environment, preparations=[preparation]) as process:
            pass
        return watch, process

    def left(self) -> dict[str, bytes]:
        return {each.name: each.read_bytes() if each.is_file() else b"" for each in self.folder.iterdir()}


@pytest.fixture
def stage(watched: WatchedServer, tmp_path: Path) -> Stage:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "read").touch()
    return Stage(watched, folder, tmp_path / "peer")


async def test_each_call_that_counts_is_seen_and_no_other(stage: Stage) -> None:
    watch, process = await stage.run("every_kind")
    assert process.code == 0, process.stderr
    assert [(each.name, each.where) for each in watch.calls] == EVERY_KIND
    # Two of the writes are longer than a byte, and can be torn.
    assert len(watch.moments) == len(EVERY_KIND) + 2
    assert watch.calls[1].data == b"first "
    assert watch.calls[2].data == b"second"


async def test_at_each_moment_what_was_before_is_done_and_nothing_else(stage: Stage) -> None:
    """The content of the one file tells all the writes apart, the names in the folder the rest."""
    contents = [None, b"", b"fir", b"first ", b"first sec", b"first second", b"First second"]
    for number, expected in enumerate(contents, 1):
        watch, process = await stage.run("every_kind", number)
        assert process.code == -signal.SIGKILL
        assert len(watch.moments) == number
        assert stage.left().get("new") == expected
        (stage.folder / "new").unlink(missing_ok=True)
    assert [each.which for each in watch.struck] == ["before"]
    watch, _ = await stage.run("every_kind", 10)
    assert (watch.struck[0].call.name, set(stage.left())) == ("rename", {"read", "new", "second"})


async def test_a_run_that_ends_before_the_moment_is_left_alone(stage: Stage) -> None:
    watch, process = await stage.run("every_kind", 100)
    assert (process.code, watch.struck) == (0, [])


async def test_a_call_that_a_signal_interrupts_ends_no_watch(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits no more when it is looked for, and comes again; without the watch each later call would fail."""
    looks = iter([False] * 3)
    is_waiting = notify.is_waiting
    monkeypatch.setattr(notify, "is_waiting", lambda listener: next(looks, True) and is_waiting(listener))
    watch, process = await stage.run("every_kind")
    assert (process.code, len(watch.calls)) == (0, len(EVERY_KIND))
    assert next(looks, None) is None


async def test_threads_and_children_are_counted_and_killed_too(stage: Stage) -> None:
    watch, process = await stage.run("with_helpers", 2)
    assert process.code == -signal.SIGKILL
    thread, child = watch.calls
    assert (thread.where, child.where) == ("/by-thread", "/by-child")
    assert len({process.pid, thread.thread, child.thread}) == 3
    assert set(stage.left()) == {"read", "by-thread"}


@pytest.mark.parametrize(
    ("number", "which", "heard"),
    [(1, "before", None), (2, "before", b""), (3, "torn", b"he"), (4, "unanswered", b"hello")],
)
async def test_what_a_peer_hears_of_a_killed_program(
    stage: Stage, number: int, which: str, heard: bytes | None
) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(stage.peer))
        listener.listen()
        watch, process = await stage.run("that_talks", number)
        assert process.code == -signal.SIGKILL
        assert watch.struck[0].which == which
        assert watch.struck[0].call.where.startswith("peer")
        if heard is not None:
            connection, _ = await listener.accept()
            with connection:
                assert await connection.recv(100) == heard
    assert "answer" not in stage.left()


async def test_a_kernel_that_does_not_permit_it_is_no_success(stage: Stage) -> None:
    """What cannot be watched must not pass for watched: a container may forbid it."""
    stage.server.builds = ("tests.crash.samples:without_seccomp",)
    try:
        refused = pytest.RaisesExc(AssertionError, match="system calls cannot be watched here")
        with pytest.RaisesGroup(refused, flatten_subgroups=True):
            await stage.run("every_kind")
    finally:
        stage.server.builds = ()
