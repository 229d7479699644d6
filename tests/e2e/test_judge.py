"""An end-to-end test fails where its node breaks an invariant in the end, whatever else it looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.machine import Machine
from tests.e2e.tectonic import KUBELET_ENV, OLD_OS, WANTED_DOCKER, tectonic_site

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("path", "content", "invariant"),
    [
        (KUBELET_ENV, 'KUBELET_IMAGE_TAG="v1.8.4', "I1"),
        (f"/var/lib/torcx/store/{OLD_OS}/docker:17.03.torcx.tgz", "not what was signed", "I2"),
        ("/var/lib/torcxd/state.json", "{}", "I8"),
        ("/etc/torcx/next-profile", "nobody\n", "N2"),
    ],
)
async def test_a_test_fails_whose_node_breaks_an_invariant(
    new_machine: Callable[[], Machine], path: str, content: str, invariant: str
) -> None:
    with pytest.raises(AssertionError, match=f"{invariant}: "):
        # A node that never ran will do: who broke it does not matter here.
        async with tectonic_site(machine := new_machine(), docker=WANTED_DOCKER, update=False):
            machine.write(path, content)


async def test_a_test_succeeds_whose_node_breaks_none(new_machine: Callable[[], Machine]) -> None:
    async with tectonic_site(new_machine(), docker=WANTED_DOCKER, update=False) as site:
        assert site.judge() == []
