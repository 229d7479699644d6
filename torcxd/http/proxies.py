"""Which proxy a URL goes through, by the usual environment variables.

There is no standard for these. This follows golang.org/x/net/http/httpproxy, since what torcxd replaces was written in
Go and the variables in units and installers were made for it: the upper-case name wins over the lower-case one, a proxy
without a scheme is an http one, ``localhost`` and loopback addresses are never proxied, and ``HTTP_PROXY`` is ignored
in a CGI process, where a client could set it through a ``Proxy:`` header (httpoxy).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torcxd.errors import ConfigurationError
from torcxd.http.errors import HttpError
from torcxd.http.url import Url, parse_address


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of NO_PROXY: a network, or a name; ``port`` None means any."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    name: str = ""
    subdomains_only: bool = False
    port: int | None = None

    def covers(self, url: Url) -> bool:
        if self.port is not None and self.port != url.port:
            return False
        address = url.address
        if self.network is not None:
            return address is not None and address in self.network
        if address is not None:
            return False
        host = url.host.rstrip(".")
        return host.endswith("." + self.name) or (host == self.name and not self.subdomains_only)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies in force. Its repr shows none of them: their URLs may hold a password."""

    http: Url | None = field(default=None, repr=False)
    https: Url | None = field(default=None, repr=False)
    exceptions: tuple[_Exception, ...] = field(default=(), repr=False)
    bypass_all: bool = field(default=False, repr=False)

    @classmethod
    def none(cls) -> Proxies:
        """No proxy for anything."""
        return cls()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Proxies:
        """Read ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` and their lower-case forms from *env*.

        :raises ConfigurationError: a value cannot be understood; names the variable and keeps the value to itself.
        """
        http_names = ("http_proxy",) if "REQUEST_METHOD" in env else ("HTTP_PROXY", "http_proxy")
        name, value = _first(env, "NO_PROXY", "no_proxy")
        entries = [each for each in re.split(r"[,\s]+", value) if each]
        return cls(
            http=_proxy(*_first(env, *http_names)),
            https=_proxy(*_first(env, "HTTPS_PROXY", "https_proxy")),
            exceptions=tuple(_exception(name, each) for each in entries if each != "*"),
            bypass_all="*" in entries,
        )

    def select(self, url: Url) -> Url | None:
        """The proxy for *url*, or None for a direct connection."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None or self.bypass_all or _is_loopback(url):
            return None
        return None if any(each.covers(url) for each in self.exceptions) else proxy


def _is_loopback(url: Url) -> bool:
    return url.host == "localhost" or (url.address is not None and url.address.is_loopback)


def _first(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of *names* that is set to something, and its value."""
    for name in names:
        if value := env.get(name, "").strip():
            return name, value
    return names[0], ""


def _proxy(name: str, value: str) -> Url | None:
    if not value:
        return None
    try:
        return Url.parse(value if "://" in value else f"http://{value}")
    except HttpError:
        raise ConfigurationError(
            f"the environment variable {name} is not the URL of an http or https proxy",
            hint=f"set {name} to something like http://proxy.example:3128, or unset it",
        ) from None


def _exception(name: str, entry: str) -> _Exception:
    try:
        return _parse_exception(entry.lower())
    except ValueError as error:
        raise ConfigurationError(
            f"the environment variable {name} has the entry {entry!r}, which is no host, address or network: {error}",
            hint=f"{name} takes names, .suffixes, addresses and networks like 10.0.0.0/8, separated by commas",
        ) from None


def _parse_exception(entry: str) -> _Exception:
    if "/" in entry:
        return _Exception(network=ipaddress.ip_network(entry, strict=False))
    host, port = entry, None
    # An IPv6 address needs brackets before a port; without them every colon is its own.
    if match := re.fullmatch(r"\[(?P<v6>[^]]+)\](:(?P<port6>.*))?|(?P<host>[^:]*):(?P<port>[^:]*)", entry):
        host = match["v6"] or match["host"] or ""
        digits = match["port6"] if match["v6"] else match["port"]
        port = _port(digits) if digits is not None else None
    if (address := parse_address(host)) is not None:
        return _Exception(network=ipaddress.ip_network(address), port=port)
    if ":" in host:
        raise ValueError("not an IPv6 address")
    bare = host.removeprefix("*").strip(".")
    if not bare:
        raise ValueError("it names nothing")
    return _Exception(name=bare, subdomains_only=host.startswith((".", "*")), port=port)


def _port(digits: str) -> int:
    if not digits.isdecimal() or int(digits) > 0xFFFF:
        raise ValueError(f"{digits!r} is no port")
    return int(digits)
