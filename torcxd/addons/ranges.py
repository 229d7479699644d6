"""Range requests, the client's half (RFC 9110 sections 8.8, 13.1.5 and 14): no input, no output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torcxd.errors import Kind
from torcxd.http import HttpError, Reason, raise_for_status, redact
from torcxd.http.response import Answer, seconds_between

_OK: Final = 200
_PARTIAL: Final = 206
_NOT_SATISFIABLE: Final = 416

# Bytes beyond ASCII are allowed in one, but nobody sends them, and no two programs send them back alike.
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
# A date has whole seconds: something that changed twice within one cannot be told apart by it (section 8.8.2.2).
_STRONG_AFTER: Final = 1.0


@dataclass(frozen=True, slots=True)
class Body:
    """What an answer's body is.

    :param start: the position of its first byte in the whole.
    :param total: the size of the whole in bytes, None where the server does not say.
    """

    start: int
    total: int | None


def range_headers(size: int, validator: str | None) -> dict[str, str]:
    """The header fields that ask for what follows the first *size* bytes, provided that it is still the same content.

    :param validator: None where the content could not be recognised: the whole is asked for then.
    """
    return {"Range": f"bytes={size}-", "If-Range": validator} if size and validator else {}


def body_of(answer: Answer, asked: int) -> Body | None:
    """What the answer to a request for everything from byte *asked* on has for a body.

    :returns: None when the range cannot be had like this, and the whole should be asked for.
    :raises HttpError: the status is an error, or none that goes with the request.
    """
    if answer.status == _OK:
        return Body(0, _content_length(answer.headers))
    if asked:
        if answer.status == _NOT_SATISFIABLE:
            return None
        if answer.status == _PARTIAL:
            # Without a Content-Range it is multipart, which nobody asked for.
            match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
            if match is None or int(match[1]) != asked:
                return None
            return Body(asked, None if match[3] == "*" else int(match[3]))
    raise_for_status(answer)
    raise HttpError(
        f"the server answered with status {answer.status}, which is no answer to this request",
        reason=Reason.PROTOCOL,
        kind=Kind.PERMANENT,
        url=redact(answer.url),
        status=answer.status,
    )


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """What ``If-Range`` can recognise the content by: a strong entity tag, or else a date that is as good as one."""
    tag = headers.get("etag", "").strip()
    if tag:
        return tag if _STRONG_ETAG.fullmatch(tag) else None
    modified = headers.get("last-modified", "").strip()
    age = seconds_between(modified, headers.get("date", ""))
    # It is to become a header field, and the parser of dates passes over what it does not know.
    if age is None or age < _STRONG_AFTER or not (modified.isascii() and modified.isprintable()):
        return None
    return modified


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
