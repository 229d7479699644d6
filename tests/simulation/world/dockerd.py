"""Docker on a simulated node: it runs what torcx has applied, answers over its socket, and keeps data of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from tests.simulation.world.faults import Counted
from tests.simulation.world.network import Network, listen
from torcxd.sandbox.http_faults import Ending, endless_body, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server

# Which Docker wrote the data.
_OWNER: Final = "version"


class Dockerd:
    """The daemon of one node, over all its boots.

    :param socket: where it listens.
    :param data: its folder.
    :param version: what torcx has applied in this boot, None for no Docker.
    :param write: writes a file of the node, durably.
    :param violate: told when it finds another one's data, or misses its own.
    :ivar faults: what becomes of the next answers, one each, of those of a story.
    :ivar absent: it does not start.
    """

    def __init__(
        self,
        network: Network,
        socket: Path,
        data: Path,
        *,
        version: Callable[[], str | None],
        write: Callable[[Path, bytes], None],
        violate: Callable[[str], None],
        fired: Counter[str],
    ) -> None:
        self.faults: Counted[str] = Counted("docker", fired)
        self.absent = False
        self._network = network
        self._socket = str(socket)
        self._data = data
        self._version = version
        self._write = write
        self._violate = violate
        self._fired = fired
        self._last: str | None = None
        self._scope = trio.CancelScope()
        network.peers[self._socket] = "docker"

    async def serve_boot(self) -> None:
        """Run for as long as the boot lasts, started again soon after each end.

        It listens from the beginning: systemd holds its socket, and whoever asks has it started.
        """
        while True:
            version = self._version()
            if version is None or self.absent:
                self._fired["docker: absent"] += self.absent
                await trio.sleep(30)
                continue
            self._take_data(version)
            with trio.CancelScope() as self._scope:
                await self._listen()
            await trio.sleep(1)

    def restart(self) -> None:
        """It crashes; systemd starts it again."""
        self._scope.cancel()

    def _take_data(self, version: str) -> None:
        """What lies there has to be its own: of another Docker it is of no use, and its own is dear to somebody."""
        path = self._data / _OWNER
        found = path.read_text() if path.exists() else None
        if found not in (None, version):
            self._violate(f"I6: Docker {version} starts on the data of {found}")
        if found is None and self._last == version:
            self._violate(f"I6: Docker {version} misses its data")
        self._last = version
        if found != version:
            self._write(path, version.encode())

    async def _listen(self) -> None:
        listener = trio.SocketListener(await listen(self._network, self._socket))
        with trio.CancelScope() as scope:
            server = Server(self._answer, 0, None, scope)
            try:
                await trio.serve_listeners(server.serve_connection, [listener])
            finally:
                listener.socket.close()
        if server.failure is not None:
            raise server.failure

    async def _answer(self, request: Request) -> Response | RawBehaviour:
        fault = self.faults.popleft() if self.faults else ""
        self._fired["docker: asked"] += 1
        match fault:
            case "foreign":
                return Response.from_json({"Version": "20.10.5"})
            case "garbage":
                return Response(200, {"Content-Type": "application/json"}, b'{"Version": ["17.03"')
            case "hang":
                return send_then(b"", Ending.STALL)
            case "endless":
                return endless_body
            case "500":
                return Response(500, {}, json.dumps({"message": "starting"}).encode())
        assert request.path == "/version", request
        return Response.from_json({"Version": f"{self._last}.2-ce", "ApiVersion": "1.27"})
