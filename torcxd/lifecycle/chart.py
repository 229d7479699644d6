"""The chart of states as data: parsed, and validated so that a mistake in it is found at load, not at three in the
morning.

The format is described at the head of ``states/lifecycle.yaml``. transitions itself accepts unknown destinations,
callbacks and YAML's booleans (a state called ``off``) without a word, hence the checks here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from torcxd.errors import ConfigurationError

KIND: Final = "torcxd-chart-v1"
EVERY: Final = "*"
SAME: Final = "="


@dataclass(frozen=True, slots=True)
class State:
    name: str
    effect: str
    means: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the chart, for one source.

    :param dest: a state's name, or None when the machine stays where it is.
    """

    trigger: str
    source: str
    dest: str | None
    guards: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A validated chart.

    :param rows: the transitions as written, with ``*`` and lists of sources: what a diagram draws.
    """

    initial: str
    states: tuple[State, ...]
    rows: tuple[tuple[tuple[str, ...], Transition], ...]

    def state(self, name: str) -> State:
        """The state called *name*. Raises ``KeyError``."""
        for each in self.states:
            if each.name == name:
                return each
        raise KeyError(name)

    def transitions(self) -> Iterator[Transition]:
        """Every transition, one for each source, in the order in which their guards are tried."""
        names = tuple(each.name for each in self.states)
        for sources, row in self.rows:
            for source in names if sources == (EVERY,) else sources:
                yield Transition(row.trigger, source, row.dest, row.guards, row.because)


def parse_chart(
    text: str,
    where: str,
    *,
    triggers: Collection[str],
    guards: Collection[str],
    effects: Collection[str],
) -> Chart:
    """Parse and validate a chart.

    :param where: the file's name, for messages.
    :param triggers, guards, effects: the names that the program knows; the chart may use no others, and must use
        every trigger.
    :raises ConfigurationError: naming the file and the row.
    """
    reader = _Reader(where)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise reader.error("", f"is not YAML: {error}") from error
    top = reader.mapping(document, "", required={"kind", "initial", "states", "transitions"})
    if top["kind"] != KIND:
        raise reader.error("kind", f"is {top['kind']!r}, expected {KIND!r}")
    states = tuple(_state(reader, each, f"states[{i}]", effects) for i, each in enumerate(reader.rows(top, "states")))
    names = [each.name for each in states]
    for name in names:
        if names.count(name) > 1:
            raise reader.error("states", f"names {name!r} twice")
    initial = reader.text(top["initial"], "initial")
    if initial not in names:
        raise reader.error("initial", f"names no state: {initial!r}")
    rows = tuple(
        _row(reader, each, f"transitions[{i}]", names, triggers, guards)
        for i, each in enumerate(reader.rows(top, "transitions"))
    )
    chart = Chart(initial, states, rows)
    _check_reachable(reader, chart)
    _check_order(reader, chart)
    unused = sorted(set(triggers) - {row.trigger for _, row in rows})
    if unused:
        raise reader.error("transitions", f"never uses the triggers {', '.join(unused)}")
    return chart


def _state(reader: _Reader, row: object, at: str, effects: Collection[str]) -> State:
    fields = reader.mapping(row, at, required={"name", "effect", "means"})
    effect = reader.text(fields["effect"], f"{at}.effect")
    if effect not in effects:
        raise reader.error(f"{at}.effect", f"names no effect: {effect!r}; there are {', '.join(sorted(effects))}")
    return State(reader.text(fields["name"], f"{at}.name"), effect, reader.text(fields["means"], f"{at}.means"))


def _row(
    reader: _Reader,
    row: object,
    at: str,
    states: Collection[str],
    triggers: Collection[str],
    guards: Collection[str],
) -> tuple[tuple[str, ...], Transition]:
    fields = reader.mapping(row, at, required={"trigger", "source", "dest", "because"}, optional={"guards"})
    trigger = reader.text(fields["trigger"], f"{at}.trigger")
    if trigger not in triggers:
        raise reader.error(f"{at}.trigger", f"names no trigger: {trigger!r}")
    given = fields["source"]
    sources = tuple(reader.text(each, f"{at}.source") for each in (given if isinstance(given, list) else [given]))
    if sources != (EVERY,):
        for each in sources:
            if each not in states:
                raise reader.error(f"{at}.source", f"names no state: {each!r}")
    dest = reader.text(fields["dest"], f"{at}.dest")
    if dest != SAME and dest not in states:
        raise reader.error(f"{at}.dest", f"names no state: {dest!r}")
    names = fields.get("guards", [])
    if not isinstance(names, list):
        raise reader.error(f"{at}.guards", "must be a list")
    for each in names:
        if reader.text(each, f"{at}.guards") not in guards:
            raise reader.error(f"{at}.guards", f"names no guard: {each!r}; there are {', '.join(sorted(guards))}")
    because = reader.text(fields["because"], f"{at}.because")
    return sources, Transition(trigger, ",".join(sources), None if dest == SAME else dest, tuple(names), because)


def _check_reachable(reader: _Reader, chart: Chart) -> None:
    reached = {chart.initial}
    while True:
        grown = reached | {each.dest for each in chart.transitions() if each.source in reached and each.dest}
        if grown == reached:
            break
        reached = grown
    lost = [each.name for each in chart.states if each.name not in reached]
    if lost:
        raise reader.error("states", f"cannot be reached from {chart.initial!r}: {', '.join(lost)}")


def _check_order(reader: _Reader, chart: Chart) -> None:
    """A row behind one without guards, for the same source and trigger, would never be taken."""
    closed: set[tuple[str, str]] = set()
    for each in chart.transitions():
        key = (each.source, each.trigger)
        if key in closed:
            raise reader.error(
                "transitions", f"can never take {each.trigger!r} from {each.source!r} because {each.because!r}"
            )
        if not each.guards:
            closed.add(key)


class _Reader:
    """Reads fields of the document and words the errors."""

    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, at: str, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.where}: {at or 'the chart'} {what}")

    def mapping(
        self, value: object, at: str, *, required: set[str], optional: Collection[str] = frozenset()
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(at, "must be a mapping")
        unknown = set(value) - required - set(optional)
        if unknown:
            raise self.error(at, f"has unknown keys: {', '.join(sorted(map(str, unknown)))}")
        if required - set(value):
            raise self.error(at, f"lacks {', '.join(sorted(required - set(value)))}")
        return value

    def rows(self, document: dict[str, Any], key: str) -> list[object]:
        value = document[key]
        if not isinstance(value, list) or not value:
            raise self.error(key, "must be a list with at least one row")
        return value

    def text(self, value: object, at: str) -> str:
        if isinstance(value, bool):
            raise self.error(at, f"reads as the boolean {value}: YAML takes on, off, yes and no for that; quote it")
        if not isinstance(value, str) or not value:
            raise self.error(at, f"must be a name, not {value!r}")
        return value
