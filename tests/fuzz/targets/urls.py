"""URLs, the proxy variables, redaction and the template of the manifests' URL."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from tests.fuzz.oracle import demand, refusing
from torcxd.errors import ConfigurationError
from torcxd.http import HttpError, Proxies, redact
from torcxd.http.redirects import is_link_local
from torcxd.http.url import Url
from torcxd.manifest_url import parse_template, render_url, url_problem

WORDS: Final = (
    "http://", "https://", "user:password@", "@", ":", "[::1]", "[fe80::1%25eth0]", "127.0.0.1", "0x7f.1", "10.0.0.0/8",
    "*.example", ":3128", "?key=", "#", "{{.Board}}", "{{.OSVersion}}", "{{", "}}", "\u00e4", "%zz", ",",
)  # fmt: skip


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    shown = redact(text)
    for secret in _passwords(text):
        demand(secret not in shown, f"the password {secret!a} is shown in {shown!a}")
    with refusing(HttpError, secrets=_passwords(text)):
        url = Url.parse(text)
        demand(Url.parse(str(url)).origin == url.origin, "another origin")
        demand(str(url).isascii() and str(url).isprintable(), "characters that no request line takes")
        demand("@" not in urlsplit(str(url)).netloc, "userinfo on the wire")
        is_link_local(url.host)
    for name in ("HTTPS_PROXY", "NO_PROXY"):
        with refusing(ConfigurationError, secrets=_passwords(text) if name == "HTTPS_PROXY" else ()):
            proxies = Proxies.from_environment({"HTTPS_PROXY": "http://proxy:3128", name: text})
            proxies.select(Url.parse("https://api.example:6443/version"))
            proxies.select(Url.parse("https://[fd00::1]/"))
    try:
        template = parse_template(text)
    except ValueError:
        pass
    else:
        rendered = render_url(template, "amd64-usr", "1576.4.0+2017-12-06-0313")
        demand(url_problem(rendered) == "", "a template gives what cannot be fetched")
        with refusing(HttpError):
            Url.parse(rendered)
    with refusing(ConfigurationError):
        render_url("https://h/{{.Board}}/{{.OSVersion}}", "amd64-usr", text)


def _passwords(text: str) -> tuple[str, ...]:
    """What is without doubt a password in *text*: between the first colon after the scheme and the last at sign."""
    match = re.fullmatch(r"(?:[a-z]+://)?[a-z]*:([A-Za-z0-9/?#=&;]{6,})@[a-z0-9.]+(?::[0-9]+)?(?:/[a-z0-9]*)?", text)
    return (match[1],) if match else ()
