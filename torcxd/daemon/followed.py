"""An object of the API that is followed for as long as the node runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Generic, TypeVar

from torcxd.daemon.cluster import access, client_of
from torcxd.daemon.context import Context
from torcxd.errors import TransientError
from torcxd.kube.client import KubeClient
from torcxd.kube.loaded import LoadedAccess
from torcxd.kube.watch import Expired, Listing, NamedObject, WatchEvent

T = TypeVar("T")


class Followed(Generic[T]):
    """A source for :func:`torcxd.kube.reflector.follow`, made by :func:`followed`.

    What says how to reach the API server changes meanwhile: a certificate is renewed before it expires, a kubeconfig
    replaced. Each list is made with what the files say then. A watch begins only where they say what they said for its
    list, since another cluster counts its changes otherwise.
    """

    def __init__(
        self, ctx: Context, what: str, of: Callable[[KubeClient], NamedObject[T]], stack: AsyncExitStack
    ) -> None:
        self.what = what
        self._ctx = ctx
        self._of = of
        self._stack = stack
        self._listed: tuple[LoadedAccess, NamedObject[T]] | None = None

    async def current(self) -> Listing[T]:
        """The object as it is now.

        :raises TorcxdError: as :meth:`NamedObject.current`; transient where the node has no credentials.
        """
        loaded = await access(self._ctx)
        if loaded is None:
            raise TransientError(f"there is no kubeconfig at {self._ctx.settings.kubeconfig}")
        if self._listed is None or self._listed[0] is not loaded:
            self._listed = None
            await self._stack.aclose()
            client = await self._stack.enter_async_context(client_of(self._ctx, loaded))
            self._listed = loaded, self._of(client)
        return await self._listed[1].current()

    @asynccontextmanager
    async def watch(self, revision: str, seconds: float, stall: float) -> AsyncIterator[AsyncIterator[WatchEvent[T]]]:
        """As :meth:`NamedObject.watch`.

        :raises Expired: also where the API server is reached otherwise than when the object was listed.
        """
        now = await access(self._ctx)
        if self._listed is None or now is None or not _same(self._listed[0], now):
            raise Expired("how to reach the API server has changed")
        async with self._listed[1].watch(revision, seconds, stall) as events:
            yield events


def _same(one: LoadedAccess, other: LoadedAccess) -> bool:
    # Not whether they are one object: of files that have only just been written another one is made.
    return (one.access, one.stamps.files) == (other.access, other.stamps.files)


@asynccontextmanager
async def followed(ctx: Context, what: str, of: Callable[[KubeClient], NamedObject[T]]) -> AsyncIterator[Followed[T]]:
    """An object of the API for the length of the block, whose end closes its connections.

    :param what: what it is, for people.
    :param of: the object, of a client.
    """
    async with AsyncExitStack() as stack:
        yield Followed(ctx, what, of, stack)
