"""The chart: a mistake in it is found when it is loaded, with the file and the row."""

from __future__ import annotations

import pytest

from torcxd.charts import chart_file, load_chart
from torcxd.errors import ConfigurationError
from torcxd.lifecycle.chart import Chart, parse_chart
from torcxd.lifecycle.diagram import dot, mermaid

GOOD = """
kind: torcxd-chart-v1
initial: here
states:
  - {name: here, effect: look, means: looks}
  - {name: there, effect: look, means: looks too}
transitions:
  - {trigger: go, source: here, dest: there, guards: [may], because: it may}
  - {trigger: go, source: here, dest: "=", because: it may not}
  - {trigger: back, source: "*", dest: here, because: it wants}
"""


def parse(text: str) -> Chart:
    return parse_chart(text, "x.yaml", triggers={"go", "back"}, guards={"may"}, effects={"look"})


def test_a_good_chart_expands_every_source_in_the_order_of_its_rows() -> None:
    found = [(each.trigger, each.source, each.dest, each.guards) for each in parse(GOOD).transitions()]
    assert found == [
        ("go", "here", "there", ("may",)),
        ("go", "here", None, ()),
        ("back", "here", "here", ()),
        ("back", "there", "here", ()),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torcxd-chart-v1", "other", "kind is 'other'"),
        ("initial: here", "initial: nowhere", "initial names no state: 'nowhere'"),
        ("name: there", "name: off", r"states\[1\].name reads as the boolean False"),
        ("name: there", "name: here", "names 'here' twice"),
        ("effect: look, means: looks}", "effect: dance, means: looks}", r"states\[0\].effect names no effect: 'dance'"),
        (
            "trigger: go, source: here, dest: there",
            "trigger: fly, source: here, dest: there",
            "names no trigger: 'fly'",
        ),
        ("dest: there", "dest: elsewhere", r"transitions\[0\].dest names no state: 'elsewhere'"),
        ("source: here, dest: there", "source: moon, dest: there", "source names no state: 'moon'"),
        ("guards: [may]", "guards: [must]", "names no guard: 'must'"),
        ("guards: [may]", "guards: may", "guards must be a list"),
        ("guards: [may], because", "because", "can never take 'go' from 'here' because 'it may not'"),
        ("means: looks too}", "means: looks too, colour: red}", "has unknown keys: colour"),
        (", because: it wants}", "}", r"transitions\[2\] lacks because"),
        ("dest: there", 'dest: "="', "cannot be reached from 'here': there"),
        ('  - {trigger: back, source: "*", dest: here, because: it wants}\n', "", "never uses the triggers back"),
        ("states:", "states: 3\nwas:", "unknown keys: was"),
        ("kind: torcxd", "kind: [torcxd", "is not YAML"),
    ],
)
def test_a_bad_chart_is_refused_with_the_place_and_the_reason(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse(GOOD.replace(old, new, 1))
    assert "x.yaml" in caught.value.message
    assert caught.value.exit_code == 78


def test_the_installed_chart_is_valid_and_has_the_documented_states() -> None:
    names = [each.name for each in load_chart().states]
    assert names == ["gathering", "fetching", "verified", "staged", "reboot-pending", "done"]


def test_the_generated_diagrams_in_the_repository_are_not_stale() -> None:
    chart = load_chart()
    folder = chart_file("lifecycle").parent
    readme = (folder.parent / "README.md").read_text(encoding="utf-8")
    advice = "run: make diagrams"
    assert (folder / "lifecycle.mmd").read_text(encoding="utf-8") == mermaid(chart), advice
    assert (folder / "lifecycle.dot").read_text(encoding="utf-8") == dot(chart), advice
    assert f"```mermaid\n{mermaid(chart)}```" in readme, advice


def test_both_diagrams_show_each_state_and_each_move() -> None:
    chart = load_chart()
    moves = [(source, row) for sources, row in chart.rows for source in sources if row.dest is not None]
    assert mermaid(chart).count("-->") == len(moves) + 1
    assert dot(chart).count("->") == len(moves) + 1
    for state in chart.states:
        assert f'"{state.name}"' in mermaid(chart)
        assert f'"{state.name}"' in dot(chart)
