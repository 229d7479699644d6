"""What is given in a sandbox, and what happens in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torcxd.sandbox.scenarios import Scenario, no_update, update

BOARD: Final = "amd64-usr"
OLD_OS: Final = "1520.8.0"
NEW_OS: Final = "1576.4.0"
KUBE_VERSION: Final = "v1.8.4+coreos.0"
VENDOR_DOCKER: Final = "1.12"
WANTED_DOCKER: Final = "17.03"
_PREFERRED: Final = 'kind: VersionManifestV1\nversions:\n  k8s:\n    1.8:\n      docker: [ "17.03", "1.12" ]\n'
# The ConfigMap with the runtime mappings: its namespace, its name and what it holds.
MAPPINGS: Final = ("tectonic-system", "tectonic-torcx-runtime-mappings", {"runtime-mappings.yaml": _PREFERRED})


@dataclass(frozen=True, slots=True)
class Plot:
    """What happens in a sandbox.

    :param next_os: the OS version that update_engine finds; None when there is no newer one.
    :param update_seconds: how long the OS update takes.
    :param image_bytes: the size of each Docker image in the bucket.
    :param rate: the bucket's bytes a second over each connection, None for as fast as it goes.
    :param api_server: whether the cluster has an API server that answers.
    """

    next_os: str | None = NEW_OS
    update_seconds: float = 0.2
    image_bytes: int = 200_000
    rate: float | None = None
    api_server: bool = True

    def scenario(self) -> Scenario:
        """What update_engine does when it is asked for an update."""
        if self.next_os is None:
            return no_update("", self.update_seconds)
        return update(self.next_os, self.update_seconds)
