"""The state file: never torn, kept aside when damaged, and of bounded history."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from torcxd.daemon import document
from torcxd.daemon.statefile import KEPT_ENTRIES, LARGEST_HISTORY, StateFile, read_history, read_recorded
from torcxd.errors import TransientError
from torcxd.host import files
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.facts import Image, Plan, Target
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot
from torcxd.paths import Layout

TARGET = Target("amd64-usr", "1520.8.0", "1576.4.0", "v1.8.4+coreos.0", "the API server", ("17.03",), "x")
IMAGE = Image("1576.4.0", "docker", "17.03", Digest("sha512", "ab" * 64), ("https://x/y",), None)
FULL = Snapshot(
    "reboot-pending",
    12.5,
    "boot-1",
    plan=Plan(TARGET, "1576.4.0", "17.03", (IMAGE,), resolved=True),
    verify_boot=True,
    failure=Failure("m", "h", "transient", 1.0, 2.0, 3),
    next_try=7.0,
    waiting_for="w",
    waiting_until=9.0,
    reboot=RebootNote("boot-1", "key", clean_docker=True, accepted_at=3.0),
    boots={"os 1576.4.0": 2},
    published_at=4.0,
    transitions=5,
)


@pytest.mark.accepts("I8")
@pytest.mark.parametrize("snapshot", [FULL, Snapshot("gathering", 0.0, "boot-1")])
def test_what_is_saved_is_loaded(tmp_path: Path, snapshot: Snapshot) -> None:
    layout = Layout(tmp_path)
    StateFile(layout).save(snapshot)
    assert StateFile(layout).load() == snapshot
    assert read_recorded(layout) == snapshot


def test_a_node_on_which_nothing_was_run_has_no_state(tmp_path: Path) -> None:
    assert StateFile(Layout(tmp_path)).load() is None
    assert read_recorded(Layout(tmp_path)) is None


@pytest.mark.accepts("I8")
def test_every_truncation_and_every_changed_byte_is_noticed_and_kept_aside(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    StateFile(layout).save(FULL)
    good = layout.state_file.read_bytes()
    aside = layout.state_file.with_name("state.json.damaged")
    damaged = [good[:length] for length in range(0, len(good) - 2, 7)]
    for place in range(0, len(good), 11):
        changed = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        damaged.append(changed)
    for data in damaged:
        layout.state_file.write_bytes(data)
        assert StateFile(layout).load() in (None, FULL)  # Changed white space is no damage.
        if layout.state_file.exists():
            continue
        assert aside.read_bytes() == data
        aside.unlink()


@pytest.mark.accepts("I8")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "not a state document"),
        (b"[" * 100_000, "not JSON"),
        (b"x" * (document.LARGEST + 1), "larger than"),
        (json.dumps({"schema": 99, "snapshot": {}}).encode(), "its schema is 99"),
        (json.dumps({"schema": 1, "sha256": "0", "snapshot": {}}).encode(), "checksum"),
    ],
)
def test_a_document_that_is_none_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(document.DamagedDocument, match=message):
        document.decode(data)


def test_a_sound_document_with_foreign_content_is_kept_aside_too(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    files.write_atomic(layout.state_file, document.encode({"state": 3}))
    assert StateFile(layout).load() is None
    assert layout.state_file.with_name("state.json.damaged").exists()


@pytest.mark.accepts("I8")
@pytest.mark.parametrize(
    ("snapshot", "why"),
    [
        (Snapshot("hibernating", 1.0, "boot"), "its state 'hibernating' is none that this program has"),
        (Snapshot("reboot-pending", 1.0, "boot"), "it is in the state reboot-pending without a plan"),
    ],
)
def test_a_state_of_another_version_is_kept_aside(
    tmp_path: Path, snapshot: Snapshot, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a rollback of torcxd: each start would end over a state that the chart does not have."""
    layout = Layout(tmp_path)
    StateFile(layout).save(snapshot)
    assert read_recorded(layout) is None
    assert StateFile(layout).load() is None
    assert layout.state_file.with_name("state.json.damaged").exists()
    assert why in caplog.text


def test_a_full_disk_is_an_error_and_keeps_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    state = StateFile(layout)
    state.save(FULL)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(TransientError, match="No space left"):
            state.save(replace(FULL, transitions=6))
    assert state.load() == FULL
    assert [each.name for each in layout.state_directory.iterdir()] == ["state.json"]


def test_a_read_only_directory_means_memory_only_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", read_only)
    state = StateFile(Layout(tmp_path))
    state.save(FULL)
    state.save(FULL)
    state.record({"at": 1})
    assert not state.durable
    assert [each.message for each in caplog.records if "memory only" in each.message] != []
    assert len(caplog.records) == 1


def test_the_history_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    state = StateFile(layout)
    padding = "x" * 250
    for number in range(5 * KEPT_ENTRIES):
        state.record({"n": number, "padding": padding})
        if number % 500 == 0:
            assert layout.history_file.stat().st_size < LARGEST_HISTORY + 1000
    assert [each["n"] for each in read_history(layout.history_file, most=3)] == [4997, 4998, 4999]


@pytest.mark.parametrize("kept", [[], [1]])
@pytest.mark.parametrize("torn", [b'{"n": 2, "fro', b"{", b"\0" * 100])
def test_a_torn_last_line_of_the_history_is_passed_over_and_goes(tmp_path: Path, kept: list[int], torn: bytes) -> None:
    layout = Layout(tmp_path)
    state = StateFile(layout)
    state.record({"n": 0})
    layout.history_file.write_bytes(b"")
    for each in kept:
        state.record({"n": each})
    with layout.history_file.open("ab") as stream:
        stream.write(torn)
    assert read_history(layout.history_file, most=10) == [{"n": each} for each in kept]
    state.record({"n": 3})
    lines = layout.history_file.read_bytes().splitlines()
    assert [json.loads(each)["n"] for each in lines] == [*kept, 3]
