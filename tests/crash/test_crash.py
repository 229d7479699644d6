"""The program is killed at moments spread over its journeys; each node gets where the others get."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.crash.conftest import ExplorerOf
from tests.crash.explore import Explorer, scattered, spread
from tests.crash.server import WatchedServer
from tests.crash.watch import Strike

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


def replaced(folder: str, name: str) -> list[str]:
    """What the replacement of a file goes through, each a moment at which a program may die."""
    temporary = f"{folder}/.{name}.….tmp"
    return [
        f"before openat {temporary}",
        f"before write {temporary}",
        f"torn write {temporary}",
        f"before fchmod {temporary}",
        f"before fsync {temporary}",
        f"before rename {folder}/{name}",
        f"before fsync {folder}",
    ]


async def strike(server: WatchedServer, explorer: Explorer, *strikes: Strike) -> None:
    for each in strikes:
        await explorer.strike(server, each)
    assert not explorer.violations, "\n".join(explorer.violations)
    # A journey may be a few moments shorter than the one that the numbers are from.
    assert explorer.points >= len(strikes) - 1


@pytest.mark.accepts("N2", "I1", "I2", "I3", "I6", "I7", "I8")
@pytest.mark.parametrize(("journey", "points"), [("bootstrap", 12), ("docker-only", 4), ("hook", 10), ("update", 6)])
async def test_killed_anywhere_it_gets_there(
    watched: WatchedServer, explorer_of: ExplorerOf, journey: str, points: int
) -> None:
    explorer = explorer_of(journey)
    arrival = await explorer.undisturbed(watched)
    await strike(watched, explorer, *spread(len(arrival.watch.moments), points))


@pytest.mark.accepts("N2", "I1")
async def test_killed_at_any_step_of_the_commit_or_of_its_record_it_gets_there(
    watched: WatchedServer, explorer_of: ExplorerOf
) -> None:
    steps = [*replaced("/etc/kubernetes", "kubelet.env"), "mkdir", *replaced("/var/lib/torcxd", "state.json")]
    await strike(watched, explorer_of("bootstrap"), *(f"{steps[0]} #1 +{later}" for later in range(len(steps))))


@pytest.mark.accepts("I7")
async def test_killed_while_it_asks_for_the_reboot_it_asks_once(
    watched: WatchedServer, explorer_of: ExplorerOf
) -> None:
    moments = [f"{which} sendto the bus: Reboot #1" for which in ("before", "torn", "unanswered")]
    await strike(watched, explorer_of("bootstrap"), *moments)


@pytest.mark.accepts("N2", "A27")
async def test_killed_while_it_answers_the_operator_it_answers_once(
    watched: WatchedServer, explorer_of: ExplorerOf
) -> None:
    """The answer, and the event about it, are the last that the hook tells the API server."""
    explorer = explorer_of("hook")
    arrival = await explorer.undisturbed(watched)
    told = [str(each) for each in arrival.watch.moments if each.call.where == "the API server: TLS data"]
    await strike(watched, explorer, *told[-6:])


@pytest.mark.accepts("N2")
async def test_killed_again_while_it_recovers_it_gets_there(watched: WatchedServer, explorer_of: ExplorerOf) -> None:
    explorer = explorer_of("bootstrap")
    assert await explorer.strike(watched, "before fsync /etc/torcx/profiles #1", 30)
    assert not explorer.violations, "\n".join(explorer.violations)


async def test_every_step_of_every_durable_file_is_a_moment(watched: WatchedServer, explorer_of: ExplorerOf) -> None:
    arrival = await explorer_of("bootstrap").undisturbed(watched)
    kinds = {each.kind for each in arrival.watch.moments}
    for folder, name in [
        ("/etc/kubernetes", "kubelet.env"),
        ("/etc/torcx", "next-profile"),
        ("/etc/torcx/profiles", "tectonic.json"),
        ("/var/lib/torcxd", "state.json"),
        ("/var/lib/torcx/torcxd-staging", "sha512-….validator"),
    ]:
        assert {*replaced(folder, name)} <= kinds
    assert {*_LINKED, *_TOLD} <= kinds


def test_the_order_of_all_moments_leaves_none_out() -> None:
    for last in (1, 2, 10, 407, 1000):
        assert sorted(scattered(last)) == list(range(1, last + 1))
    # Its first tenth is all over it.
    first = sorted([0, *list(scattered(1000))[:100], 1001])
    assert max(after - before for before, after in pairwise(first)) < 50
