"""The client's side of TLS over a stream.

:class:`trio.SSLStream` hands out one record of 16 KB at a time, after two rounds through trio's scheduler, and whoever
reads it sets up a deadline for each: in a large download that takes as much time as decrypting, hashing and writing
together. This one hands out all that has arrived. It does less in return: it is a client, it is used by one task at a
time, as HTTP/1.1 asks for, and it does not say goodbye, as HTTPS permits (RFC 9112 section 9.8).

The protocol is OpenSSL's, through :class:`ssl.SSLObject` and its two buffers.
"""

from __future__ import annotations

import ssl
from typing import Final, TypeAlias

import trio

# One read from the socket. With asks's own 10 KB a download spends its time in the event loop instead of the kernel;
# from 256 KiB on, nothing is gained any more but memory is used.
READ_SIZE: Final = 256 * 1024
# What one read from OpenSSL yields at most: a record (RFC 8446 section 5.1). Room for more would be made for nothing.
_RECORD_SIZE: Final = 16 * 1024

Transport: TypeAlias = "trio.SocketStream | TlsStream"


class TlsStream:
    """A TLS connection; :meth:`handshake` comes first.

    :param transport: what it goes over: TCP, or the TLS connection to a proxy.
    :param server_hostname: for SNI, and for the check of the certificate if *context* asks for one.
    """

    def __init__(self, transport: Transport, context: ssl.SSLContext, server_hostname: str) -> None:
        self.transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._failure: ssl.SSLError | None = None

    async def handshake(self) -> None:
        """Agree on keys, and check the server's certificate. Cancelled half-way, the connection is of no use any more.

        :raises trio.BrokenResourceError: with an ``ssl.SSLError`` as its cause where TLS failed, the certificate
            included.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            else:
                await self._flush()
                return

    async def send_all(self, data: bytes) -> None:
        """Send all of *data*. Cancelled half-way, the connection is of no use any more.

        :raises trio.BrokenResourceError: as :meth:`handshake`, or the connection broke.
        """
        try:
            # Into a buffer in memory, which takes it all.
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        await self._flush()

    async def receive_some(self, max_bytes: int = READ_SIZE) -> bytes:
        """What has arrived, once something has, at most *max_bytes*; empty at the end.

        The end of the transport is an end as well, and one that anybody can bring about: whether the content is
        complete, its framing tells.

        :raises trio.BrokenResourceError: as :meth:`send_all`. What came before has been handed out by then.
        """
        await trio.lowlevel.checkpoint()
        while True:
            data = self._decrypt(max_bytes)
            # What OpenSSL answers to what it has read, as when a TLS 1.2 server renegotiates.
            await self._flush()
            if data is not None:
                return data
            await self._fill()

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """What can be decrypted now; None for nothing yet, empty at the end."""
        pieces: list[bytes] = []
        room = max_bytes
        try:
            if self._failure is not None:
                raise self._failure
            while room and (piece := self._tls.read(min(room, _RECORD_SIZE))):
                pieces.append(piece)
                room -= len(piece)
        except ssl.SSLWantReadError:
            if not pieces:
                return None
        except ssl.SSLError as error:
            if pieces:
                self._failure = error
            elif not isinstance(error, ssl.SSLEOFError):
                raise trio.BrokenResourceError from error
        return b"".join(pieces)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self.transport.send_all(self._outgoing.read())

    async def _fill(self) -> None:
        data = await self.transport.receive_some(READ_SIZE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
