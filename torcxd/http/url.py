"""URLs, taken apart strictly once, so that no later step has to guess (RFC 3986, RFC 9110 section 4.2)."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# What may stand in a URL as it goes on the wire: visible ASCII. urllib would silently drop tabs and line breaks.
_WIRE: Final = re.compile(r"[!-~]+")
# A registered name as DNS and TLS take it: letters, digits, hyphen, and the underscore that is common all the same; 63
# of them at most between two dots, and at the end a dot for the root or none (RFC 1035, section 2.3.4).
_NAME: Final = re.compile(r"(?!-)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{0,62}[a-z0-9_]\.?")
# RFC 1035 allows 255 bytes, two of which are not in the text. What is longer, OpenSSL does not take.
_LONGEST_NAME: Final = 253


def redact(url: str) -> str:
    """*url* as it may stand in a log: without userinfo, query values and fragment, which can be secrets.

    An at sign further on, or before any host, can end a password that has a slash, a question mark or at signs in it,
    or that came without a scheme: nothing of such a URL is shown.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        parts.port  # noqa: B018  (raises on a bad port)
    except ValueError:
        return "(unreadable URL)"
    if "@" in parts.path or ("@" in f"{parts.query}{parts.fragment}" and (":" in host or "@" in parts.netloc)):
        return "(URL with an @ in its path or query)"
    names = [each.partition("=")[0] for each in parts.query.split("&") if each]
    query = "?" + "&".join(f"{each}=***" for each in names) if names else ""
    return f"{parts.scheme}://{host}{parts.path}{query}" if parts.scheme else f"{host}{parts.path}{query}"


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL.

    :param host: lower-case ASCII name or address; an IPv6 address without its brackets.
    :param target: path and query as they go on the request line.
    :param userinfo: ``user`` or ``user:password``, still percent-encoded.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    userinfo: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, *, reason: Reason = Reason.URL) -> Url:
        """Take *text* apart; its fragment is dropped.

        :param reason: the reason of the error, if there is one.
        :raises HttpError: permanent, for anything but a well-formed http or https URL.
        """
        try:
            return cls._parse(text)
        except ValueError as error:
            raise HttpError(
                f"cannot be requested: {error}",
                reason=reason,
                kind=Kind.PERMANENT,
                url=redact(text),
                hint="give an absolute http or https URL",
            ) from None

    @classmethod
    def _parse(cls, text: str) -> Url:
        # A name in another script is the one part that may be non-ASCII; it is looked up and sent in its ASCII form.
        if not _WIRE.fullmatch(re.sub(r"[^\x00-\x7f]", "x", text)):
            raise ValueError("it is empty, or has blanks or control characters in it")
        parts = urlsplit(text)
        scheme = parts.scheme.lower()
        if scheme not in DEFAULT_PORTS:
            raise ValueError(f"its scheme is {scheme!r}, not http or https" if scheme else "it is not absolute")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        userinfo = parts.netloc.rpartition("@")[0]
        if not (target + userinfo).isascii():
            raise ValueError("its path, query or userinfo has characters that must be percent-encoded")
        host = parse_host(parts.hostname or "")
        port = parts.port  # raises ValueError when out of range
        if port == 0:
            raise ValueError("nobody can be reached at port 0")
        return cls(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, target, userinfo)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two URLs must share for credentials to be sent to both (RFC 6454)."""
        return self.scheme, self.host, self.port

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an address, or None when it is a name. An IPv4-mapped address comes out as IPv4."""
        return parse_address(self.host)

    @property
    def bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """Host and port as the Host header wants them: brackets around IPv6, no default port."""
        return self.bracketed_host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.bracketed_host}:{self.port}"

    @property
    def credentials(self) -> bytes:
        """The decoded userinfo, for the Basic scheme."""
        return unquote_to_bytes(self.userinfo)

    def __str__(self) -> str:
        """The URL without its userinfo."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """*host* as an address, or None when it is a name.

    The old notations of inet_aton(3), like ``0x7f.1`` or ``2130706433``, are read as getaddrinfo(3) reads them, so that
    no check of an address can be got around by spelling it oddly. An IPv4-mapped IPv6 address comes out as the IPv4
    address that it stands for.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_host(host: str) -> str:
    """*host*, a lower-case name or an address without brackets, as the resolver and TLS take it.

    :raises ValueError: it is neither; the message is a clause.
    """
    if not host:
        raise ValueError("it names no host")
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    try:
        ascii_host = host.encode("idna").decode("ascii").lower() if not host.isascii() else host
    except UnicodeError:
        raise ValueError("its host name cannot be written in ASCII") from None
    if len(ascii_host.removesuffix(".")) > _LONGEST_NAME or not _NAME.fullmatch(ascii_host):
        raise ValueError("its host name is none that DNS could hold")
    return ascii_host
