"""Runs that are ended at any moment: the next one goes on, and the node ends up like an undisturbed one.

An adversary inside the process strikes at the first moment that it has not struck at before: at each line of the log,
and before and after each change of the file system. One node goes through all of them, run after run.
"""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tests.integration.bootstrap.bench import QUIET, UPDATING, Bench, OpenBench
from tests.integration.bootstrap.program import Adversary
from torcxd.sandbox.sandbox import Plot

# More strikes than there are moments: what would need more never ends.
MOST_STRIKES = 400


async def until_nothing_is_left_to_strike(node: Bench, adversary: Adversary) -> list[str]:
    """Run until a run ends by itself, through its reboots; returns the moments at which runs were ended.

    The node is judged after each run, and it never has kubelet.env before the end.
    """
    moments: list[str] = []
    for _ in range(MOST_STRIKES):
        reboots = node.box.reboots
        process = await node.bootstrap(adversary=replace(adversary, spare=frozenset(moments)))
        node.judge()
        if process.struck is not None:
            moments.append(process.struck)
            assert process.code != 0 or node.bootstrapped
        elif node.box.reboots == reboots and process.code == 0:
            assert node.bootstrapped
            return moments
        if node.box.reboots > reboots:
            await node.box.reboot()
            node.judge()
    raise AssertionError(f"{MOST_STRIKES} strikes were not enough: {moments}")


async def undisturbed(bench: OpenBench, plot: Plot) -> dict[str, str]:
    """What a bootstrap leaves behind that nobody disturbs."""
    async with bench(plot, folder="undisturbed") as node:
        assert (await node.to_the_end()).code == 0
        assert node.box.reboots == 1
        return node.end_state()


@pytest.mark.accepts("N2", "I1", "I2", "I3", "I6", "I7", "I8")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("kind", "least"), [("line", 12), ("call", 30)])
async def test_ended_at_every_moment_it_still_gets_there(
    bench: OpenBench, number: signal.Signals, kind: str, least: int
) -> None:
    wanted = await undisturbed(bench, UPDATING)
    async with bench(UPDATING, seconds=120) as node:
        moments = await until_nothing_is_left_to_strike(node, Adversary(kind, number))
        assert len(moments) >= least
        assert node.end_state() == wanted
        assert node.box.reboots == 1
        assert not list(node.path("/var/lib/torcxd").glob(".*"))


@pytest.mark.accepts("N2")
async def test_a_signal_is_answered_with_its_number_and_a_word(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        adversary = Adversary("line", signal.SIGTERM)
        process = await node.bootstrap(adversary=adversary)
        assert process.code == 128 + signal.SIGTERM
        assert "Stopped by SIGTERM" in process.stderr
        assert not node.bootstrapped
