"""Requests through a forward proxy that resolves the names itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Proxies, Reason
from torcxd.sandbox.http_faults import Ending, endless_headers, send_then
from torcxd.sandbox.http_proxy import ForwardProxy
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, serve
from torcxd.sandbox.tls import Authority

NewClient = Callable[..., HttpClient]
pytestmark = pytest.mark.accepts("A38")


async def hello(request: Request) -> Response:
    return Response(headers={"X-Host": request.headers["host"]}, body=b"hello")


def variables(proxy: Server, userinfo: str = "", **more: str) -> Mapping[str, str]:
    url = proxy.url.replace("//", f"//{userinfo}")
    return {"HTTPS_PROXY": url, "HTTP_PROXY": url, **more}


def through(new_client: NewClient, env: Mapping[str, str]) -> HttpClient:
    return new_client(proxies=Proxies.from_environment(env))


async def test_https_goes_through_a_tunnel(new_client: NewClient, authority: Authority) -> None:
    async with serve(hello, ssl_context=authority.server_context("bucket.example")) as bucket:
        forward = ForwardProxy({"bucket.example:443": bucket.port})
        async with serve(forward) as proxy:
            client = through(new_client, variables(proxy))
            for _ in range(3):
                response = await client.get("https://bucket.example/manifest")
                assert (response.body, response.headers["x-host"]) == (b"hello", "bucket.example")
            assert forward.targets == ["bucket.example:443"]  # one tunnel serves them all
            assert [each.target for each in bucket.requests] == ["/manifest"] * 3
            assert not any("proxy-authorization" in each.headers for each in bucket.requests)


async def test_the_certificate_is_checked_through_the_tunnel(new_client: NewClient, authority: Authority) -> None:
    async with serve(hello, ssl_context=authority.server_context("other.example")) as bucket:
        forward = ForwardProxy({"bucket.example:443": bucket.port})
        async with serve(forward) as proxy:
            with pytest.raises(HttpError, match=r"certificate of bucket\.example is not accepted") as caught:
                await through(new_client, variables(proxy)).get("https://bucket.example/")
            assert caught.value.reason is Reason.TLS
            await proxy.wait_until(lambda each: each.open_connections == 0)


async def test_http_goes_in_absolute_form(new_client: NewClient) -> None:
    async with serve(hello) as bucket:
        forward = ForwardProxy({"bucket.example:80": bucket.port}, credentials="us er:p@ss")
        async with serve(forward) as proxy:
            client = through(new_client, variables(proxy, "us%20er:p%40ss@"))
            response = await client.get("http://bucket.example/a?b=c")
            assert response.body == b"hello"
            assert forward.targets == ["http://bucket.example/a?b=c"]
            assert bucket.requests[0].target == "/a?b=c"
            assert bucket.requests[0].headers["host"] == "bucket.example"


async def test_credentials_for_the_tunnel(new_client: NewClient, authority: Authority) -> None:
    async with serve(hello, ssl_context=authority.server_context("bucket.example")) as bucket:
        forward = ForwardProxy({"bucket.example:443": bucket.port}, credentials="user:hunter2")
        async with serve(forward) as proxy:
            client = through(new_client, variables(proxy, "user:hunter2@"))
            assert (await client.get("https://bucket.example/")).body == b"hello"
            with pytest.raises(HttpError, match="status 407") as caught:
                await through(new_client, variables(proxy, "user:wrong@")).get("https://bucket.example/")
            error = caught.value
            assert (error.reason, error.kind, error.status) == (Reason.PROXY, Kind.CONFIGURATION, 407)
            assert "wrong" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Kind.PERMANENT), (405, Kind.PERMANENT), (429, Kind.TRANSIENT), (502, Kind.TRANSIENT)]
)
async def test_a_refused_tunnel(new_client: NewClient, status: int, kind: Kind) -> None:
    async with serve(ForwardProxy(refuse=status)) as proxy:
        with pytest.raises(HttpError, match=f"refuses a tunnel to bucket.example:443 with status {status}") as caught:
            await through(new_client, variables(proxy)).get("https://bucket.example/")
        error = caught.value
        assert (error.reason, error.kind, error.status) == (Reason.PROXY, kind, status)
        await proxy.wait_until(lambda each: each.open_connections == 0)


@pytest.mark.parametrize(
    "behaviour",
    [
        send_then(b"SSH-2.0\r\n\r\n"),
        send_then(b""),
        send_then(b"", Ending.RESET),
        endless_headers,
    ],
)
async def test_a_proxy_that_is_none(new_client: NewClient, behaviour: RawBehaviour) -> None:
    async def handler(request: Request) -> RawBehaviour:
        return behaviour

    async with serve(handler) as proxy:
        with pytest.raises(HttpError, match="did not answer CONNECT as a proxy does") as caught:
            await through(new_client, variables(proxy)).get("https://bucket.example/")
        assert caught.value.reason is Reason.PROXY
        await proxy.wait_until(lambda each: each.open_connections == 0)


async def test_a_proxy_that_does_not_listen(new_client: NewClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = through(new_client, {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{port}"})
    with pytest.raises(HttpError, match=f"cannot connect to the proxy 127.0.0.1 port {port}") as caught:
        await client.get("https://bucket.example/")
    assert (caught.value.reason, caught.value.kind) == (Reason.CONNECT, Kind.TRANSIENT)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_speaks_tls(
    new_client: NewClient, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    inner = authority.server_context("bucket.example") if scheme == "https" else None
    async with serve(hello, ssl_context=inner) as bucket:
        forward = ForwardProxy({"bucket.example:443": bucket.port, "bucket.example:80": bucket.port})
        async with serve(forward, ssl_context=authority.server_context()) as proxy:
            client = through(new_client, variables(proxy))
            assert (await client.get(f"{scheme}://bucket.example/")).body == b"hello"
            assert len(forward.targets) == 1


async def test_exceptions_go_direct(new_client: NewClient, authority: Authority) -> None:
    forward = ForwardProxy()
    async with serve(forward) as proxy, serve(hello, ssl_context=authority.server_context()) as bucket:
        # Loopback is never proxied; a name only if NO_PROXY says so.
        assert (await through(new_client, variables(proxy)).get(bucket.url)).body == b"hello"
        client = through(new_client, variables(proxy, NO_PROXY="invalid"))
        with pytest.raises(HttpError, match=r"cannot resolve bucket\.invalid"):
            await client.get("https://bucket.invalid/")
        assert forward.targets == []


async def test_each_redirect_chooses_its_own_way(new_client: NewClient, authority: Authority) -> None:
    async def handler(request: Request) -> Response:
        return Response(302, {"Location": mirror.url})

    async with (
        serve(hello, ssl_context=authority.server_context()) as mirror,
        serve(handler, ssl_context=authority.server_context("bucket.example")) as bucket,
    ):
        forward = ForwardProxy({"bucket.example:443": bucket.port})
        async with serve(forward) as proxy:
            assert (await through(new_client, variables(proxy)).get("https://bucket.example/")).body == b"hello"
            assert forward.targets == ["bucket.example:443"]
