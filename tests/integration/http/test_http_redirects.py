"""Redirects: where they may lead, and what goes along."""

from __future__ import annotations

import pytest

from torcxd.errors import Kind
from torcxd.http import HttpClient, HttpError, Reason
from torcxd.http.connection import Connection
from torcxd.http.redirects import MAX_REDIRECTS
from torcxd.sandbox.http_server import Request, Response, serve
from torcxd.sandbox.tls import Authority

CREDENTIALS = {"Authorization": "Bearer hunter2", "Cookie": "c=hunter2", "X-Other": "kept"}


async def arrived(request: Request) -> Response:
    return Response(headers={"X-Method": request.method}, body=request.body or b"arrived")


def leading_to(location: str | None, status: int = 302) -> Response:
    return Response(status, {} if location is None else {"Location": location})


async def refused(client: HttpClient, url: str, says: str) -> None:
    with pytest.raises(HttpError, match=says) as caught:
        await client.get(url, headers=CREDENTIALS)
    assert (caught.value.reason, caught.value.kind) == (Reason.REDIRECT, Kind.PERMANENT)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/b?x=1", "b?x=1", "{url}/b?x=1", "//127.0.0.1:{port}/b?x=1#fragment"])
async def test_within_an_origin(client: HttpClient, authority: Authority, status: int, location: str) -> None:
    async def handler(request: Request) -> Response:
        if request.path == "/b":
            return await arrived(request)
        return leading_to(location.format(url=server.url, port=server.port), status)

    async with serve(handler, ssl_context=authority.server_context()) as server:
        response = await client.get(f"{server.url}/a?y=2", headers=CREDENTIALS)
        assert (response.status, response.body, response.url) == (200, b"arrived", f"{server.url}/b?x=1")
        assert server.requests[1].target == "/b?x=1"
        assert server.requests[1].headers["authorization"] == "Bearer hunter2"
        assert server.requests[1].headers["cookie"] == "c=hunter2"
        assert server.connections == 1


@pytest.mark.parametrize("spelling", ["https://127.0.0.1:{port}/b", "https://u:p@localhost:{port}/b"])
async def test_credentials_stay_with_their_origin(client: HttpClient, authority: Authority, spelling: str) -> None:
    async def handler(request: Request) -> Response:
        return leading_to(spelling.format(port=other.port))

    async with (
        serve(arrived, ssl_context=authority.server_context()) as other,
        serve(handler, ssl_context=authority.server_context()) as server,
    ):
        assert (await client.get(server.url, headers=CREDENTIALS)).body == b"arrived"
        assert (await client.get(server.url.replace("//", "//user:hunter2@"))).body == b"arrived"
        for request in other.requests:
            assert not {"authorization", "cookie"} & set(request.headers)
            assert str(other.port) in request.headers["host"]
        assert other.requests[0].headers["x-other"] == "kept"
        assert server.requests[1].headers["authorization"].startswith("Basic ")


async def test_credentials_do_not_come_back_after_a_detour(client: HttpClient) -> None:
    async def handler(request: Request) -> Response:
        return await arrived(request) if request.path == "/end" else leading_to(f"{other.url}/detour")

    async def detour(request: Request) -> Response:
        return leading_to(f"{server.url}/end")

    async with serve(detour) as other, serve(handler) as server:
        await client.get(server.url, headers=CREDENTIALS)
        assert "authorization" not in server.requests[-1].headers


async def test_http_may_lead_to_https_but_not_back(client: HttpClient, authority: Authority) -> None:
    async def up(request: Request) -> Response:
        return leading_to(secure.url)

    async def down(request: Request) -> Response:
        return leading_to(plain.url + "/?token=hunter2") if request.path == "/down" else await arrived(request)

    async with serve(up) as plain, serve(down, ssl_context=authority.server_context()) as secure:
        assert (await client.get(plain.url)).body == b"arrived"
        await refused(client, f"{secure.url}/down", "from https to http://.*token=\\*\\*\\*")
        assert len(plain.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[fe80::1%25lo]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://169.254.43518/",
    ],
)
async def test_a_link_local_address_is_no_place_to_go(client: HttpClient, location: str) -> None:
    async def handler(request: Request) -> Response:
        return leading_to(location)

    async with serve(handler) as server:
        with pytest.raises(HttpError, match=r"link-local|cannot be requested") as caught:
            await client.get(server.url)
        assert caught.value.reason is Reason.REDIRECT


async def test_nor_is_a_name_for_one(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: Request) -> Response:
        return leading_to(f"http://localhost:{server.port}/")

    monkeypatch.setattr(Connection, "peer_address", lambda self: "169.254.169.254")
    async with serve(handler) as server:
        await refused(client, server.url, "link-local")
        assert len(server.requests) == 1
        await server.wait_until(lambda each: each.open_connections <= 1)


@pytest.mark.parametrize(
    "location", ["file:///etc/shadow", "ftp://h/", "https://", "http://h:port/", "http://h/\u00fc", "http://a..b/"]
)
async def test_only_well_formed_http_urls(client: HttpClient, location: str) -> None:
    async def handler(request: Request) -> Response:
        return leading_to(location)

    async with serve(handler) as server:
        await refused(client, server.url, "cannot be requested")


async def test_a_redirect_needs_a_location(client: HttpClient) -> None:
    async def handler(request: Request) -> Response:
        return leading_to(None)

    async with serve(handler) as server:
        await refused(client, server.url, "302 comes without a Location")


async def test_a_loop_ends(client: HttpClient) -> None:
    async def handler(request: Request) -> Response:
        return leading_to("/")

    async with serve(handler) as server:
        await refused(client, server.url, f"more than {MAX_REDIRECTS} redirects")
        assert len(server.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ],
)
async def test_method_and_body(client: HttpClient, status: int, method: str, then: str) -> None:
    async def handler(request: Request) -> Response:
        return await arrived(request) if request.path == "/b" else leading_to("/b", status)

    async with serve(handler) as server:
        sent = b"" if method == "HEAD" else b"body"
        response = await client.request(method, server.url, headers={"Content-Type": "a/b"}, body=sent)
        assert response.headers["x-method"] == then
        second = server.requests[1]
        assert second.body == (sent if then == method else b"")
        assert (second.headers.get("content-type") == "a/b") is (then == method)


async def test_they_can_be_left_to_the_caller(client: HttpClient) -> None:
    async def handler(request: Request) -> Response:
        return leading_to("/b")

    async with serve(handler) as server:
        response = await client.request("GET", server.url, follow_redirects=False)
        assert (response.status, response.headers["location"]) == (302, "/b")
        async with client.stream("GET", server.url, follow_redirects=False) as answer:
            assert answer.status == 302
