"""Metrics over HTTP, on loopback or a Unix socket: ``GET /metrics`` and nothing else, one request a connection.

Whoever is on the node may connect, so each connection has little time and little room, and there are few of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

import h11
import trio

from torcxd.errors import TorcxdError, from_os_error

log = logging.getLogger(__name__)

# Seconds for a whole request and its answer. A scrape takes milliseconds, and Prometheus itself waits for ten seconds.
REQUEST_TIMEOUT: Final = 10.0

# Bytes of a request's head. Prometheus sends some 300; the rest is room for what proxies add.
LARGEST_HEAD: Final = 8 * 1024

# Connections at once. Two Prometheus servers and somebody with curl are three; who comes beyond these is hung up on.
MOST_CONNECTIONS: Final = 16

# Seconds until a port or socket that was in use is tried again: whoever waits for the metrics looks every 15 seconds.
RETRY_INTERVAL: Final = 15.0

_READ_SIZE: Final = 4096


class MetricsEndpoint:
    """The server.

    :param text: gives the metrics at each request.
    :param content_type: their media type.
    """

    def __init__(self, text: Callable[[], bytes], content_type: str) -> None:
        self._text = text
        self._content_type = content_type
        self._connections = 0

    async def keep_serving(self, listen: str) -> None:
        """:meth:`serve`; what stands in its way is told once and tried again, since the node's work goes on without."""
        failing = False
        while True:
            try:
                await self.serve(listen)
            except TorcxdError as error:
                if not failing:
                    log.warning("%s. It is tried again.", error)
                failing = True
            await trio.sleep(RETRY_INTERVAL)

    async def serve(
        self, listen: str, *, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer requests until cancelled, which closes the listener.

        :param listen: ``127.0.0.1:PORT``, ``[::1]:PORT``, or the path of a Unix socket, which anybody may use, as
            anybody may use the port. A socket that a dead process left there is replaced.
        :raises TorcxdError: *listen* is in use or cannot be listened on.
        """
        listeners = await _listeners(listen)
        try:
            await trio.serve_listeners(self._answer, listeners, task_status=task_status)
        finally:
            if listen.startswith("/"):
                with contextlib.suppress(OSError):
                    os.unlink(listen)

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._connections >= MOST_CONNECTIONS:
                return
            self._connections += 1
            try:
                with (
                    trio.move_on_after(REQUEST_TIMEOUT),
                    contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
                ):
                    await self._converse(stream, h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD))
            finally:
                self._connections -= 1

    async def _converse(self, stream: trio.SocketStream, conversation: h11.Connection) -> None:
        try:
            request = await _request(stream, conversation)
            if request is None:
                return
            status, body = self._respond(request)
        except h11.RemoteProtocolError as error:
            status, body = HTTPStatus(error.error_status_hint), f"{error}\n".encode()
            request = None
        headers = [
            ("Content-Type", self._content_type if status is HTTPStatus.OK else "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *([("Allow", "GET, HEAD")] if status is HTTPStatus.METHOD_NOT_ALLOWED else []),
        ]
        answer = conversation.send(h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()))
        if request is None or request.method != b"HEAD":
            answer = (answer or b"") + (conversation.send(h11.Data(data=body)) or b"")
        await stream.send_all(answer or b"")

    def _respond(self, request: h11.Request) -> tuple[HTTPStatus, bytes]:
        if request.target.partition(b"?")[0] != b"/metrics":
            return HTTPStatus.NOT_FOUND, b"Nothing but /metrics is here.\n"
        if request.method not in (b"GET", b"HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, b"The metrics can only be read.\n"
        return HTTPStatus.OK, self._text()


async def _request(stream: trio.SocketStream, conversation: h11.Connection) -> h11.Request | None:
    """The request's head; None when the peer hangs up before. A body is not read: no request here has a use for one."""
    while True:
        event = conversation.next_event()
        if event is h11.NEED_DATA:
            conversation.receive_data(await stream.receive_some(_READ_SIZE))
        elif isinstance(event, h11.Request):
            return event
        else:
            return None


async def _listeners(listen: str) -> list[trio.SocketListener]:
    try:
        if listen.startswith("/"):
            return [trio.SocketListener(trio.socket.from_stdlib_socket(_bound_socket(Path(listen))))]
        host, _, port = listen.rpartition(":")
        return list(await trio.open_tcp_listeners(int(port), host=host.strip("[]")))
    except OSError as error:
        raise from_os_error(error, "serve metrics on", listen) from error


def _bound_socket(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        bound.bind(os.fspath(path))
        _open_to_all(path)
        bound.listen(MOST_CONNECTIONS)
    except BaseException:
        bound.close()
        raise
    return bound


def _open_to_all(path: Path) -> None:
    """Let everybody connect to the socket *path*. The directory may be another user's, who put something else there.

    Raises ``OSError``.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise FileExistsError(17, "something else has taken the place of the socket")
        # The very file that was looked at: chmod(2) knows no descriptors of this kind.
        Path(f"/proc/self/fd/{descriptor}").chmod(0o666)
    finally:
        os.close(descriptor)
