"""What a request comes back with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Protocol

from torcxd.errors import Kind
from torcxd.http.errors import HttpError, Reason
from torcxd.http.url import redact

# 408, 425 and 429 ask for a later try in so many words; 5xx is the server's trouble, and passes.
_TRANSIENT_CLIENT_ERRORS = frozenset({408, 425, 429})

_HINTS = {
    401: "check the credentials",
    403: "check the credentials and what they allow",
    404: "check the URL",
    407: "put the right user and password into the proxy variable",
}


class Headers(Mapping[str, str]):
    """Header fields by name, in any case. A repeated field's values are joined with ``", "`` (RFC 9110 section 5.3).

    Values are decoded as Latin-1, so that any byte passes. The repr shows names only.
    """

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for raw_name, raw_value in raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self._values[name] = f"{self._values[name]}, {value}" if name in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer, of whatever status.

    :param url: where it came from after redirects, without userinfo. Its query can be a secret: ``redact`` it in logs.
    """

    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)


class Answer(Protocol):
    """What :class:`Response` and :class:`StreamedResponse` have in common."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def url(self) -> str: ...


def raise_for_status(answer: Answer) -> None:
    """Do nothing for a status below 400.

    :raises HttpError: reason status; transient for 408, 425, 429 and 5xx, with the server's ``Retry-After`` in seconds
        if it gave one, else permanent.
    """
    status = answer.status
    if status < 400:
        return
    transient = status in _TRANSIENT_CLIENT_ERRORS or status >= 500
    raise HttpError(
        f"the server answered with status {status}",
        reason=Reason.STATUS,
        kind=Kind.TRANSIENT if transient else Kind.PERMANENT,
        url=redact(answer.url),
        status=status,
        retry_after=_retry_after(answer.headers) if transient else None,
        hint=_HINTS.get(status, ""),
    )


def seconds_between(earlier: str, later: str) -> float | None:
    """The time between two dates as header fields have them; None where one is no such date, or both do not compare."""
    try:
        return (parsedate_to_datetime(later) - parsedate_to_datetime(earlier)).total_seconds()
    except (ValueError, OverflowError, TypeError):
        # OverflowError: a time zone beyond the world; TypeError: one date with a time zone, one without.
        return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks for (RFC 9110 section 10.2.3).

    A date is taken relative to the server's own ``Date``: the two clocks need not agree.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        # What is longer is no number of seconds, and thirty years are more than anybody waits.
        return float(value) if len(value) < 10 else None
    wait = seconds_between(headers.get("date", ""), value)
    return None if wait is None else max(0.0, wait)
