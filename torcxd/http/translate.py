"""The exceptions of ssl, trio and h11, as :class:`HttpError`."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Protocol

import h11
import trio

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason


class HasEnd(Protocol):
    """A connection that knows whether its peer has closed its side."""

    @property
    def at_eof(self) -> bool: ...


def tls_error(error: trio.BrokenResourceError, name: str, url: str) -> HttpError:
    """The typed error for a stream that broke in the handshake, or later by a TLS alert."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return HttpError(
            f"the certificate of {name} is not accepted: {cause.verify_message}",
            reason=Reason.TLS,
            kind=Kind.PERMANENT,
            url=url,
            hint="check the server's certificate, the authorities that this node trusts, and the node's clock",
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        return HttpError(
            f"TLS with {name} failed: {(cause.reason or str(cause)).replace('_', ' ').lower()}",
            reason=Reason.TLS,
            kind=Kind.PERMANENT,
            url=url,
            hint="check that the port speaks HTTPS, and whether it wants a client certificate",
        )
    return HttpError(
        f"the connection to {name} broke off in the TLS handshake",
        reason=Reason.TLS,
        kind=Kind.TRANSIENT,
        url=url,
    )


@contextlib.contextmanager
def typed_errors(method: str, url: str, connection: HasEnd) -> Iterator[None]:
    """Turn what h11 and trio raise into an :class:`HttpError`; *url* is redacted."""
    try:
        yield
    except (h11.LocalProtocolError, UnicodeEncodeError):
        # The cause is not shown: it quotes the header, which can be a token.
        raise HttpError(
            f"cannot send {method}: the method, or a header's name or value, has characters that it must not have",
            reason=Reason.PROTOCOL,
            kind=Kind.PERMANENT,
            url=url,
        ) from None
    except h11.RemoteProtocolError as error:
        if connection.at_eof:
            raise HttpError(
                f"the server closed the connection before the end of the answer: {error}",
                reason=Reason.TRUNCATED,
                kind=Kind.TRANSIENT,
                url=url,
            ) from error
        raise HttpError(
            f"the server does not speak HTTP as it should: {error}",
            reason=Reason.PROTOCOL,
            kind=Kind.PERMANENT,
            url=url,
            hint="check that the URL's port is that of an HTTP server",
        ) from error
    except trio.BrokenResourceError as error:
        if isinstance(error.__cause__, ssl.SSLError):
            raise tls_error(error, "the server", url) from error
        raise HttpError(
            f"the connection broke: {_cause(error)}", reason=Reason.CONNECT, kind=Kind.TRANSIENT, url=url
        ) from error


def _cause(error: trio.BrokenResourceError) -> str:
    return error.__cause__.strerror or "" if isinstance(error.__cause__, OSError) else "reset by the peer"
