"""The core, explored: no event that can be delivered is illegal, no state a dead end, no invariant broken."""

from __future__ import annotations

from random import Random

import pytest

from tests.explored import Explored
from tests.model.explore import Explorer
from tests.model.scopes import QUICK, WALKED
from tests.model.shell import Scope
from torcxd.charts import load_chart
from torcxd.lifecycle.guards import GUARDS

# Steps of the walks of each scope: with fewer some row of the chart is not taken.
STEPS = 700


@pytest.mark.accepts("I1", "I3", "I4", "I6", "I7", "N2", "N5")
@pytest.mark.parametrize("scope", QUICK, ids=lambda scope: scope.name)
def test_every_event_in_every_state(scope: Scope, explored: Explored) -> None:
    explorer = Explorer(load_chart(), scope)
    explorer.run()
    assert not explorer.violations, "\n".join(explorer.violations)
    assert explorer.complete is (scope.most_states is None)
    explored.count(f"core, {scope.name}", "states", explorer.states)
    explored.count(f"core, {scope.name}", "transitions", explorer.transitions)


@pytest.mark.accepts("I1", "I3", "I4", "I6", "I7", "N2", "N4")
def test_long_lives_take_every_row_of_the_chart_and_get_every_answer_of_its_guards(explored: Explored) -> None:
    taken, guards = set(), set()
    for number, scope in enumerate(WALKED):
        explorer = Explorer(load_chart(), scope)
        explorer.walk(Random(number), STEPS)
        assert not explorer.violations, "\n".join(explorer.violations)
        taken |= explorer.taken
        guards |= explorer.guards
        explored.count("core, at random", "states", explorer.states)
        explored.count("core, at random", "transitions", explorer.transitions)
    rows = {(each.trigger, each.because) for each in load_chart().transitions()}
    assert rows == {(each.trigger, each.because) for each in taken}
    assert guards == {(name, answer) for name in GUARDS for answer in (False, True)}
