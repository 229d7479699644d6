"""The one error type that leaves the HTTP module, whatever family of exceptions it began as."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from torcxd.errors import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, Kind, TorcxdError


class Reason(StrEnum):
    """What went wrong with a request."""

    URL = "url"
    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    STALL = "stall"
    TRUNCATED = "truncated"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    REDIRECT = "redirect"
    PROXY = "proxy"
    STATUS = "status"


_EXIT_CODES: Final = {
    Kind.TRANSIENT: EX_TEMPFAIL,
    Kind.PERMANENT: EX_UNAVAILABLE,
    Kind.CONFIGURATION: EX_CONFIG,
}


# What to do where whoever raised the error knows nothing better.
_HINTS: Final = {
    Reason.CONNECT: "check that the server runs, and that a firewall or proxy lets this node through",
    Reason.TIMEOUT: "check that the server is well, and that a firewall or proxy lets this node through",
    Reason.STALL: "check the server, and the network on the way to it",
    Reason.TRUNCATED: "check the server, and the network on the way to it",
    Reason.PROTOCOL: "check that the URL is that of an HTTP server",
    Reason.TOO_LARGE: "check that the URL names what it should",
    Reason.PROXY: "check the proxy that the environment names",
    Reason.STATUS: "see the server's own log",
}


class HttpError(TorcxdError):
    """A request failed.

    :param message: what happened, without the URL, which is put before it.
    :param reason: for programs.
    :param kind: whether trying again helps.
    :param url: a URL that :func:`torcxd.http.redact` has been over.
    :param status: the answer's status, for :attr:`Reason.STATUS` and :attr:`Reason.PROXY`.
    :param hint: what to do; empty for a general word by *reason*.
    :param retry_after: seconds after which the server wants to be asked again, if it said so.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        kind: Kind,
        url: str,
        hint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{url}: {message}", hint=hint or _HINTS.get(reason, ""), exit_code=_EXIT_CODES[kind])
        self.reason = reason
        self.kind = kind
        self.url = url
        self.status = status
        self.retry_after = retry_after
