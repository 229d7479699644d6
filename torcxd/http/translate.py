"""The exceptions of ssl, trio and h11, as :class:`HttpError`."""

from __future__ import annotations

import ssl

import h11
import trio

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason


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


def typed_error(error: h11.RemoteProtocolError | trio.BrokenResourceError, url: str, *, at_eof: bool) -> HttpError:
    """The typed error for an exchange that failed.

    :param url: redacted.
    :param at_eof: the peer has closed its side, so that what h11 complains of is the missing rest.
    """
    if isinstance(error, trio.BrokenResourceError):
        if isinstance(error.__cause__, ssl.SSLError):
            return tls_error(error, "the server", url)
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else None
        return HttpError(
            f"the connection broke: {why or 'reset by the peer'}",
            reason=Reason.CONNECT,
            kind=Kind.TRANSIENT,
            url=url,
        )
    if at_eof:
        return HttpError(
            f"the server closed the connection before the end of the answer: {error}",
            reason=Reason.TRUNCATED,
            kind=Kind.TRANSIENT,
            url=url,
        )
    return HttpError(
        f"the server does not speak HTTP as it should: {error}",
        reason=Reason.PROTOCOL,
        kind=Kind.PERMANENT,
        url=url,
        hint="check that the URL's port is that of an HTTP server",
    )
