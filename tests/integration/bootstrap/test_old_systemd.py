"""Bootstraps on the first OS versions that are served: their systemd takes Docker's clean-up as a unit file only."""

from __future__ import annotations

import pytest

from tests.integration.bootstrap.bench import QUIET, OpenBench
from torcxd.errors import EX_UNAVAILABLE


@pytest.mark.accepts("C20", "C21", "I6", "I7")
async def test_docker_changes_under_an_old_systemd(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.systemd1.version = 235
        node.box.node.layout.runtime_units.mkdir(parents=True)
        last = await node.to_the_end()
        assert last.code == 0, last.stderr
        assert node.box.reboots == 1
        assert not node.path("/var/lib/docker").exists()
        assert node.bootstrapped
        node.judge()


@pytest.mark.accepts("C6", "I6")
async def test_a_container_that_lacks_the_mount_is_not_rebooted_until_it_has_it(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        node.box.systemd1.version = 235
        failed = await node.bootstrap()
        node.assert_failed(failed, EX_UNAVAILABLE, "torcx-docker-cleanup.service", "-v /run/systemd:/run/systemd")
        assert node.box.reboots == 0
        # Somebody reads the message, and adds it.
        node.box.node.layout.runtime_units.mkdir(parents=True)
        last = await node.to_the_end()
        assert last.code == 0, last.stderr
        assert not node.path("/var/lib/docker").exists()
        node.judge()
