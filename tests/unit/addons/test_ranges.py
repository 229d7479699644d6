"""Range requests: what to ask, and what an answer means."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.addons.ranges import Body, body_of, range_headers, strong_validator
from torcxd.http import Headers, HttpError, Reason

OLD = "Tue, 05 Dec 2017 10:00:00 GMT"
NEW = "Tue, 05 Dec 2017 10:00:01 GMT"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers = field(default_factory=lambda: Headers([]))
    url: str = "https://cdn.example/docker.tgz"


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, Headers([(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]))


def test_the_rest_is_asked_for_only_if_it_can_be_recognised() -> None:
    assert range_headers(10, '"a"') == {"Range": "bytes=10-", "If-Range": '"a"'}
    assert range_headers(0, '"a"') == {}
    assert range_headers(10, None) == {}


def test_the_whole() -> None:
    assert body_of(answer(200, content_length="42"), 0) == Body(0, 42)
    assert body_of(answer(200, content_length="42"), 10) == Body(0, 42)
    assert body_of(answer(200), 0) == Body(0, None)
    assert body_of(answer(200, content_length="9" * 30), 0) == Body(0, None)


def test_the_rest() -> None:
    assert body_of(answer(206, content_range="bytes 10-41/42"), 10) == Body(10, 42)
    assert body_of(answer(206, content_range="Bytes 10-41/*"), 10) == Body(10, None)


@pytest.mark.parametrize(
    "text", ["", "bytes 9-41/42", "bytes 10-41", "bytes */42", "bytes=10-41/42", "bytes 10-4\u00b2/42"]
)
def test_a_range_that_is_not_the_one_asked_for(text: str) -> None:
    assert body_of(answer(206, content_range=text), 10) is None


def test_a_range_that_cannot_be_satisfied() -> None:
    assert body_of(answer(416, content_range="bytes */5"), 10) is None


@pytest.mark.parametrize(("status", "reason"), [(206, Reason.PROTOCOL), (416, Reason.STATUS), (204, Reason.PROTOCOL)])
def test_an_answer_to_another_question(status: int, reason: Reason) -> None:
    with pytest.raises(HttpError) as caught:
        body_of(answer(status, content_range="bytes 10-41/42"), 0)
    assert caught.value.reason is reason
    assert caught.value.status == status


@given(st.integers(min_value=100, max_value=599), st.text(max_size=40), st.integers(min_value=0, max_value=100))
def test_whatever_comes_is_understood_or_refused(status: int, text: str, asked: int) -> None:
    headers = Headers([(b"content-range", text.encode()), (b"content-length", text.encode())])
    try:
        body = body_of(Answer(status, headers), asked)
    except HttpError:
        return
    assert body is None or body.start in (0, asked)


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"a"'}, '"a"'),
        ({"etag": '"\xe4"'}, None),
        ({"etag": 'W/"a"', "last_modified": OLD, "date": NEW}, None),
        ({"etag": "a"}, None),
        ({"etag": '"a"b"'}, None),
        ({"last_modified": OLD, "date": NEW}, OLD),
        ({"last_modified": OLD, "date": OLD}, None),
        ({"last_modified": NEW, "date": OLD}, None),
        ({"last_modified": OLD}, None),
        ({"last_modified": "yesterday", "date": NEW}, None),
        ({"last_modified": OLD.replace("GMT", "+99999999999999"), "date": NEW}, None),
        ({"last_modified": f"{OLD} (\xe4)", "date": NEW}, None),
        ({"last_modified": OLD, "date": "Tue, 05 Dec 2017 10:00:01 -0000"}, None),
        ({}, None),
    ],
)
def test_only_a_strong_validator_will_do(headers: dict[str, str], validator: str | None) -> None:
    assert strong_validator(answer(200, **headers).headers) == validator
