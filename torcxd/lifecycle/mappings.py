"""Runtime mappings: which package versions each Kubernetes minor version prefers, as plain data.

The parser is in :mod:`torcxd.kube.mappings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.lifecycle.versions import KubeVersion

DOCKER: Final = "docker"


@dataclass(frozen=True, slots=True)
class Mappings:
    """Package versions by Kubernetes minor version.

    :param where: where the table came from, for messages: a path, a ConfigMap, or the built-in one.
    :param kubernetes: minor version, e.g. ``"1.8"``, to package name to the versions it accepts, best first.
    """

    where: str
    kubernetes: Mapping[str, Mapping[str, tuple[str, ...]]]

    def docker_for(self, version: KubeVersion) -> tuple[str, ...]:
        """The Docker versions that *version* accepts, best first; at least one.

        :raises PermanentError: exit code 65: the table lacks the minor version or its Docker; the message names the
            table and what it has.
        """
        packages = self.kubernetes.get(version.minor_key)
        if packages is None:
            known = ", ".join(self.kubernetes) or "none"
            raise PermanentError(
                f"{self.where} has no entry for Kubernetes {version.minor_key}, only for: {known}",
                hint=f"add versions.k8s.{version.minor_key}.{DOCKER} to the runtime mappings",
                exit_code=EX_DATAERR,
            )
        versions = packages.get(DOCKER)
        if versions is None:
            known = ", ".join(packages) or "none"
            raise PermanentError(
                f"{self.where} names no {DOCKER} version for Kubernetes {version.minor_key}, only: {known}",
                hint=f"add versions.k8s.{version.minor_key}.{DOCKER} to the runtime mappings",
                exit_code=EX_DATAERR,
            )
        return versions
