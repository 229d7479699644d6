"""The core, explored: no event that can be delivered is illegal, no state a dead end, no invariant broken."""

from __future__ import annotations

from random import Random

import pytest

from tests.explored import Explored
from tests.model.lives import Lives
from tests.model.model import Model
from tests.model.scopes import QUICK, WALKED, Scope
from tests.model.search import Search
from torcxd.charts import load_chart
from torcxd.lifecycle.chart import Transition
from torcxd.lifecycle.guards import GUARDS

# Steps of the lives in each scope: with fewer some row of the chart is not taken.
STEPS = 700


@pytest.mark.accepts("I1", "I3", "I4", "I6", "I7", "N2", "N5")
@pytest.mark.parametrize("scope", QUICK, ids=lambda scope: scope.name)
def test_every_event_in_every_state(scope: Scope, explored: Explored) -> None:
    search = Search(Model(load_chart(), scope))
    search.run()
    assert not search.violations, "\n".join(search.violations)
    assert search.complete is (scope.most_states is None)
    explored.count(f"core, {scope.name}", "states", search.states)
    explored.count(f"core, {scope.name}", "transitions", search.transitions)


@pytest.mark.accepts("I1", "I3", "I4", "I6", "I7", "N2", "N4")
def test_long_lives_take_every_row_of_the_chart_and_get_every_answer_of_its_guards(explored: Explored) -> None:
    taken: set[Transition] = set()
    guards: set[tuple[str, bool]] = set()
    for number, scope in enumerate(WALKED):
        model = Model(load_chart(), scope, watches=True)
        lives = Lives(model)
        lives.run(Random(number), STEPS)
        assert not lives.violations, "\n".join(lives.violations)
        taken |= model.steps.taken
        guards |= model.steps.guards
        explored.count("core, at random", "states", lives.states)
        explored.count("core, at random", "transitions", lives.transitions)
    rows = {(each.trigger, each.because) for each in load_chart().transitions()}
    assert rows == {(each.trigger, each.because) for each in taken}
    assert guards == {(name, answer) for name in GUARDS for answer in (False, True)}
