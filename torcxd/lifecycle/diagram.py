"""Draws a chart: Mermaid for the documentation, Graphviz dot for everything else.

Only the transitions that move are drawn; what stays in its state (failures, progress) would hide the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from torcxd.lifecycle.chart import EVERY, Chart, Transition

# The one pseudo-state of the drawings: "from every state".
_ANYWHERE = "anywhere"


def _moves(chart: Chart) -> Iterator[tuple[str, Transition]]:
    for sources, row in chart.rows:
        for source in sources:
            if row.dest is not None:
                yield (_ANYWHERE if source == EVERY else source), row


def _label(row: Transition) -> str:
    guards = f" [{', '.join(row.guards)}]" if row.guards else ""
    return f"{row.trigger}{guards}".replace("_", " ")


def mermaid(chart: Chart) -> str:
    """The chart as a Mermaid state diagram (``stateDiagram-v2``)."""
    # Mermaid's identifiers take no dash; the names shown do.
    names = {each.name: each.name.replace("-", "_") for each in chart.states} | {_ANYWHERE: _ANYWHERE}
    lines = ["stateDiagram-v2", "    direction TB"]
    lines += [f'    state "{each.name}" as {names[each.name]}' for each in chart.states]
    lines.append(f'    state "(from every state)" as {_ANYWHERE}')
    lines.append(f"    [*] --> {names[chart.initial]}")
    lines += [f"    {names[source]} --> {names[row.dest or source]}: {_label(row)}" for source, row in _moves(chart)]
    return "\n".join(lines) + "\n"


def dot(chart: Chart) -> str:
    """The chart in Graphviz's dot language."""
    lines = [
        "digraph lifecycle {",
        "    rankdir=TB;",
        '    node [shape=box, style=rounded, fontname="sans-serif"];',
        '    edge [fontname="sans-serif", fontsize=10];',
        '    start [shape=point, label=""];',
        f'    {_ANYWHERE} [label="(from every state)", style=dashed];',
    ]
    lines += [f'    "{each.name}" [tooltip="{each.means}"];' for each in chart.states]
    lines.append(f'    start -> "{chart.initial}";')
    lines += [f'    "{source}" -> "{row.dest}" [label="{_label(row)}"];' for source, row in _moves(chart)]
    return "\n".join([*lines, "}"]) + "\n"
