"""URLs: what is taken, what is refused, what is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.errors import Kind
from torcxd.http import HttpError, Reason, redact
from torcxd.http.url import Url, parse_address


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target", "authority"),
    [
        ("https://Bucket.Example/a/b?c=d#e", "https", "bucket.example", 443, "/a/b?c=d", "bucket.example"),
        ("http://h", "http", "h", 80, "/", "h"),
        ("http://h?x", "http", "h", 80, "/?x", "h"),
        ("https://h:8443/;p=1", "https", "h", 8443, "/;p=1", "h:8443"),
        ("https://[2001:DB8::1]/", "https", "2001:db8::1", 443, "/", "[2001:db8::1]"),
        ("https://[::1]:6443/", "https", "::1", 6443, "/", "[::1]:6443"),
        ("https://u:p%40@h:443/", "https", "h", 443, "/", "h"),
        ("https://bücher.example/", "https", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://h.example./", "https", "h.example.", 443, "/", "h.example."),
        (f"https://{'x' * 63}/", "https", "x" * 63, 443, "/", "x" * 63),
        ("https://h/%7Ea%2Fb?sig=a%2Bb==", "https", "h", 443, "/%7Ea%2Fb?sig=a%2Bb==", "h"),
    ],
)
def test_a_url_is_taken_apart(text: str, scheme: str, host: str, port: int, target: str, authority: str) -> None:
    url = Url.parse(text)
    assert (url.scheme, url.host, url.port, url.target, url.authority) == (scheme, host, port, target, authority)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1", "fe80::1"),
        ("h.example", None),
        ("1.2.3.4.5", None),
        ("", None),
        ("\x00", None),
        ("ü", None),
    ],
)
def test_addresses_in_every_spelling(host: str, address: str | None) -> None:
    assert str(parse_address(host)) == str(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/path",
        "//host/path",
        "host",
        "ftp://h/",
        "file:///etc/shadow",
        "https:///path",
        "https://",
        "https://h:99999/",
        "https://h:x/",
        # asks would connect to the default port instead.
        "https://h:0/",
        "https://h/a b",
        "https://h/\r\nX: y",
        "https://h\t/",
        "https://h/\x00",
        "https://[::1/",
        "https://[nonsense]/",
        "https://h/ü",
        "https://a_b%2f/",
        "https://" + "ü" * 70 + "/",
        "https://-/",
        # Python's resolver and TLS raise UnicodeError for these, and ssl.SSLError for the last.
        "https://a..b/",
        "https://a.../",
        "https://" + "x" * 64 + "/",
        "https://" + "a." * 127 + "a/",
    ],
)
def test_a_bad_url_is_a_permanent_error(text: str) -> None:
    with pytest.raises(HttpError) as caught:
        Url.parse(text)
    assert caught.value.reason is Reason.URL
    assert caught.value.kind is Kind.PERMANENT
    assert caught.value.hint


def test_the_error_shows_neither_password_nor_token() -> None:
    with pytest.raises(HttpError) as caught:
        Url.parse("ftp://user:hunter2@h/x?token=hunter2#hunter2")
    assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.url}"
    assert "ftp://h/x?token=***" in str(caught.value)


def test_nothing_secret_is_in_a_repr() -> None:
    url = Url.parse("https://user:hunter2@h/x?token=hunter2")
    assert "hunter2" not in repr(url)
    assert str(url) == "https://h/x?token=hunter2"
    assert url.credentials == b"user:hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/p", "https://h/p"),
        ("https://u:p@h:1/p?a=1&b=&c#f", "https://h:1/p?a=***&b=***&c=***"),
        ("https://a@b@h/p", "https://h/p"),
        ("https://u:p@[::1/p", "(unreadable URL)"),
        ("https://u:p@h:port/", "(unreadable URL)"),
        ("h/p?a=1", "h/p?a=***"),
        ("https://h/p?a=x@y", "https://h/p?a=***"),
        ("https://user:12/hunter2@h/", "(URL with an @ in its path or query)"),
        ("https://user:12?hunter2@h/", "(URL with an @ in its path or query)"),
        ("https://user:12#hunter2@h/", "(URL with an @ in its path or query)"),
        ("https://user:12@?hunter2@h/", "(URL with an @ in its path or query)"),
        ("https://user:12@x#hunter2@h/", "(URL with an @ in its path or query)"),
        ("https://h/p?mail=a@b", "https://h/p?mail=***"),
        ("user:hunter2@h:3128", "(URL with an @ in its path or query)"),
    ],
)
def test_redaction(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(
    st.text(st.characters(codec="ascii", exclude_characters="@/?#&=\\"), min_size=6), st.sampled_from(["h", "[::1]"])
)
def test_redaction_never_shows_a_password(password: str, host: str) -> None:
    secret = f"Z{password}Z"
    assert secret not in redact(f"https://user:{secret}@{host}/p?key={secret}")


def parsed(text: str) -> Url | Reason:
    try:
        return Url.parse(text)
    except HttpError as error:
        return error.reason


@given(st.text())
def test_any_text_is_a_url_or_a_typed_error(text: str) -> None:
    for each in (text, f"https://{text}", f"https://h/{text}"):
        url = parsed(each)
        if isinstance(url, Url):
            assert Url.parse(str(url)) == replace(url, userinfo="")
        else:
            assert url is Reason.URL
