"""The model can fail: of each of these mistakes in the chart or the core, it finds what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

import pytest

from tests.explored import Explored
from tests.model.lives import Lives
from tests.model.model import Model
from tests.model.scopes import BOOTSTRAP, QUICK, UNTOLD, Scope
from tests.model.search import Search
from torcxd.charts import load_chart
from torcxd.daemon.process import DAEMON
from torcxd.lifecycle import duties, guards, memory
from torcxd.lifecycle.chart import Chart, Transition
from torcxd.lifecycle.facts import OsUpdate
from torcxd.lifecycle.snapshot import Snapshot

Breaks = Callable[[pytest.MonkeyPatch, Chart], Chart]
_BOOTSTRAP: Final = Scope("bootstrap", BOOTSTRAP, most_boots=2, kubes=1, damage=True, most_states=4000)
_DAEMON: Final = replace(_BOOTSTRAP, name="daemon", policy=DAEMON)
_UNTOLD: Final = replace(_BOOTSTRAP, name="hook without annotation", policy=UNTOLD)
_SUPERSEDED: Final = replace(_BOOTSTRAP, damage=False, updates=2, marks=True)
_MARKED: Final = replace(_DAEMON, damage=False, marks=True)
_STUCK: Final = replace(_BOOTSTRAP, most_boots=None, damage=False, vain=True)
# A mistake that breadth does not come to in so many states is met within so many steps at random.
_STEPS: Final = 600


def without_row(because: str) -> Breaks:
    """The chart lacks a row."""
    return _edited(because, lambda _: None)


def without_guards(because: str) -> Breaks:
    """A row is taken whatever its guards say."""
    return _edited(because, lambda row: replace(row, guards=()))


def leads_to(because: str, dest: str | None) -> Breaks:
    """A row leads elsewhere."""
    return _edited(because, lambda row: replace(row, dest=dest))


def _edited(because: str, edit: Callable[[Transition], Transition | None]) -> Breaks:
    def breaks(_: pytest.MonkeyPatch, chart: Chart) -> Chart:
        assert because in [row.because for _, row in chart.rows], f"the chart has no row because {because!r}"
        edited = [(sources, edit(row) if row.because == because else row) for sources, row in chart.rows]
        return replace(chart, rows=tuple((sources, row) for sources, row in edited if row is not None))

    return breaks


def patched(owner: object, name: str, mistake: object) -> Breaks:
    """A function of the core is replaced."""

    def breaks(patch: pytest.MonkeyPatch, chart: Chart) -> Chart:
        patch.setattr(owner, name, mistake)
        return chart

    return breaks


def guard_says(name: str, answer: bool) -> Breaks:
    """A guard always answers the same."""

    def breaks(patch: pytest.MonkeyPatch, chart: Chart) -> Chart:
        patch.setitem(guards.GUARDS, name, lambda *_: answer)
        return chart

    return breaks


def _none_if_unknown(_: Snapshot, seen: OsUpdate) -> OsUpdate:
    return OsUpdate(None, pending=False) if seen.unknown else seen


# The mistake, where it is looked for, and how what is found begins.
MISTAKES: Final[dict[str, tuple[Breaks, Scope, str]]] = {
    "nobody compares": (guard_says("boot_needed", False), _BOOTSTRAP, "I1: done"),
    "anything is the recorded set": (guard_says("runs_the_recorded_set", True), _BOOTSTRAP, "I1: done"),
    "nothing is placed": (leads_to("each image has its signed digest", "staged"), _BOOTSTRAP, "no way out"),
    "a lost staging is not expected": (without_row("a staged image is gone"), _BOOTSTRAP, "illegal: staging_lost"),
    "a lost set is not expected": (without_row("the node no longer has the set"), _BOOTSTRAP, "illegal: drifted"),
    "boots without end": (without_row("another boot does not help"), _STUCK, "compared in staged: Assert"),
    "boots in vain have no bound": (patched(guards, "MOST_BOOTS", 99), _STUCK, "I7: a reboot"),
    "a boot is not verified": (patched(memory, "awaits_boot", lambda *_: False), _STUCK, "I7: a reboot"),
    "Docker's data are kept": (patched(duties, "changes_docker", lambda *_: False), _BOOTSTRAP, "I6: Docker"),
    "Docker's data are never kept": (patched(duties, "changes_docker", lambda *_: True), _BOOTSTRAP, "I6: the data"),
    "no retry is due": (without_row("the back-off is over"), _BOOTSTRAP, "illegal: retry_due"),
    "another OS update is none": (guard_says("other_os_update", False), _DAEMON, "no way out"),
    "a cluster that moves is overheard": (
        guard_says("other_cluster", False),
        replace(_DAEMON, kubes=2, damage=False),
        "no way out",
    ),
    "a drifted node stays": (
        leads_to("the node no longer has the set", None),
        _BOOTSTRAP,
        "reboot-pending: nothing runs",
    ),
    "everything is prepared": (patched(duties, "unprepared", lambda _: ""), _UNTOLD, "at a start: I3"),
    "any installation is the recorded one": (patched(OsUpdate, "names", lambda *_: True), _SUPERSEDED, "I4: a reboot"),
    "no installation is the recorded one": (patched(OsUpdate, "names", lambda *_: False), _MARKED, "N3: "),
    "an unknown OS update is none": (patched(memory, "known_update", _none_if_unknown), _DAEMON, "N3: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str, explored: Explored, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, scope, expected = MISTAKES[name]
    model = Model(breaks(monkeypatch, load_chart()), scope)
    search = Search(model, first=True)
    search.run()
    violations = search.violations
    if not violations:
        lives = Lives(model, first=True)
        lives.run(Random(0), _STEPS, look=20)
        violations = lives.violations
    assert violations
    found = violations[0].removeprefix(f"{scope.name}: ")
    assert found.startswith(expected), found
    explored.count("core, mistakes", "found")


def test_a_dead_end_is_found_where_all_is_explored(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_is_placed, _, _ = MISTAKES["nothing is placed"]
    search = Search(Model(nothing_is_placed(monkeypatch, load_chart()), QUICK[0]))
    search.run()
    assert search.complete
    assert [each for each in search.violations if each.startswith("bootstrap: no way out of ")]
