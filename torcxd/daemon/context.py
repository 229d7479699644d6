"""What the effects work with: settings, paths, clock, and how to reach the peers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torcxd.addons.hashing import Digests
from torcxd.clock import Clock, SystemClock
from torcxd.daemon.ahead import Ahead
from torcxd.daemon.counts import Counts
from torcxd.daemon.drifts import Drifts
from torcxd.daemon.kept import Kept
from torcxd.daemon.progress import Progress, Silent
from torcxd.dbus.bus import Bus, open_bus
from torcxd.dbus.update_engine import UpdateEngine
from torcxd.errors import ConfigurationError
from torcxd.host.stamps import Stamps
from torcxd.http import HttpClient, Proxies, Timeouts
from torcxd.http.authorities import system_authorities
from torcxd.kube.loaded import LoadedAccess
from torcxd.paths import Layout
from torcxd.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """One process's surroundings.

    :param environment: the process's environment, for proxies and in-cluster access.
    :param timeouts: of every HTTP request.
    :param digests: what was seen of images, so that each is hashed once.
    :param access: the way to the API server.
    :param authorities: the host's certificate authorities, for the bucket.
    :param counts: what happened, for the metrics.
    :param drifts: how often in a row the placed set was found gone.
    :param ahead: what was fetched while the OS update was still downloading.
    :param asks_docker: whether Docker may be asked which it is. Where systemd activates it by its socket, asking starts
        it, which before the end of the bootstrap would be too early.
    """

    settings: Settings
    layout: Layout
    environment: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=Silent)
    timeouts: Timeouts = field(default_factory=Timeouts)
    digests: Digests = field(default_factory=Digests)
    access: Kept[LoadedAccess | None] = field(default_factory=Kept)
    authorities: Kept[ssl.SSLContext] = field(default_factory=Kept)
    counts: Counts = field(default_factory=Counts)
    ahead: Ahead = field(default_factory=Ahead)
    drifts: Drifts = field(default_factory=Drifts)
    asks_docker: bool = False

    def path(self, setting: str) -> Path:
        """A path setting, below the root."""
        return self.layout.at(setting)

    @property
    def kubelet_env(self) -> Path:
        return self.path(self.settings.kubelet_env_path)

    @asynccontextmanager
    async def bucket(self) -> AsyncIterator[HttpClient]:
        """A client for manifests and images: the host's certificate authorities, the environment's proxies."""
        client = HttpClient(
            timeouts=self.timeouts,
            proxies=Proxies.from_environment(self.environment),
            ssl_context=await self.authorities.get(None, _trusted),
            max_connections=max(self.settings.parallel, 4),
        )
        try:
            yield client
        finally:
            await client.aclose()

    def system_bus(self) -> AbstractAsyncContextManager[Bus]:
        """The system bus, or the one that DBUS_SYSTEM_BUS_ADDRESS names."""
        return open_bus()

    def update_engine(self, bus: Bus) -> UpdateEngine:
        """update_engine on *bus*, with the marker that tells one installation from the next."""
        return UpdateEngine(bus, self.layout.os_update_marker)


def _trusted() -> tuple[ssl.SSLContext, Stamps]:
    stamps = Stamps.of(*system_authorities())
    try:
        return ssl.create_default_context(), stamps
    except OSError as error:
        raise ConfigurationError(
            f"cannot load the host's certificate authorities: {error}",
            hint="check SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error
