"""What is fetched while the OS update downloads: whatever becomes of it, the update is followed on."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from torcxd.daemon import gathering
from torcxd.daemon.cluster import Cluster
from torcxd.daemon.context import Context
from torcxd.errors import TransientError
from torcxd.host.os_release import OsRelease
from torcxd.http import HttpClient
from torcxd.lifecycle.facts import Plan
from torcxd.paths import Layout
from torcxd.settings import combine

RELEASE = OsRelease("1520.8.0", "amd64-usr", "coreos")
CLUSTER = Cluster("v1.8.4", "the API server", ("17.03",), "a ConfigMap")


@pytest.mark.accepts("N8", "N9")
async def test_what_fails_while_it_is_superseded_does_not_end_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock
) -> None:
    """Of the two manifests of a version one is cut off and the other one breaks, at the same moment."""
    ctx = Context(combine(), Layout(tmp_path), {})
    asked: list[str | None] = []
    downloaded = trio.Event()

    async def breaks() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise TransientError("the connection was reset")

    async def resolve_plan(_ctx: Context, _http: HttpClient, plan: Plan) -> Plan:
        asked.append(plan.target.next_os)
        if len(asked) == 1:
            async with trio.open_nursery() as both:
                both.start_soon(breaks)
                both.start_soon(trio.sleep_forever)
        return plan

    async def download(_ctx: Context, _http: HttpClient, _plan: Plan) -> None:
        downloaded.set()

    monkeypatch.setattr(gathering, "resolve_plan", resolve_plan)
    monkeypatch.setattr(gathering, "download", download)
    prefetcher = gathering._Prefetcher(ctx, RELEASE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prefetcher.run)
        prefetcher.cluster_known(CLUSTER)
        prefetcher.announced("1576.4.0")
        while not asked:
            await trio.sleep(1)
        prefetcher.announced("1632.2.0")
        await downloaded.wait()
        nursery.cancel_scope.cancel()
    assert asked == ["1576.4.0", "1632.2.0"]
