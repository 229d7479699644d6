"""A node's peers without sockets, for hours and years on the virtual clock: update_engine, the API server, the bus.

update_engine and the cluster are the stand-ins of the other tests; here only what carries their answers is made of
plain calls. What a real one would answer at once is answered without waiting, so that the clock stands still meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import trio
from jeepney.fds import FileDescriptor

from tests.unit.sources.conftest import FakeEngine
from torcxd.daemon.context import Context
from torcxd.dbus.signals import OwnerChange
from torcxd.dbus.update_engine import STATUS_PREFIX
from torcxd.errors import Kind, TransientError
from torcxd.http import Headers, HttpError, Reason, Response
from torcxd.kube.client import KubeClient
from torcxd.kube.loaded import LoadedAccess
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.http_server import Request
from torcxd.sandbox.http_server import Response as Answer

# 2018-01-01, so that the times in what is written look like times.
EPOCH: Final = 1_514_764_800.0
SERVER: Final = "https://api.example:6443"


class VirtualClock:
    """The time of day on trio's clock."""

    def now(self) -> float:
        return EPOCH + trio.current_time()


class Cluster:
    """The API server, and the way to it.

    :ivar requests: how many were made, by the kind of request.
    """

    def __init__(self, token_file: Path) -> None:
        self.api = ApiServer(token="token-0")
        self.requests: dict[str, int] = {}
        self._token_file = token_file
        self._tokens = 0
        self._reachable = True
        self.rotate()
        self.renew()

    def cut(self) -> None:
        """Nobody reaches it any more; running watches end."""
        self._reachable = False
        self.api.watches.end_all()

    def mend(self) -> None:
        self._reachable = True

    def rotate(self) -> None:
        """From now on only a new token counts, which the node does not have yet."""
        self._tokens += 1
        self.api.token = f"token-{self._tokens}"
        self.api.watches.end_all()

    def renew(self) -> None:
        """The node gets its new token."""
        self._token_file.parent.mkdir(parents=True, exist_ok=True)
        self._token_file.write_text(f"token-{self._tokens}\n")

    @asynccontextmanager
    async def open_client(self, loaded: LoadedAccess, *_others: object) -> AsyncIterator[KubeClient]:
        """Stands for :func:`torcxd.kube.client.open_client`."""
        await trio.lowlevel.checkpoint()
        yield KubeClient(loaded.access, self)  # type: ignore[arg-type]

    # What KubeClient needs of an HttpClient.

    async def get(self, url: str, *, headers: Mapping[str, str], max_bytes: int) -> Response:
        return await self.request("GET", url, headers=headers, max_bytes=max_bytes)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes = b"",
        follow_redirects: bool = True,
    ) -> Response:
        answer = await self._answer(method, url, headers, body)
        assert isinstance(answer.body, bytes)
        return Response(answer.status, _headers(answer), answer.body, url)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str], stall: float
    ) -> AsyncIterator[Watched]:
        yield Watched(await self._answer(method, url, headers, b""), url, stall)

    async def _answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        await trio.lowlevel.checkpoint()
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        kind = "watch" if "watch" in query else method if method != "GET" else f"GET {parts.path.rpartition('/')[2]}"
        self.requests[kind] = self.requests.get(kind, 0) + 1
        if not self._reachable:
            raise HttpError("no route to host", reason=Reason.CONNECT, kind=Kind.TRANSIENT, url=SERVER)
        lower = {name.lower(): value for name, value in headers.items()}
        answer = await self.api._handle(Request(method, url, parts.path, query, lower, body))
        assert isinstance(answer, Answer)
        return answer


def _headers(answer: Answer) -> Headers:
    return Headers([(name.encode(), value.encode()) for name, value in answer.headers.items()])


class Watched:
    """A watch's answer, as :class:`torcxd.http.StreamedResponse`."""

    def __init__(self, answer: Answer, url: str, stall: float) -> None:
        self.status = answer.status
        self.headers = _headers(answer)
        self.url = url
        self._stall = stall
        self._pieces = _whole(answer.body) if isinstance(answer.body, bytes) else aiter(answer.body)

    def __aiter__(self) -> Watched:
        return self

    async def __anext__(self) -> bytes:
        with trio.move_on_after(self._stall):
            return await anext(self._pieces)
        raise HttpError("nothing arrived", reason=Reason.STALL, kind=Kind.TRANSIENT, url=SERVER)


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body


class Machine:
    """What is reached over the system bus: update_engine and logind. A boot makes it anew."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.update_engine = FakeEngine(nursery)
        self.bus_up = True
        self.inhibitors = 0

    @asynccontextmanager
    async def bus(self, **_options: bool) -> AsyncIterator[FakeBus]:
        """Stands for :func:`torcxd.dbus.bus.open_bus`."""
        await trio.lowlevel.checkpoint()
        if not self.bus_up:
            raise TransientError("cannot connect to the system bus")
        yield FakeBus(self)


class Restarts:
    """Nothing restarts."""

    async def __anext__(self) -> OwnerChange:
        await trio.sleep_forever()
        raise AssertionError


class FakeBus:
    """One connection to the bus."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @asynccontextmanager
    async def owner_changes(self, _name: str) -> AsyncIterator[Restarts]:
        yield Restarts()

    async def call(self, name: str, path: str, interface: str, member: str, *_others: Any, **_named: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if member == "GetStatus":
            now = await self.machine.update_engine.status()
            return now.last_checked_time, now.progress, STATUS_PREFIX + now.operation, now.new_version, now.new_size
        assert member == "Inhibit", member
        self.machine.inhibitors += 1
        # A real descriptor, so that one that is not let go shows.
        return (FileDescriptor(os.open("/dev/null", os.O_RDONLY)),)


class SimulatedContext(Context):
    """A context whose bus is a :class:`Machine`'s, found where the environment is not used otherwise."""

    def system_bus(self) -> Any:
        machine = self.environment["machine"]
        assert isinstance(machine, Machine)
        return machine.bus()
