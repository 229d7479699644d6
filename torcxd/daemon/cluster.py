"""What the cluster wants of a node: the Kubernetes version and the Docker versions that it accepts.

An API server that does not answer is no reason to fail: everything it would say has a fallback on the node (A22, A24).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from torcxd.daemon.context import Context
from torcxd.errors import Kind, PermanentError, TorcxdError, TransientError
from torcxd.host.env_file import installer_kube_version, read_env_file
from torcxd.host.stamps import Stamps
from torcxd.http import Proxies
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.loaded import LoadedAccess
from torcxd.kube.mappings import builtin_mappings, parse_mappings, read_mappings
from torcxd.kube.service_account import HOST, in_cluster_access
from torcxd.lifecycle import retry
from torcxd.lifecycle.mappings import Mappings
from torcxd.lifecycle.versions import KubeVersion

log = logging.getLogger(__name__)

CONFIG_MAP: Final = "tectonic-torcx-runtime-mappings"
CONFIG_MAP_KEY: Final = "runtime-mappings.yaml"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was found, and where."""

    kube_version: str
    kube_source: str
    docker_preferences: tuple[str, ...]
    mappings_source: str


async def ask_cluster(ctx: Context, random: Callable[[], float]) -> Cluster:
    """Determine the Kubernetes version and its Docker versions (A7, A11 to A15).

    :raises ConfigurationError: when the kubeconfig is there but wrong.
    :raises PermanentError: when no source knows the version, or the mappings do not cover it.
    """
    found: dict[str, tuple[str, str]] = {}
    mappings: list[tuple[Mappings, str]] = []
    async with open_api(ctx) as api, trio.open_nursery() as nursery:
        if api is None:
            log.info("There is no kubeconfig at %s: no API server is asked.", ctx.settings.kubeconfig)

        async def version() -> None:
            found["version"] = await _kube_version(ctx, api, random)

        async def mapping() -> None:
            mappings.append(await _mappings(ctx, api, random))

        nursery.start_soon(version)
        nursery.start_soon(mapping)
    kube_version, kube_source = found["version"]
    table, mappings_source = mappings[0]
    parsed = KubeVersion.parse(kube_version)
    return Cluster(kube_version, kube_source, table.docker_for(parsed), mappings_source)


@asynccontextmanager
async def open_api(ctx: Context) -> AsyncIterator[KubeClient | None]:
    """A client for the API server while the block runs; None where the node has no credentials for one."""
    if (loaded := await access(ctx)) is None:
        yield None
        return
    async with client_of(ctx, loaded) as client:
        yield client


def client_of(ctx: Context, loaded: LoadedAccess) -> AbstractAsyncContextManager[KubeClient]:
    """A client for the API server of *loaded* while the block runs."""
    return open_client(loaded, Proxies.from_environment(ctx.environment), ctx.timeouts)


async def access(ctx: Context) -> LoadedAccess | None:
    """The node's or the pod's access as its files say it now, the same object for as long as they stay the same.

    :raises TorcxdError: as :func:`load_kubeconfig`.
    """

    kubeconfig = ctx.settings.kubeconfig

    def load() -> tuple[LoadedAccess | None, Stamps]:
        # An empty setting, which would stand for the root folder, is for a pod that sees its node's kubeconfig.
        path = ctx.path(kubeconfig)
        stamps = Stamps.of(path) if kubeconfig else Stamps.of()
        if kubeconfig and path.exists():
            loaded = load_kubeconfig(path, root=ctx.layout.root)
        elif HOST in ctx.environment:
            loaded = in_cluster_access(ctx.layout.service_account, ctx.environment)
        else:
            return None, stamps
        return loaded, stamps | loaded.stamps

    return await ctx.access.get(kubeconfig, load)


async def _kube_version(ctx: Context, api: KubeClient | None, random: Callable[[], float]) -> tuple[str, str]:
    forced = ctx.settings.force_kube_version
    if forced:
        return forced, ctx.settings.origin("force_kube_version")
    why = "no kubeconfig"
    if api is not None:
        try:
            return await _persist(ctx, api.version, "the API server's version", random), "the API server"
        except TorcxdError as error:
            if error.kind is Kind.CONFIGURATION:
                raise
            why = str(error)
            log.warning("The API server does not tell the cluster's version: %s. The node's own is taken.", error)
    # The node's own file is newer than the installer's; before the first bootstrap there is none.
    path = ctx.kubelet_env if ctx.kubelet_env.exists() else ctx.layout.installer / "kubelet.env"
    try:
        return installer_kube_version(read_env_file(path), str(path)), str(path)
    except TorcxdError as error:
        raise PermanentError(
            f"the cluster's Kubernetes version cannot be determined: API server: {why}; node: {error}",
            hint="set --force-kube-version, or mend one of the two",
        ) from error


async def _mappings(ctx: Context, api: KubeClient | None, random: Callable[[], float]) -> tuple[Mappings, str]:
    namespace = ctx.settings.mappings_namespace
    if api is not None:
        source = f"the ConfigMap {namespace}/{CONFIG_MAP}"

        async def get() -> str:
            data = await api.config_map(namespace, CONFIG_MAP)
            if CONFIG_MAP_KEY not in data:
                raise PermanentError(f"{source} has no key {CONFIG_MAP_KEY}")
            return data[CONFIG_MAP_KEY]

        try:
            text = await _persist(ctx, get, "the runtime mappings", random)
        except TorcxdError as error:
            if error.kind is Kind.CONFIGURATION:
                raise
            log.info("The API server gives no runtime mappings: %s. The node's own are taken.", error)
        else:
            # What the cluster says is believed or refused, never silently replaced.
            return parse_mappings(text, source), source
    path = ctx.layout.installer / CONFIG_MAP_KEY
    if path.exists():
        return read_mappings(path), str(path)
    if ctx.settings.version_manifest:
        path = ctx.path(ctx.settings.version_manifest)
        return read_mappings(path), str(path)
    return builtin_mappings(), "the built-in versions.yaml"


async def _persist(ctx: Context, ask: Callable[[], Awaitable[T]], what: str, random: Callable[[], float]) -> T:
    """Ask again while the failure is transient, for as long as ``--api-retry-for`` allows; a hanging server counts."""
    allowed = ctx.settings.api_retry_for
    deadline = trio.current_time() + allowed
    last: TorcxdError = TransientError(f"no answer within {allowed:.0f} s")
    attempt = 0
    with trio.move_on_at(deadline):
        while True:
            try:
                return await ask()
            except TorcxdError as error:
                last = error
            attempt += 1
            pause = retry.delay(attempt, random(), last.retry_after)
            if last.kind is not Kind.TRANSIENT or trio.current_time() + pause > deadline:
                raise last
            log.debug("Asking for %s failed: %s; next try in %.1f s.", what, last, pause)
            await trio.sleep(pause)
    raise last
