"""Header fields of downloads: ranges, validators, Retry-After; and the recorded validator of a partial file."""

from __future__ import annotations

import math
from typing import Final

from tests.fuzz.oracle import demand, emptied, put, refusing
from torcxd.addons.partial import PART, VALIDATOR, PartialFile
from torcxd.addons.ranges import body_of, range_headers, strong_validator
from torcxd.http import Headers, HttpError, Response, raise_for_status
from torcxd.lifecycle.catalog import Digest

IMPORTANT: Final = True
_DIGEST: Final = Digest("sha256", "0" * 64)
_URL: Final = "https://bucket.example/p"
WORDS: Final = (
    "content-range: bytes 5-9/10\n", "content-length: 5\n", 'etag: "a"\n', 'etag: W/"a"\n', "retry-after: 5\n",
    "last-modified: Wed, 21 Oct 2015 07:28:00 GMT\n", "date: Wed, 21 Oct 2015 07:28:10 GMT\n", "+9999999999", " -0000",
    '{"url": "d8c5c3a2fa2a3ea9d3a0a5a3e8b7fe43dcb7e8aa5e1e5ecc0ff2a6e8e4f9b4b5", "validator": "x"}',
)  # fmt: skip


def check(data: bytes) -> None:
    """The first two bytes choose the status and how much is there already; lines of ``name: value`` follow."""
    status = (200, 206, 416, 503, 304, 429)[data[0] % 6] if data else 200
    asked = (0, 5)[data[1] % 2] if len(data) > 1 else 0
    fields = [line.partition(b": ")[::2] for line in data[2:].split(b"\n")]
    answer = Response(status, Headers((name, value) for name, value in fields if name), b"", _URL)
    with refusing(HttpError):
        body = body_of(answer, asked)
        demand(body is None or body.start in {0, asked}, "a body from elsewhere")
    validator = strong_validator(answer.headers)
    if validator is not None:
        # It becomes a header field of the next request, and is recorded for the next process.
        demand(validator.isascii() and validator.isprintable(), f"the validator {validator!a}")
        demand(range_headers(5, validator) == {"Range": "bytes=5-", "If-Range": validator}, "other header fields")
    try:
        with refusing(HttpError):
            raise_for_status(answer)
    except HttpError as error:
        wait = error.retry_after
        demand(wait is None or 0 <= wait < math.inf, f"a wait of {wait}")
    _recorded(data[2:])


def _recorded(data: bytes) -> None:
    directory = emptied("validator")
    put(directory / f"{_DIGEST}{PART}", b"abcde")
    put(directory / f"{_DIGEST}{VALIDATOR}", data)
    with PartialFile(directory / str(_DIGEST), _DIGEST) as partial:
        value = partial.validator_for(_URL)
        demand(value is None or (value.isascii() and value.isprintable()), f"the recorded validator {value!a}")
