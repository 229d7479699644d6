"""A bucket that says nothing: in this process, where HTTP timeouts, which no operator needs to set, can be short."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.integration.bootstrap.bench import QUIET, Bench, OpenBench
from torcxd.cli.bootstrap import engine_for
from torcxd.daemon.context import Context
from torcxd.http import Timeouts
from torcxd.sandbox.bucket_faults import Fault
from torcxd.settings import combine

SHORT = Timeouts(first_byte=0.3, stall=0.3)


@pytest.fixture
def context_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Bench], Context]:
    """What this process needs to bootstrap a node."""

    def context(node: Bench) -> Context:
        for name, value in node.box.environment.items():
            monkeypatch.setenv(name, value)
        settings = combine({"torcx_manifest_url": node.box.bucket.manifest_template})
        return Context(settings, node.box.node.layout, node.box.process_environment, timeouts=SHORT)

    return context


@pytest.mark.accepts("A24", "N5", "N7")
@pytest.mark.parametrize(
    ("part", "fault", "words"),
    [
        ("torcx_manifest.json", Fault.HANG, "no answer to GET within 0.3 s"),
        ("torcx_manifest.json", Fault.STALLED, "0.3 s"),
        (".asc", Fault.HANG, "no answer to GET within 0.3 s"),
        ("17.03.torcx.tgz", Fault.HANG, "no answer to GET within 0.3 s"),
        ("17.03.torcx.tgz", Fault.STALLED, "0.3 s"),
    ],
)
async def test_a_bucket_that_hangs_is_tried_again(
    bench: OpenBench, context_of: Callable[[Bench], Context], part: str, fault: Fault, words: str
) -> None:
    async with bench(QUIET) as node, trio.open_nursery() as nursery:
        node.box.bucket.fail(part, fault, times=1)
        nursery.start_soon(engine_for(context_of(node)).run)
        await node.recorded("last_error")
        await node.assert_told(words)
        report = await node.status()
        assert part in report["last_error"]["message"].replace("%3A", ":")
        assert report["last_error"]["hint"]
        # It goes on by itself, up to the reboot.
        await node.box.reboot_asked.wait()
        nursery.cancel_scope.cancel()
    assert not node.bootstrapped
