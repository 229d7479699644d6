"""Builds that are broken on purpose: a kill at the right moment finds each of them out."""

from __future__ import annotations

import pytest

from tests.crash.conftest import ExplorerOf
from tests.crash.server import WatchedServer

_KUBELET_ENV = "/etc/kubernetes/kubelet.env"
# The reboot is asked for, and the answer has not come yet.
_REQUEST = "unanswered sendto the bus: Reboot #1"
_IMAGE = "/var/lib/torcx/store/1576.4.0/docker:17.03.torcx.tgz"


@pytest.mark.parametrize(
    ("build", "moment", "expected"),
    [
        ("writes_in_place", f"torn write {_KUBELET_ENV} #1", ": I1: "),
        ("writes_in_place", "torn write /var/lib/torcxd/state.json #3", ": I8: "),
        ("copies_images", f"torn write {_IMAGE} #1", ": I2: "),
        ("leaves_things_about", f"before rename {_KUBELET_ENV} #1", ".tmp is left behind"),
        ("asks_without_looking", _REQUEST, ": I7: "),
        ("cleans_after_asking", _REQUEST, ": I6: "),
        ("locks_with_a_file", "before connect the bucket #1", "another torcxd works on this node"),
    ],
)
async def test_a_broken_build_is_found_out(
    watched: WatchedServer, explorer_of: ExplorerOf, build: str, moment: str, expected: str
) -> None:
    explorer = explorer_of("bootstrap", f"tests.crash.broken:{build}")
    struck = await explorer.strike(watched, moment)
    assert struck, explorer.violations
    (violation,) = explorer.violations
    assert expected in violation
    assert violation.endswith(f"python -m tests.crash bootstrap '{moment}'")
