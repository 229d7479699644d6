"""The history: bounded, newest kept, and no entry lost to a torn line or to what others wrote into it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.properties.examples import examples, folder, tried
from torcxd.daemon import statefile
from torcxd.daemon.statefile import StateFile, read_history
from torcxd.paths import Layout

# Small, so that it is cut back in an example.
KEPT = 6
LARGEST = 1200
# Of one entry as it is made below, as JSON.
LARGEST_ENTRY = 600
# The part of a line that a killed process leaves.
LARGEST_TORN = 40
FOREIGN = st.sampled_from([b"{", b"[]", b"null", b"\xff\xfe", b"[" * 3000, b'{"at":', b"", b"\r"])


class History(RuleBasedStateMachine):
    """One history, and the entries that must be found in it."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = patch.multiple(statefile, KEPT_ENTRIES=KEPT, LARGEST_HISTORY=LARGEST)
        self.bounds.start()
        self.directory = folder()
        self.layout = Layout(Path(self.directory.name))
        self.path = self.layout.history_file
        self.entries: list[dict[str, Any]] = []
        # Lines that were written since, and are no entries.
        self.foreign = 0
        self.flooded = False
        self.number = 0
        tried()

    def teardown(self) -> None:
        self.directory.cleanup()
        self.bounds.stop()

    @rule(text=st.text(max_size=80), again=st.integers(1, 4))
    def record(self, text: str, again: int) -> None:
        for _ in range(again):
            self.number += 1
            entry = {"at": self.number, "because": text}
            StateFile(self.layout).record(entry)
            self.entries.append(entry)

    @rule(share=st.floats(0, 1, exclude_max=True))
    def killed_while_recording(self, share: float) -> None:
        """A part of a line, without its end."""
        line = json.dumps({"at": -1, "because": "torn"}).encode()
        torn = line[: int(share * len(line))]
        if torn and self.path.exists():
            with self.path.open("ab") as file:
                file.write(torn)

    @rule(line=FOREIGN)
    def somebody_writes(self, line: bytes) -> None:
        if self.path.exists() and self.path.read_bytes().endswith(b"\n"):
            with self.path.open("ab") as file:
                file.write(line + b"\n")
            self.foreign += 1
            self.flooded |= len(line) > LARGEST // 4

    @invariant()
    def the_newest_are_there_in_order(self) -> None:
        if not self.path.exists():
            assert not self.entries
            return
        found = [each for each in read_history(self.path, most=10**6) if each["at"] > 0]
        assert found == self.entries[len(self.entries) - len(found) :]
        # A line of somebody else's that fills the history takes the place of what was before it.
        if not self.flooded:
            assert len(found) >= min(self.fitting(), KEPT) - self.foreign

    def fitting(self) -> int:
        """How many of the newest entries fit into what is left of a history that is cut."""
        sizes = [len(json.dumps(each, separators=(",", ":"))) + 1 for each in reversed(self.entries)]
        # Part of a line that was torn may be among them.
        return sum(total <= LARGEST // 2 - LARGEST_TORN for total in itertools.accumulate(sizes))

    @invariant()
    def it_is_bounded(self) -> None:
        if self.path.exists() and not self.foreign:
            assert self.path.stat().st_size <= max(LARGEST, KEPT * LARGEST_ENTRY) + LARGEST_ENTRY

    @invariant()
    def as_many_as_asked_for(self) -> None:
        if self.path.exists():
            assert len(read_history(self.path, most=2)) <= 2


TestHistory = History.TestCase
TestHistory.settings = examples(30, steps=20)
