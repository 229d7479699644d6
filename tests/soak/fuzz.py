"""Coverage-guided fuzzing of every parser that reads what comes from outside."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from tests.explored import Explored
from tests.fuzz import engine

NAME: Final = "fuzzing"
HELP: Final = "libFuzzer on each parser of what comes from outside"
# A dozen seconds for each of some twenty targets: where hours find more, HOURS gives them.
SHARE: Final = 240.0
# How much more time a target gets that a stranger can write to.
_WEIGHT: Final = 3


def run(budget: float, explored: Explored) -> list[str]:
    """Fuzz each target for its share of *budget*; returns a line for each finding."""
    names = engine.names()
    weights = {name: _WEIGHT if engine.is_important(name) else 1 for name in names}
    started = time.monotonic()
    # Seconds that the targets took besides their search: each loads and instruments modules, and runs its corpus.
    besides = 0.0
    violations = []
    print(f"{'target':14} {'executions':>10} {'edges':>6} {'seconds':>7}", flush=True)
    for position, name in enumerate(names):
        left = budget - (time.monotonic() - started)
        # What an earlier one has not used goes to the later ones.
        left -= besides / max(position, 1) * (len(names) - position)
        seconds = int(left * weights[name] / sum(weights[each] for each in names[position:]))
        if seconds < 1:
            print(f"the time is over: {position} of {len(names)} targets were fuzzed", flush=True)
            break
        begun = time.monotonic()
        finding = Path("dist") / f"fuzzing-{name}-"
        finding.parent.mkdir(exist_ok=True)
        flags = [f"-max_total_time={seconds}", f"-artifact_prefix={finding}"]
        outcome = engine.fuzz([name], flags, quiet=True)[name]
        took = time.monotonic() - begun
        besides += took - seconds
        print(f"{name:14} {outcome.executions:10,} {outcome.coverage:6,} {took:7.0f}", flush=True)
        explored.count("fuzzing", "executions", outcome.executions)
        explored.count("fuzzing", "edges", outcome.coverage)
        if outcome.failed:
            print(outcome.said, flush=True)
            found = max(finding.parent.glob(f"{finding.name}*"), key=lambda each: each.stat().st_mtime, default=None)
            violations.append(f"{name}: python -m tests.fuzz {name} --replay {found}" if found else f"{name}: it ended")
    return violations
