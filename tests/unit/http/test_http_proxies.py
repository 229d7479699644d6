"""Which proxy a URL goes through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.errors import ConfigurationError
from torcxd.http import Proxies
from torcxd.http.url import Url

PROXY = "http://proxy.example:3128"
pytestmark = pytest.mark.accepts("A38")


def chosen(proxies: Proxies, url: str) -> str | None:
    """The URL of the proxy for *url*, with its userinfo."""
    proxy = proxies.select(Url.parse(url))
    if proxy is None:
        return None
    userinfo = f"{proxy.userinfo}@" if proxy.userinfo else ""
    return f"{proxy.scheme}://{userinfo}{proxy.bracketed_host}:{proxy.port}"


def https(**env: str) -> Proxies:
    return Proxies.from_environment({"HTTPS_PROXY": PROXY, **env})


@pytest.mark.parametrize(
    ("env", "http", "secure"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"https_proxy": PROXY}, None, PROXY),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"http_proxy": PROXY}, PROXY, None),
        ({"HTTPS_PROXY": "http://one:1", "https_proxy": "http://two:2"}, None, "http://one:1"),
        ({"HTTPS_PROXY": "", "https_proxy": "http://two:2"}, None, "http://two:2"),
        ({"HTTPS_PROXY": "  "}, None, None),
        ({"HTTPS_PROXY": "proxy:3128"}, None, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy"}, None, "http://proxy:80"),
        ({"HTTPS_PROXY": "https://proxy"}, None, "https://proxy:443"),
        ({"HTTPS_PROXY": "http://u:p%20w@[::1]:1/"}, None, "http://u:p%20w@[::1]:1"),
        ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None, PROXY),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, PROXY, None),
    ],
)
def test_variables(env: dict[str, str], http: str | None, secure: str | None) -> None:
    proxies = Proxies.from_environment(env)
    assert chosen(proxies, "http://target.example/") == http
    assert chosen(proxies, "https://target.example/") == secure


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://any.example/", True),
        ("other, *", "https://any.example/", True),
        ("example", "https://example/", True),
        ("example", "https://a.b.example/", True),
        ("example", "https://badexample/", False),
        ("EXAMPLE", "https://a.Example./", True),
        (".example", "https://a.example/", True),
        (".example", "https://example/", False),
        ("*.example", "https://a.example/", True),
        ("*.example", "https://example/", False),
        ("a.example,b.example", "https://b.example/", True),
        ("a.example b.example", "https://b.example/", True),
        ("a.example,,", "https://b.example/", False),
        ("example:8443", "https://example:8443/", True),
        ("example:8443", "https://example/", False),
        ("example:443", "https://example/", True),
        (".example:443", "https://a.example/", True),
        ("10.0.0.1", "https://10.0.0.1/", True),
        ("10.0.0.1", "https://10.0.0.11/", False),
        ("10.0.0.1:6443", "https://10.0.0.1:6443/", True),
        ("10.0.0.1:6443", "https://10.0.0.1/", False),
        ("10.0.0.0/8", "https://10.1.2.3:6443/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3/8", "https://10.9.9.9/", True),
        ("10.0.0.0/8", "https://ten.example/", False),
        ("fd00::/8", "https://[fd12::1]/", True),
        ("fd00::/8", "https://10.0.0.1/", False),
        ("fd12::1", "https://[fd12:0::1]:8443/", True),
        ("[fd12::1]:8443", "https://[fd12::1]:8443/", True),
        ("[fd12::1]:8443", "https://[fd12::1]/", False),
        ("10.0.0.1", "https://[::ffff:10.0.0.1]/", True),
        ("", "https://localhost:6443/", True),
        ("", "https://127.9.9.9/", True),
        ("", "https://[::1]/", True),
        ("", "https://localhost.example/", False),
    ],
)
def test_exceptions(no_proxy: str, url: str, direct: bool) -> None:
    expected = None if direct else PROXY
    assert chosen(https(NO_PROXY=no_proxy), url) == expected
    assert chosen(https(no_proxy=no_proxy), url) == expected


@pytest.mark.parametrize(
    "value", ["http://", "socks5://p:1", "http://p:99999", "http://p p", "://x", "http://u:secret@"]
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"])
def test_a_bad_proxy_names_its_variable_and_not_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        Proxies.from_environment({name: value})
    assert "secret" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "h:99999", "h:x", "[::1", ":::", "*.", ".", "fe80::zz", "h:"])
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_a_bad_exception_names_its_variable(name: str, entry: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Proxies.from_environment({name: f"good.example,{entry}"})


def outcome(no_proxy: str) -> str | None:
    try:
        return chosen(https(NO_PROXY=no_proxy), "https://h.example/")
    except ConfigurationError as error:
        return error.message


@given(st.text())
def test_any_exception_is_taken_or_a_configuration_error(value: str) -> None:
    result = outcome(value)
    assert result in {None, PROXY} or "NO_PROXY" in str(result)


def test_no_proxies() -> None:
    assert chosen(Proxies.none(), "https://h/") is None
    assert Proxies.none() == Proxies.from_environment({"PATH": "/bin"})


def test_the_repr_keeps_the_password() -> None:
    proxies = Proxies.from_environment({"HTTPS_PROXY": "http://user:hunter2@proxy:1", "NO_PROXY": "x"})
    assert "hunter2" not in repr(proxies)
