"""The program is killed at moments spread over each of its journeys; each node gets where the others get."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.crash.explore import Explorer, scattered, spread
from tests.crash.server import WatchedServer
from tests.explored import Explored

# What a file that has to survive anything goes through, each a moment at which a program may die.
_REPLACED = [
    "before openat {folder}/.{name}.….tmp",
    "before write {folder}/.{name}.….tmp",
    "torn write {folder}/.{name}.….tmp",
    "before fchmod {folder}/.{name}.….tmp",
    "before fsync {folder}/.{name}.….tmp",
    "before rename {folder}/{name}",
    "before fsync {folder}",
]
_STAGING = "/var/lib/torcx/torcxd-staging/sha512-…"
_STORE = "/var/lib/torcx/store/1576.4.0"
_LINKED = [
    f"before openat {_STAGING}.part",
    f"before write {_STAGING}.part",
    f"torn write {_STAGING}.part",
    f"before fsync {_STAGING}.part",
    f"before rename {_STAGING}",
    f"before mkdir {_STORE}",
    f"before link {_STORE}/.docker:17.03.torcx.tgz.link.tmp",
    f"before rename {_STORE}/docker:17.03.torcx.tgz",
    f"before fsync {_STORE}",
    f"before unlink {_STAGING}",
]
_TOLD = ["before connect the bucket", "torn sendto the bucket: TLS data", "unanswered sendto the bus: Reboot"]


async def strike(server: WatchedServer, explored: Explored, journey: str, *moments: int | str) -> None:
    explorer = Explorer(journey)
    for each in moments:
        assert await explorer.strike(server, each), each
    explorer.count(explored)
    assert not explorer.violations, "\n".join(explorer.violations)


@pytest.mark.accepts("N2", "I1", "I2", "I3", "I6", "I7", "I8")
@pytest.mark.parametrize(("journey", "points"), [("bootstrap", 14), ("docker-only", 6), ("hook", 12), ("update", 8)])
async def test_killed_anywhere_it_gets_there(
    watched: WatchedServer, explored: Explored, journey: str, points: int
) -> None:
    arrival = await Explorer(journey).undisturbed(watched)
    # A journey may be a few moments shorter than the last one.
    await strike(watched, explored, journey, *spread(len(arrival.watch.moments) - 20, points))


@pytest.mark.accepts("I7")
@pytest.mark.parametrize("which", ["before", "torn", "unanswered"])
async def test_killed_while_it_asks_for_the_reboot_it_asks_once(
    watched: WatchedServer, explored: Explored, which: str
) -> None:
    await strike(watched, explored, "bootstrap", f"{which} sendto the bus: Reboot #1")


@pytest.mark.accepts("N2")
async def test_killed_again_while_it_recovers_it_gets_there(watched: WatchedServer) -> None:
    explorer = Explorer("bootstrap")
    assert await explorer.strike(watched, "before fsync /etc/torcx/profiles #1", 30)
    assert not explorer.violations, "\n".join(explorer.violations)


async def test_every_step_of_every_durable_file_is_a_moment(watched: WatchedServer) -> None:
    arrival = await Explorer("bootstrap").undisturbed(watched)
    kinds = {each.kind for each in arrival.watch.moments}
    for folder, name in [
        ("/etc/kubernetes", "kubelet.env"),
        ("/etc/torcx", "next-profile"),
        ("/etc/torcx/profiles", "tectonic.json"),
        ("/var/lib/torcxd", "state.json"),
        ("/var/lib/torcx/torcxd-staging", "sha512-….validator"),
    ]:
        assert {each.format(folder=folder, name=name) for each in _REPLACED} <= kinds
    assert {*_LINKED, *_TOLD} <= kinds


def test_the_order_of_all_moments_leaves_none_out() -> None:
    for last in (1, 2, 10, 407, 1000):
        assert sorted(scattered(last)) == list(range(1, last + 1))
    # Its first tenth is all over it.
    first = sorted([0, *list(scattered(1000))[:100], 1001])
    assert max(after - before for before, after in pairwise(first)) < 50
