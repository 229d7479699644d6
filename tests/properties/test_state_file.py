"""The state file: what is saved is loaded, and whatever else happens to it is noticed (I8)."""

from __future__ import annotations

import json
import logging
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.properties.examples import examples, folder, tried
from torcxd.charts import load_chart
from torcxd.daemon import document
from torcxd.daemon.statefile import StateFile, read_recorded
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.facts import Image, OsUpdate, Plan, Target
from torcxd.lifecycle.snapshot import Failure, RebootNote, Snapshot
from torcxd.paths import Layout

TEXT = st.text(max_size=12)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(min_value=0, max_value=2**53)
TARGETS = st.builds(
    Target,
    board=TEXT,
    current_os=TEXT,
    next_os=st.none() | TEXT,
    kube_version=TEXT,
    kube_source=TEXT,
    docker_preferences=st.lists(TEXT, max_size=3).map(tuple),
    mappings_source=TEXT,
    stage=st.booleans(),
    next_pending=st.booleans(),
)
IMAGES = st.builds(
    Image,
    os_version=TEXT,
    name=TEXT,
    reference=TEXT,
    digest=st.builds(Digest, algorithm=TEXT, hex=TEXT),
    urls=st.lists(TEXT, max_size=2).map(tuple),
)
PLANS = st.builds(
    Plan,
    target=TARGETS,
    boot_os=TEXT,
    docker=st.none() | TEXT,
    images=st.lists(IMAGES, max_size=2).map(tuple),
    resolved=st.booleans(),
)
SNAPSHOTS = st.builds(
    Snapshot,
    state=st.sampled_from([each.name for each in load_chart().states]),
    since=TIMES,
    boot_id=TEXT,
    plan=st.none() | PLANS,
    verify_boot=st.booleans(),
    failure=st.none() | st.builds(Failure, TEXT, TEXT, TEXT, TIMES, TIMES, COUNTS, st.booleans()),
    next_try=st.none() | TIMES,
    waiting_for=TEXT,
    waiting_until=st.none() | TIMES,
    reboot=st.none() | st.builds(RebootNote, TEXT, TEXT, st.booleans(), st.none() | TIMES),
    boots=st.dictionaries(TEXT, COUNTS, max_size=2),
    docker_seen=st.none() | TEXT,
    published_at=st.none() | TIMES,
    os_update=st.none() | st.builds(OsUpdate, st.none() | TEXT, st.booleans()),
    hook_asked=st.booleans(),
    hook_answered=st.booleans(),
    hook_answered_at=st.none() | TIMES,
    transitions=COUNTS,
    planned_in=TEXT,
).filter(lambda each: each.plan is not None or each.state == load_chart().initial)


@st.composite
def damages(draw: st.DrawFn) -> Any:
    """What can become of a file's bytes: some changed, removed, added, or all behind a place lost or zeroed."""
    kind = draw(st.sampled_from(["change", "cut", "zero", "insert", "remove", "swap"]))
    at, other = draw(st.floats(0, 1, exclude_max=True)), draw(st.floats(0, 1, exclude_max=True))
    byte = draw(st.binary(min_size=1, max_size=4))

    def damage(data: bytes) -> bytes:
        where, to = int(at * len(data)), int(other * len(data))
        match kind:
            case "change":
                return data[:where] + byte + data[where + len(byte) :]
            case "cut":
                return data[:where]
            case "zero":
                return data[:where] + bytes(len(data) - where)
            case "insert":
                return data[:where] + byte + data[where:]
            case "remove":
                return data[:where] + data[where + len(byte) :]
            case _:
                low, high = sorted((where, to))
                return data[high:] + data[low:high] + data[:low]

    return damage


class Life(RuleBasedStateMachine):
    """One state file, through saves, damage, new processes and what killed ones left."""

    def __init__(self) -> None:
        super().__init__()
        self.log = logging.getLogger("torcxd.daemon.statefile")
        self.log.setLevel(logging.ERROR)
        self.directory = folder()
        self.layout = Layout(Path(self.directory.name))
        self.path = self.layout.state_file
        self.aside = self.path.with_name("state.json.damaged")
        self.state = StateFile(self.layout)
        # What may be loaded: what was saved last, and nothing else.
        self.saved: Snapshot | None = None
        self.damaged: bytes | None = None
        tried()

    def teardown(self) -> None:
        self.log.setLevel(logging.NOTSET)
        self.directory.cleanup()

    @rule(snapshot=SNAPSHOTS)
    def save(self, snapshot: Snapshot) -> None:
        self.state.save(snapshot)
        self.saved, self.damaged = snapshot, None

    @rule(snapshot=SNAPSHOTS, written=st.floats(0, 1))
    def killed_while_saving(self, snapshot: Snapshot, written: float) -> None:
        """A part of the temporary file is all that is left of it."""
        if self.path.parent.exists():
            (self.path.parent / ".state.json.x.tmp").write_bytes(b'{"schema": 1, "sna'[: int(18 * written)])

    @rule(damage=damages())
    def damage(self, damage: Any) -> None:
        if self.path.exists():
            self.path.write_bytes(damage(self.path.read_bytes()))
            self.damaged = self.path.read_bytes()

    @rule()
    def start(self) -> None:
        self.state = StateFile(self.layout)
        loaded = self.state.load()
        if self.damaged is not None and loaded is None:
            # It is kept as it was, under the other name.
            assert self.aside.read_bytes() == self.damaged
            assert not self.path.exists()
            self.saved = None
        else:
            # Damage to blanks between the values damages nothing.
            assert loaded == self.saved
        self.damaged = None

    @invariant()
    def a_reader_sees_the_last_one_or_nothing(self) -> None:
        seen = read_recorded(self.layout)
        assert seen == self.saved if self.damaged is None else seen in (self.saved, None)

    @invariant()
    def it_is_for_its_owner_to_write(self) -> None:
        if self.path.exists() and self.damaged is None:
            assert self.path.stat().st_mode & 0o777 == 0o644


TestLife = pytest.mark.accepts("I8")(Life.TestCase)
TestLife.settings = examples(25, steps=15)


@examples(60)
@given(snapshot=SNAPSHOTS, schema=st.integers() | st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=1))
@pytest.mark.accepts("I8")
def test_another_schema_is_kept_aside_however_whole_it_is(snapshot: Snapshot, schema: Any) -> None:
    tried()
    if schema == document.SCHEMA:
        return
    with folder() as directory:
        layout = Layout(Path(directory))
        state = StateFile(layout)
        state.save(snapshot)
        envelope = json.loads(layout.state_file.read_bytes())
        layout.state_file.write_text(json.dumps({**envelope, "schema": schema}))
        assert state.load() is None
        assert not os.path.lexists(layout.state_file)
        assert json.loads((layout.state_directory / "state.json.damaged").read_bytes())["schema"] == schema


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@examples(150)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_content_comes_out_as_it_went_in(content: dict[str, Any]) -> None:
    tried()
    assert document.decode(document.encode(content)) == content


@examples(150)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), damages())
@pytest.mark.accepts("I8")
def test_any_damage_is_noticed(content: dict[str, Any], damage: Any) -> None:
    tried()
    try:
        found = document.decode(damage(document.encode(content)))
    except document.DamagedDocument:
        return
    assert found == content


@examples(60)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_no_other_checksum_passes(content: dict[str, Any], checksum: str) -> None:
    tried()
    envelope = json.loads(document.encode(content))
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    assert envelope["sha256"] == sha256(canonical).hexdigest()
    if checksum != envelope["sha256"]:
        with pytest.raises(document.DamagedDocument, match="checksum"):
            document.decode(json.dumps({**envelope, "sha256": checksum}).encode())
