"""Where redirects may lead, and what goes along (RFC 9110 section 15.4)."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason
from torcxd.http.response import Headers
from torcxd.http.session import Exchange, Question
from torcxd.http.url import Url, parse_address, redact

# Buckets redirect once or twice, to a mirror and to a signed URL; ten is what Go's client allows as well.
MAX_REDIRECTS: Final = 10

# 300 leaves the choice to a person, 304 is no redirect, 305 and 306 are abandoned: they are statuses like any other.
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# Amazon's metadata service over IPv6 has a unique local address instead of a link-local one.
_METADATA: Final = ipaddress.ip_network("fd00:ec2::254/128")
# The well-known prefix of translators from IPv6 to IPv4; RFC 6052, section 2.1.
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")

# What belongs to one origin and must not follow a redirect to another.
_CREDENTIALS: Final = frozenset({"authorization", "cookie"})

# What a request loses together with its body.
_BODY_HEADERS: Final = frozenset({"content-type", "content-length", "content-encoding"})


def redirected_question(question: Question, exchange: Exchange) -> Question:
    """The next question after a redirect .

    :raises HttpError: the redirect leads nowhere, or where it must not.
    """
    url = question.url
    location = Headers(exchange.raw_headers).get("location", "")
    if not location:
        raise redirect_error(url, f"the status {exchange.status} comes without a Location")
    try:
        joined = urljoin(str(url), location)
    except ValueError:
        raise redirect_error(url, "the redirect leads to what is no URL") from None
    # Userinfo of a Location is not ours: it would make the server that redirects choose our credentials.
    target = replace(Url.parse(joined, reason=Reason.REDIRECT), userinfo="")
    if _is_downgrade(url, target):
        raise redirect_error(url, f"the redirect leads from https to {redact(str(target))}")
    if is_link_local(target.host):
        raise redirect_error(url, f"the redirect leads to the link-local address {target.host}")
    dropped = frozenset({"host"}) | (_CREDENTIALS if target.origin != url.origin else frozenset())
    method, body = question.method, question.body
    # 303 says GET. For 301 and 302 that is what every client does with a POST, whatever they meant once.
    if (exchange.status == 303 and method != "HEAD") or (exchange.status in {301, 302} and method == "POST"):
        method, body, dropped = "GET", b"", dropped | _BODY_HEADERS
    headers = {name: value for name, value in question.headers.items() if name.lower() not in dropped}
    return Question(method, target, target.target, {**headers, "Host": target.authority}, body)


def _is_downgrade(url: Url, target: Url) -> bool:
    return url.scheme == "https" and target.scheme != "https"


def is_link_local(host: str) -> bool:
    """Whether *host* is an address where clouds serve the node's credentials: 169.254.0.0/16, fe80::/10, or Amazon's
    one of IPv6; also where that is an IPv4 address within an IPv6 one, for a translator (RFC 6052) or a tunnel.
    """
    address = parse_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _METADATA:
            return True
        if address in _TRANSLATED:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None:
            address = address.sixtofour
    return address is not None and address.is_link_local


def redirect_error(url: Url, message: str) -> HttpError:
    return HttpError(
        message,
        reason=Reason.REDIRECT,
        kind=Kind.PERMANENT,
        url=redact(str(url)),
        hint="check the server's configuration, or give the final URL",
    )
