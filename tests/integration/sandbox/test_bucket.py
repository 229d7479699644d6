"""The bucket stand-in publishes what a bucket does, and fails as told."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from torcxd.addons.manifest import parse_manifest, signature_url
from torcxd.http import HttpClient, HttpError, Reason, Timeouts
from torcxd.manifest_url import render_url
from torcxd.sandbox.bucket import Bucket
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.http_server import Server
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.keys import Keys

Fetch = Callable[..., Awaitable[Any]]
BOARD, OS_VERSION = "amd64-usr", "1576.4.0"
IMAGE = docker_image("17.03", 100_000)


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with Keys() as keys:
        yield keys


@pytest.fixture
def bucket(keys: Keys) -> Bucket:
    bucket = Bucket(keys.make())
    vendored = {"/usr/share/torcx/store/docker:1.12.torcx.tgz": docker_image("1.12")}
    bucket.publish(BOARD, OS_VERSION, IMAGE, vendored=vendored)
    return bucket


@pytest.fixture
async def server(bucket: Bucket) -> AsyncIterator[Server]:
    async with bucket.serve() as server:
        yield server


@pytest.fixture
def context(bucket: Bucket) -> ssl.SSLContext:
    return bucket.authority.client_context()


def manifest_url(bucket: Bucket) -> str:
    return render_url(bucket.manifest_template, BOARD, OS_VERSION)


async def image_url(bucket: Bucket, fetch: Fetch) -> str:
    answer = await fetch(manifest_url(bucket), bucket.authority.client_context())
    package = parse_manifest(answer.body, "the manifest").packages["docker"]
    version = package.find("17.03")
    assert version is not None
    assert version.locations[0].url is not None
    return version.locations[0].url


async def test_the_manifest_names_downloads_and_vendored_images(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch
) -> None:
    answer = await fetch(manifest_url(bucket), context)
    package = parse_manifest(answer.body, "the manifest").packages["docker"]
    assert package.default_version == "17.03"
    downloaded, vendored = package.versions
    assert (downloaded.version, downloaded.digest) == ("17.03", IMAGE.digest)
    assert vendored.locations[0].path == "/usr/share/torcx/store/docker:1.12.torcx.tgz"
    image = await fetch(await image_url(bucket, fetch), context)
    assert hashlib.sha512(image.body).hexdigest() == IMAGE.digest.hex
    assert server.requests[0].path == f"/manifests/{BOARD}/{OS_VERSION}/torcx_manifest.json"


async def test_the_signature_is_beside_the_manifest(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch, tmp_path: Path
) -> None:
    manifest = await fetch(manifest_url(bucket), context)
    signature = await fetch(signature_url(manifest_url(bucket)), context)
    assert bucket.key is not None
    keyring, path = tmp_path / "keyring.gpg", tmp_path / "signature"
    keyring.write_bytes(bucket.key.public)
    path.write_bytes(signature.body)
    subprocess.run(["gpgv", "--keyring", keyring, path, "-"], input=manifest.body, capture_output=True, check=True)


async def test_without_a_key_and_without_a_manifest_there_is_none(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch
) -> None:
    bucket.key = None
    assert (await fetch(manifest_url(bucket) + ".asc", context)).status == 404
    bucket.withdraw(BOARD, OS_VERSION)
    assert (await fetch(manifest_url(bucket), context)).status == 404
    assert (await fetch(bucket.url + "/torcx/pkgs/none", context)).status == 404
    assert (await fetch(bucket.url + "/x", context, method="POST")).status == 405


async def test_a_manifest_can_be_edited_before_it_is_signed(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch
) -> None:
    bucket.edit = lambda manifest: manifest.update(kind="other")
    assert json.loads((await fetch(manifest_url(bucket), context)).body)["kind"] == "other"


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "body"),
    [
        ({"Range": "bytes=10-"}, 206, f"bytes 10-{len(IMAGE.data) - 1}/{len(IMAGE.data)}", IMAGE.data[10:]),
        ({"Range": "bytes=10-19"}, 206, f"bytes 10-19/{len(IMAGE.data)}", IMAGE.data[10:20]),
        ({"Range": "bytes=0-99999999"}, 206, f"bytes 0-{len(IMAGE.data) - 1}/{len(IMAGE.data)}", IMAGE.data),
        ({"Range": f"bytes={len(IMAGE.data)}-"}, 416, f"bytes */{len(IMAGE.data)}", b""),
        ({"Range": "bytes=10-", "If-Range": '"other"'}, 200, None, IMAGE.data),
        ({"Range": "lines=1-2"}, 200, None, IMAGE.data),
        ({}, 200, None, IMAGE.data),
    ],
    ids=["to-the-end", "inside", "beyond", "after", "other-content", "other-unit", "none"],
)
async def test_ranges_are_those_of_rfc_9110(
    bucket: Bucket,
    server: Server,
    context: ssl.SSLContext,
    fetch: Fetch,
    asked: dict[str, str],
    status: int,
    content_range: str | None,
    body: bytes,
) -> None:
    answer = await fetch(await image_url(bucket, fetch), context, asked)
    assert (answer.status, answer.headers.get("Content-Range")) == (status, content_range)
    assert answer.body == body


async def test_a_range_holds_while_the_content_is_the_same(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch
) -> None:
    url = await image_url(bucket, fetch)
    etag = (await fetch(url, context, method="HEAD")).headers["ETag"]
    assert (await fetch(url, context, {"Range": "bytes=10-", "If-Range": etag})).status == 206
    bucket.ranges = False
    assert (await fetch(url, context, {"Range": "bytes=10-", "If-Range": etag})).status == 200


async def test_faults_are_used_up_in_order_and_can_be_healed(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch
) -> None:
    bucket.fail(".json", Fault.UNAVAILABLE, times=2)
    bucket.fail(".json", Fault.NOT_FOUND)
    statuses = [(await fetch(manifest_url(bucket), context)).status for _ in range(4)]
    assert statuses == [503, 503, 404, 404]
    bucket.heal()
    assert (await fetch(manifest_url(bucket), context)).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault.FORBIDDEN, 403, b"<Error><Code>AccessDenied</Code></Error>\n"),
        (Fault.HTML, 200, b"<html><body>Log in to this network</body></html>\n"),
        (Fault.SHORTENED, 200, IMAGE.data[:500]),
        (Fault.LARGER, 200, IMAGE.data + bytes(len(IMAGE.data))),
        (Fault.OTHER_DATA, 200, IMAGE.data),
    ],
    ids=["forbidden", "html", "shortened", "larger", "other-data"],
)
async def test_a_complete_answer_can_be_a_lie(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch, fault: Fault, status: int, body: bytes
) -> None:
    url = await image_url(bucket, fetch)
    bucket.fail("17.03", fault, after=500)
    answer = await fetch(url, context)
    assert (answer.status, answer.body) == (status, body)


async def test_wrong_content_has_the_right_size(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch
) -> None:
    url = await image_url(bucket, fetch)
    bucket.fail("17.03", Fault.WRONG_CONTENT)
    body = (await fetch(url, context)).body
    half = len(body) // 2
    assert len(body) == len(IMAGE.data)
    assert body[:half] == IMAGE.data[:half]
    assert all(mine != theirs for mine, theirs in zip(body[half:], IMAGE.data[half:], strict=True))


@pytest.mark.parametrize(
    ("fault", "reason", "timeouts"),
    [
        (Fault.HANG, Reason.TIMEOUT, Timeouts(first_byte=0.1)),
        (Fault.TRUNCATED, Reason.TRUNCATED, None),
        (Fault.RESET, Reason.CONNECT, None),
        (Fault.STALLED, Reason.STALL, Timeouts(stall=0.1)),
        (Fault.TRICKLE, Reason.STALL, Timeouts(stall=0.1)),
        (Fault.ENDLESS, Reason.TOO_LARGE, None),
    ],
)
async def test_an_incomplete_answer_is_seen_as_what_it_is(
    bucket: Bucket,
    server: Server,
    context: ssl.SSLContext,
    fetch: Fetch,
    fault: Fault,
    reason: Reason,
    timeouts: Timeouts | None,
) -> None:
    url = await image_url(bucket, fetch)
    bucket.fail("17.03", fault)
    http = HttpClient(ssl_context=context, timeouts=timeouts)
    with pytest.raises(HttpError) as caught:
        await http.get(url)
    await http.aclose()
    assert caught.value.reason is reason


async def test_the_rate_holds(
    bucket: Bucket, server: Server, context: ssl.SSLContext, fetch: Fetch, autojump_clock: trio.testing.MockClock
) -> None:
    url = await image_url(bucket, fetch)
    bucket.rate = 10
    started = trio.current_time()
    assert (await fetch(url, context)).body == IMAGE.data
    assert trio.current_time() - started == pytest.approx(len(IMAGE.data) / 10)
