"""One GET over a Unix socket, for a daemon of the same node. No redirects, no credentials, no connection is kept."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import h11
import trio

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason
from torcxd.http.response import Headers, Response
from torcxd.http.translate import typed_error

# More than the answers that are asked for here have in all, so that one read is mostly enough.
_READ_SIZE: Final = 16 * 1024
# Nobody listens now, and somebody may in a moment.
_PASSING: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN})


async def get_over_unix(path: Path, target: str, *, seconds: float, max_bytes: int) -> Response:
    """Ask whoever listens on the socket *path* for *target*, as ``/version``.

    Connecting starts a service that systemd activates by its socket. Cancellation closes the connection.

    :param seconds: for everything, from connecting to the end of the body.
    :param max_bytes: of the body.
    :returns: the answer, of whatever status; its ``url`` is ``unix:PATH`` followed by the target.
    :raises HttpError: transient where nobody listens or the time is over, permanent where it cannot be used or what
        answers is no HTTP server.
    """
    url = f"unix:{path}{target}"
    with trio.move_on_after(seconds):
        try:
            stream = await trio.open_unix_socket(path)
        except OSError as error:
            raise HttpError(
                f"cannot connect: {error.strerror or error}",
                reason=Reason.CONNECT,
                kind=Kind.TRANSIENT if error.errno in _PASSING else Kind.PERMANENT,
                url=url,
                hint="check that the service runs, and who may use its socket",
            ) from error
        async with stream:
            return await _exchange(stream, url, target, max_bytes)
    raise HttpError(f"no whole answer within {seconds:g} s", reason=Reason.TIMEOUT, kind=Kind.TRANSIENT, url=url)


async def _exchange(stream: trio.SocketStream, url: str, target: str, max_bytes: int) -> Response:
    conversation = h11.Connection(h11.CLIENT)
    # There is no host, and HTTP/1.1 wants one all the same.
    headers = [("Host", "localhost"), ("Accept-Encoding", "identity"), ("Connection", "close")]
    request = conversation.send(h11.Request(method="GET", target=target, headers=headers)) or b""
    head: h11.Response | None = None
    body = bytearray()
    at_eof = False
    try:
        await stream.send_all(request + (conversation.send(h11.EndOfMessage()) or b""))
        while True:
            event = conversation.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(_READ_SIZE)
                at_eof = not data
                conversation.receive_data(bytes(data))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > max_bytes:
                    raise HttpError(
                        f"the answer is larger than {max_bytes} bytes",
                        reason=Reason.TOO_LARGE,
                        kind=Kind.PERMANENT,
                        url=url,
                    )
            elif head is not None:
                return Response(head.status_code, Headers(head.headers), bytes(body), url)
    except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
        raise typed_error(error, url, at_eof=at_eof) from error
