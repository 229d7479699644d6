"""Headers, and what a status means."""

from __future__ import annotations

import pytest

from torcxd.errors import EX_TEMPFAIL, EX_UNAVAILABLE, Kind
from torcxd.http import Headers, HttpError, Reason, Response, raise_for_status

URL = "https://h/p?token=hunter2"


def answer(status: int, **headers: str) -> Response:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Response(status, Headers(raw), b"hunter2", URL)


def test_headers_have_names_in_any_case() -> None:
    headers = Headers([(b"ETag", b'"a"'), (b"Via", b"one"), (b"via", b"two"), (b"X-Name", b"J\xf6rg")])
    assert headers["etag"] == headers["ETAG"] == '"a"'
    assert headers["Via"] == "one, two"
    assert headers["x-name"] == "Jörg"
    assert headers.get("missing") is None
    assert "eTag" in headers
    assert list(headers) == ["etag", "via", "x-name"]
    assert len(headers) == 3


def test_a_repr_shows_no_content() -> None:
    assert "hunter2" not in repr(answer(200, Set_Cookie="hunter2"))


@pytest.mark.parametrize("status", [200, 204, 206, 301, 304, 399])
def test_a_status_below_400_is_fine(status: int) -> None:
    raise_for_status(answer(status))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.PERMANENT),
        (401, Kind.PERMANENT),
        (404, Kind.PERMANENT),
        (416, Kind.PERMANENT),
        (408, Kind.TRANSIENT),
        (425, Kind.TRANSIENT),
        (429, Kind.TRANSIENT),
        (500, Kind.TRANSIENT),
        (503, Kind.TRANSIENT),
        (599, Kind.TRANSIENT),
    ],
)
def test_a_status_from_400_is_an_error(status: int, kind: Kind) -> None:
    with pytest.raises(HttpError, match=str(status)) as caught:
        raise_for_status(answer(status))
    error = caught.value
    assert (error.kind, error.reason, error.status) == (kind, Reason.STATUS, status)
    assert error.exit_code == (EX_TEMPFAIL if kind is Kind.TRANSIENT else EX_UNAVAILABLE)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "120"}, 120),
        ({"Retry_After": " 0 "}, 0),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "²"}, None),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30),
        ({"Retry_After": "Wed, 21 Oct 2015 07:27:00 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:30 -0000", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    with pytest.raises(HttpError) as caught:
        raise_for_status(answer(503, **headers))
    assert caught.value.retry_after == seconds


def test_a_permanent_error_is_not_retried_whatever_the_server_says() -> None:
    with pytest.raises(HttpError) as caught:
        raise_for_status(answer(404, Retry_After="5"))
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    "value",
    ["9" * 400, "1" * 10, "Mon, 01 Jan 2018 00:00:00 +99999999999999", "Mon, 01 Jan 99999 00:00:00 GMT", "-1", "soon"],
)
def test_a_wait_beyond_reason_is_none(value: str) -> None:
    with pytest.raises(HttpError) as caught:
        raise_for_status(answer(503, Retry_After=value, Date="Mon, 01 Jan 2018 00:00:00 GMT"))
    assert caught.value.retry_after is None
