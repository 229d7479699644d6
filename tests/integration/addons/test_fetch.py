"""Downloads from a real server that does everything wrong in turn."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.addons.bucket import ETAG, Bucket, digest, image, running_bucket
from torcxd.addons.fetch import ContentError, Download, Fetcher
from torcxd.addons.staging import Staging
from torcxd.errors import EX_DATAERR, PermanentError, TorcxdError, TransientError
from torcxd.http import HttpClient, HttpError, Reason, Timeouts
from torcxd.lifecycle.catalog import Digest
from torcxd.sandbox.http_faults import Ending, endless_body, head, send_then
from torcxd.sandbox.http_server import Request, Response, Wire, serve

IMAGE = image(300_000)


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    async with running_bucket() as running:
        yield running


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "torcx" / "staging"


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.aclose()


@pytest.fixture
def fetcher(http: HttpClient, directory: Path) -> Fetcher:
    return Fetcher(http, Staging(directory))


class Recorder:
    """Remembers progress, and lets a test wait for some."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int | None]] = []
        self.begun = trio.Event()

    def advanced(self, label: str, done: int, total: int | None) -> None:
        self.seen.append((label, done, total))
        if done:
            self.begun.set()


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


async def fails(fetcher: Fetcher, downloads: Iterable[Download], kind: type[TorcxdError] = TorcxdError) -> TorcxdError:
    with pytest.raises(kind) as caught:
        await fetcher.fetch(downloads)
    return caught.value


# The good case.


@pytest.mark.accepts("A19", "I2", "N7")
async def test_an_image_arrives_whole_private_and_alone(bucket: Bucket, fetcher: Fetcher, directory: Path) -> None:
    download = bucket.put("/a", IMAGE)
    paths = await fetcher.fetch([download])
    path = directory / f"sha512-{download.digest.hex}"
    assert paths == {download.digest: path}
    assert path.read_bytes() == IMAGE
    assert names(directory) == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_an_empty_list_touches_nothing(fetcher: Fetcher, directory: Path) -> None:
    assert await fetcher.fetch([]) == {}
    assert not directory.exists()


async def test_an_empty_image_is_one_too(bucket: Bucket, fetcher: Fetcher) -> None:
    download = bucket.put("/empty", b"")
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == b""


async def test_sha256_is_hashed_as_such(bucket: Bucket, fetcher: Fetcher) -> None:
    wanted = Digest("sha256", hashlib.sha256(IMAGE).hexdigest())
    download = replace(bucket.put("/a", IMAGE), digest=wanted)
    assert (await fetcher.fetch([download]))[wanted].name == f"sha256-{wanted.hex}"


async def test_progress_begins_at_what_is_there_and_ends_at_the_whole(
    bucket: Bucket, http: HttpClient, directory: Path
) -> None:
    recorder = Recorder()
    fetcher = Fetcher(http, Staging(directory), progress=recorder)
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000),))
    await fails(fetcher, [download])
    assert recorder.seen[0] == (download.label, 0, len(IMAGE))
    assert recorder.seen[-1] == (download.label, 1000, len(IMAGE))
    recorder.seen.clear()
    await fetcher.fetch([download])
    assert recorder.seen[0] == (download.label, 1000, len(IMAGE))
    assert recorder.seen[-1] == (download.label, len(IMAGE), len(IMAGE))


@pytest.mark.accepts("N7")
async def test_equal_digests_are_fetched_once(bucket: Bucket, fetcher: Fetcher) -> None:
    one = bucket.put("/a", IMAGE)
    other = replace(bucket.put("/b", IMAGE), label="the same for another OS version")
    assert list(await fetcher.fetch([one, other, one])) == [one.digest]
    assert [each.path for each in bucket.server.requests] == ["/a"]


@pytest.mark.accepts("N7")
async def test_what_is_staged_is_not_fetched_again(bucket: Bucket, fetcher: Fetcher, http: HttpClient) -> None:
    download = bucket.put("/a", IMAGE)
    (path,) = (await fetcher.fetch([download])).values()
    inode = path.stat().st_ino
    assert await fetcher.fetch([download]) == {download.digest: path}
    again = Fetcher(http, Staging(path.parent))
    assert await again.fetch([download]) == {download.digest: path}
    assert path.stat().st_ino == inode
    assert len(bucket.server.requests) == 1


@pytest.mark.accepts("I2", "N2")
async def test_a_staged_file_that_rotted_is_fetched_again(
    bucket: Bucket, fetcher: Fetcher, http: HttpClient, directory: Path
) -> None:
    download = bucket.put("/a", IMAGE)
    (path,) = (await fetcher.fetch([download])).values()
    path.write_bytes(bytes(len(IMAGE)))
    await Fetcher(http, Staging(directory)).fetch([download])
    assert path.read_bytes() == IMAGE
    assert len(bucket.server.requests) == 2


@pytest.mark.accepts("N7")
async def test_downloads_run_in_parallel_up_to_the_limit(http: HttpClient, directory: Path) -> None:
    images = {f"/{n}": image(1000, n) for n in range(6)}
    running = most = 0
    full = trio.Event()

    async def answer(request: Request) -> Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await trio.lowlevel.checkpoint()
        running -= 1
        return Response(200, {}, images[request.path])

    async with serve(answer) as server:
        downloads = [Download(digest(each), (server.url + path,), path) for path, each in images.items()]
        assert len(await Fetcher(http, Staging(directory), parallel=3).fetch(downloads)) == 6
    assert most == 3


@pytest.mark.accepts("N7")
async def test_memory_is_bounded_whatever_the_size(http: HttpClient, directory: Path) -> None:
    piece, count = image(1 << 18), 256

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    async def answer(_: Request) -> Response:
        return Response(200, {"Content-Length": str(len(piece) * count)}, pieces())

    hasher = hashlib.sha512()
    for _ in range(count):
        hasher.update(piece)
    async with serve(answer) as server:
        download = Download(Digest("sha512", hasher.hexdigest()), (server.url,), "64 MiB")
        fetcher = Fetcher(http, Staging(directory))
        tracemalloc.start()
        try:
            await fetcher.fetch([download])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 12 << 20


class Counting(io.FileIO):
    """Counts what is written, over all files."""

    written = 0

    def write(self, data: object) -> int:
        count = super().write(data)  # type: ignore[arg-type]  # whatever has a buffer
        Counting.written += count
        return count


@pytest.mark.accepts("N7")
async def test_every_byte_is_written_once(
    bucket: Bucket, fetcher: Fetcher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "FileIO", Counting)
    monkeypatch.setattr(Counting, "written", 0)
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(100_000), bucket.cut_after(50_000, Ending.RESET)))
    await fails(fetcher, [download], HttpError)
    begun = (directory / f"{download.digest}.part").stat().st_size
    await fails(fetcher, [download], HttpError)
    await fetcher.fetch([download])
    assert begun == 100_000
    assert Counting.written == len(IMAGE)


# Cuts.


@pytest.mark.accepts("N7")
@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.ABORT])
async def test_a_cut_download_goes_on_where_it_was(
    bucket: Bucket, fetcher: Fetcher, directory: Path, ending: Ending
) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(123_456, ending),))
    error = await fails(fetcher, [download], HttpError)
    assert isinstance(error, HttpError)
    assert error.reason is Reason.TRUNCATED
    assert names(directory) == [f"{download.digest}.part", f"{download.digest}.validator"]
    assert (directory / f"{download.digest}.part").read_bytes() == IMAGE[:123_456]
    (path,) = (await fetcher.fetch([download])).values()
    assert path.read_bytes() == IMAGE
    assert bucket.ranges() == [(None, None), ("bytes=123456-", ETAG)]
    assert names(directory) == [str(download.digest)]


@pytest.mark.accepts("N7")
async def test_a_stalled_download_goes_on_where_it_was(bucket: Bucket, directory: Path) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000, Ending.STALL),))
    http = HttpClient(timeouts=Timeouts(stall=0.05))
    fetcher = Fetcher(http, Staging(directory))
    error = await fails(fetcher, [download], HttpError)
    assert isinstance(error, HttpError)
    assert error.reason is Reason.STALL
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges()[1] == ("bytes=1000-", ETAG)
    await http.aclose()


@pytest.mark.accepts("N2", "N7")
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=70_000), max_size=4))
async def test_any_number_of_cuts_costs_no_byte_twice(cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as root:
        async with running_bucket() as bucket:
            download = bucket.put("/a", IMAGE, faults=tuple(bucket.cut_after(each) for each in cuts))
            directory = Path(root, "staging")
            http = HttpClient()
            for _ in cuts:
                # A new process each time, as far as the staging directory can tell.
                await fails(Fetcher(http, Staging(directory)), [download], HttpError)
                assert not (directory / str(download.digest)).exists()
            (path,) = (await Fetcher(http, Staging(directory)).fetch([download])).values()
            assert path.read_bytes() == IMAGE
            await http.aclose()
            starts = [sum(cuts[:each]) for each in range(len(cuts) + 1)]
            assert [each for each, _ in bucket.ranges()] == [f"bytes={each}-" if each else None for each in starts]


@pytest.mark.accepts("N7")
async def test_cancellation_keeps_what_has_arrived(bucket: Bucket, http: HttpClient, directory: Path) -> None:
    content = image(3 << 20)
    download = bucket.put("/a", content, faults=(bucket.cut_after(2 << 20, Ending.STALL),))
    recorder = Recorder()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Fetcher(http, Staging(directory), progress=recorder).fetch, [download])
        await recorder.begun.wait()
        nursery.cancel_scope.cancel()
    assert (directory / f"{download.digest}.part").stat().st_size >= 1 << 20
    assert (await Fetcher(http, Staging(directory)).fetch([download]))[download.digest].read_bytes() == content
    assert bucket.ranges()[1][0] is not None


@pytest.mark.accepts("N2", "N7")
async def test_a_killed_process_leaves_what_another_goes_on_with(
    bucket: Bucket, fetcher: Fetcher, directory: Path
) -> None:
    content = image(3 << 20)
    download = bucket.put("/a", content, faults=(bucket.cut_after(2 << 20, Ending.STALL),))
    program = f"""
import trio
from pathlib import Path
from torcxd.addons.fetch import Download, Fetcher
from torcxd.addons.staging import Staging
from torcxd.http import HttpClient
from torcxd.lifecycle.catalog import Digest
class Progress:
    def advanced(self, label, done, total):
        if done:
            print(done, flush=True)
async def main():
    fetcher = Fetcher(HttpClient(), Staging(Path({str(directory)!r})), progress=Progress())
    await fetcher.fetch([Download(Digest("sha512", {download.digest.hex!r}), {download.urls!r}, "x")])
trio.run(main)
"""
    process = await trio.lowlevel.open_process([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert int((await process.stdout.receive_some()).split()[0]) >= 1 << 20
    assert isinstance(await fails(fetcher, [download]), TransientError)  # it is still at it
    process.kill()
    await process.wait()
    await process.stdout.aclose()
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == content
    start = bucket.ranges()[1][0]
    assert start is not None
    assert int(start.removeprefix("bytes=").removesuffix("-")) >= 1 << 20


@pytest.mark.accepts("N2")
async def test_a_whole_part_only_gets_its_name(bucket: Bucket, fetcher: Fetcher, directory: Path) -> None:
    download = bucket.put("/a", IMAGE)
    directory.mkdir(parents=True)
    (directory / f"{download.digest}.part").write_bytes(IMAGE)
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert names(directory) == [str(download.digest)]
    assert not bucket.server.requests


# Servers that know ranges badly, or not at all.


@pytest.mark.accepts("N7")
async def test_changed_content_is_fetched_from_its_beginning(bucket: Bucket, fetcher: Fetcher) -> None:
    old = bucket.put("/a", image(len(IMAGE), 9), faults=(bucket.cut_after(1000),))
    await fails(fetcher, [replace(old, digest=digest(IMAGE))], HttpError)
    download = bucket.put("/a", IMAGE, etag='"edition-2"')
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges() == [(None, None), ("bytes=1000-", ETAG)]


@pytest.mark.accepts("N7")
@pytest.mark.parametrize("etag", ["", 'W/"weak"', "unquoted"])
async def test_without_a_strong_validator_the_whole_is_asked_for(bucket: Bucket, fetcher: Fetcher, etag: str) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000),), etag=etag)
    await fails(fetcher, [download], HttpError)
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges() == [(None, None), (None, None)]


@pytest.mark.accepts("N7")
@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"Last-Modified": "Tue, 05 Dec 2017 10:00:00 GMT", "Date": "Wed, 06 Dec 2017 10:00:00 GMT"}, True),
        ({"Last-Modified": "Tue, 05 Dec 2017 10:00:00 GMT", "Date": "Tue, 05 Dec 2017 10:00:00 GMT"}, False),
        ({"Last-Modified": "Tue, 05 Dec 2017 10:00:00 GMT"}, False),
    ],
)
async def test_an_old_date_will_do_for_a_validator(
    bucket: Bucket, fetcher: Fetcher, headers: dict[str, str], validator: bool
) -> None:
    cut = send_then(head(200, {**headers, "Content-Length": str(len(IMAGE))}) + IMAGE[:1000])
    download = bucket.put("/a", IMAGE, faults=(lambda _: cut,), etag="")
    await fails(fetcher, [download], HttpError)
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges()[1] == (("bytes=1000-", headers["Last-Modified"]) if validator else (None, None))


@pytest.mark.accepts("N7")
@pytest.mark.parametrize(
    "answer",
    [
        Response(416, {"Content-Range": "bytes */10"}),
        Response(206, {"Content-Range": f"bytes 0-{len(IMAGE) - 1}/{len(IMAGE)}"}, IMAGE),
        Response(206, {"Content-Range": "bytes 999-1000/1001"}, b"xx"),
        Response(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x--"),
        Response(206, {"Content-Range": "seconds 1000-1001/1002"}, b"xx"),
        Response(200, {"ETag": ETAG}, IMAGE),
    ],
    ids=["416", "whole as a range", "another range", "multipart", "another unit", "ranges ignored"],
)
async def test_a_useless_answer_to_a_range_leads_to_the_whole(
    bucket: Bucket, fetcher: Fetcher, answer: Response
) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000), lambda _: answer))
    await fails(fetcher, [download], HttpError)
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges()[1] == ("bytes=1000-", ETAG)
    assert bucket.ranges()[2:] in ([], [(None, None)])


@pytest.mark.accepts("N7")
async def test_a_range_of_less_than_the_rest_is_progress(bucket: Bucket, fetcher: Fetcher) -> None:
    short = Response(206, {"ETag": ETAG, "Content-Range": f"bytes 1000-1999/{len(IMAGE)}"}, IMAGE[1000:2000])
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000), lambda _: short))
    await fails(fetcher, [download], HttpError)
    error = await fails(fetcher, [download], HttpError)
    assert "ended after 2000 of 300000 bytes" in error.message
    await fetcher.fetch([download])
    assert bucket.ranges()[2] == ("bytes=2000-", ETAG)


@pytest.mark.accepts("I2", "N7")
async def test_a_damaged_part_is_not_blamed_on_the_server(bucket: Bucket, fetcher: Fetcher, directory: Path) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000),))
    await fails(fetcher, [download], HttpError)
    (directory / f"{download.digest}.part").write_bytes(bytes(1000))
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges() == [(None, None), ("bytes=1000-", ETAG), (None, None)]


async def test_a_validator_that_no_header_can_hold_is_not_sent(
    bucket: Bucket, fetcher: Fetcher, directory: Path
) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000),))
    await fails(fetcher, [download], HttpError)
    recorded = directory / f"{download.digest}.validator"
    recorded.write_text(recorded.read_text().replace("edition", "\\r\\nHost: "))
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges() == [(None, None), (None, None)]


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"url": 1}', b"\xff", b'{"url": "x", "validator": 3}'])
async def test_a_damaged_validator_only_costs_the_resumption(
    bucket: Bucket, fetcher: Fetcher, directory: Path, garbage: bytes
) -> None:
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000),))
    await fails(fetcher, [download], HttpError)
    (directory / f"{download.digest}.validator").write_bytes(garbage)
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert bucket.ranges() == [(None, None), (None, None)]


@pytest.mark.parametrize("status", [204, 206, 304])
async def test_a_status_that_is_no_answer_is_an_error(bucket: Bucket, fetcher: Fetcher, status: int) -> None:
    download = bucket.put("/a", IMAGE, faults=(lambda _: Response(status, {}),))
    error = await fails(fetcher, [download], HttpError)
    assert isinstance(error, HttpError)
    assert error.reason is Reason.PROTOCOL
    assert f"status {status}" in error.message


# Wrong content.


@pytest.mark.accepts("I2", "N7")
async def test_a_wrong_digest_is_named_and_leaves_nothing(bucket: Bucket, fetcher: Fetcher, directory: Path) -> None:
    download = replace(bucket.put("/a", IMAGE), digest=digest(b"something else"))
    error = await fails(fetcher, [download], ContentError)
    for each in (download.urls[0], str(download.digest), str(digest(IMAGE)), download.label):
        assert each in error.message
    assert error.exit_code == EX_DATAERR
    assert error.hint
    assert names(directory) == []
    assert len(bucket.server.requests) == 1


@pytest.mark.accepts("A19", "N7")
async def test_the_next_url_is_tried_after_a_wrong_digest(bucket: Bucket, fetcher: Fetcher) -> None:
    wrong, right = bucket.put("/wrong", image(1000, 5)), bucket.put("/right", IMAGE)
    download = replace(right, urls=(*wrong.urls, bucket.server.url + "/absent", *right.urls))
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == IMAGE
    assert [each.path for each in bucket.server.requests] == ["/wrong", "/absent", "/right"]


@pytest.mark.accepts("N7")
async def test_a_part_is_kept_while_another_url_has_nothing(bucket: Bucket, fetcher: Fetcher) -> None:
    first = bucket.put("/first", IMAGE, faults=(bucket.cut_after(1000),))
    download = replace(first, urls=(*first.urls, bucket.server.url + "/absent"))
    error = await fails(fetcher, [download], HttpError)
    assert isinstance(error, HttpError)
    assert error.reason is Reason.TRUNCATED  # the transient one, so that it is tried again
    await fetcher.fetch([download])
    assert bucket.ranges()[-1] == ("bytes=1000-", ETAG)


async def test_a_part_of_one_url_is_not_resumed_at_another(bucket: Bucket, fetcher: Fetcher) -> None:
    first = bucket.put("/first", IMAGE, faults=(bucket.cut_after(1000),))
    second = bucket.put("/second", IMAGE)
    assert await fetcher.fetch([replace(first, urls=(*first.urls, *second.urls))])
    assert bucket.ranges() == [(None, None), (None, None)]


@pytest.mark.accepts("A24")
@pytest.mark.parametrize(("status", "transient"), [(404, False), (403, False), (503, True), (429, True)])
async def test_an_error_status_is_told_with_its_url(
    bucket: Bucket, fetcher: Fetcher, directory: Path, status: int, transient: bool
) -> None:
    download = bucket.put("/a", IMAGE, faults=(lambda _: Response(status),))
    error = await fails(fetcher, [download], HttpError)
    assert (error.kind == "transient") == transient
    assert download.urls[0] in error.message
    assert names(directory) == []


async def test_no_url_is_an_error(fetcher: Fetcher) -> None:
    error = await fails(fetcher, [Download(digest(b"x"), (), "docker:17.03 for 1576.4.0")], PermanentError)
    assert "docker:17.03 for 1576.4.0 has no URL" in error.message


async def test_secrets_in_a_url_are_not_told(bucket: Bucket, fetcher: Fetcher) -> None:
    download = bucket.put("/a", IMAGE)
    secret = download.urls[0].replace("//", "//user:hunter2@") + "?signature=hunter3"
    error = await fails(fetcher, [replace(download, urls=(secret,), digest=digest(b"x"))], ContentError)
    assert "hunter" not in str(error)
    assert "/a" in error.message


@pytest.mark.accepts("N7")
async def test_what_announces_too_much_is_not_even_begun(bucket: Bucket, http: HttpClient, directory: Path) -> None:
    download = bucket.put("/a", IMAGE)
    fetcher = Fetcher(http, Staging(directory), max_bytes=len(IMAGE) - 1)
    error = await fails(fetcher, [download], ContentError)
    assert f"larger than the {len(IMAGE) - 1} bytes" in error.message
    assert names(directory) == []


@pytest.mark.accepts("N7")
async def test_an_endless_image_ends_at_the_cap(http: HttpClient, directory: Path) -> None:
    async def answer(_: Request) -> object:
        return endless_body

    async with serve(answer) as server:  # type: ignore[arg-type]
        fetcher = Fetcher(http, Staging(directory), max_bytes=3 << 20)
        error = await fails(fetcher, [Download(digest(IMAGE), (server.url,), "endless")], ContentError)
    assert f"larger than the {3 << 20} bytes" in error.message
    assert names(directory) == []


async def test_a_range_that_is_longer_than_announced_is_refused(bucket: Bucket, fetcher: Fetcher) -> None:
    long = Response(206, {"ETag": ETAG, "Content-Range": f"bytes 1000-1999/{len(IMAGE)}"}, IMAGE)
    download = bucket.put("/a", IMAGE, faults=(bucket.cut_after(1000), lambda _: long))
    await fails(fetcher, [download], HttpError)
    assert "larger than the 300000 bytes" in (await fails(fetcher, [download], ContentError)).message
    assert await fetcher.fetch([download])


# Several at once.


@pytest.mark.accepts("N7", "N9")
async def test_overlapping_calls_share_a_download(http: HttpClient, directory: Path) -> None:
    asked, go = trio.Event(), trio.Event()

    async def answer(_: Request) -> Response:
        asked.set()
        await go.wait()
        return Response(200, {}, IMAGE)

    async with serve(answer) as server:
        fetcher = Fetcher(http, Staging(directory))
        download = Download(digest(IMAGE), (server.url,), "shared")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetcher.fetch, [download])
            await asked.wait()
            nursery.start_soon(fetcher.fetch, [download])
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert len(server.requests) == 1


@pytest.mark.accepts("N7", "N9")
async def test_a_cancelled_prefetch_hands_its_download_over(bucket: Bucket, http: HttpClient, directory: Path) -> None:
    content = image(3 << 20)
    download = bucket.put("/a", content, faults=(bucket.cut_after(2 << 20, Ending.STALL),))
    recorder = Recorder()
    fetcher = Fetcher(http, Staging(directory), progress=recorder)
    prefetch = trio.CancelScope()

    async def prefetching() -> None:
        with prefetch:
            await fetcher.fetch([download])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(prefetching)
        await recorder.begun.wait()
        nursery.start_soon(fetcher.fetch, [download])
        await trio.testing.wait_all_tasks_blocked()
        prefetch.cancel()
    assert (directory / str(download.digest)).read_bytes() == content
    assert len(bucket.server.requests) == 2
    assert bucket.ranges()[1][1] == ETAG


async def test_who_waits_for_a_failing_download_is_told_why(http: HttpClient, directory: Path) -> None:
    asked, go = trio.Event(), trio.Event()
    told: list[TorcxdError] = []

    async def answer(_: Request) -> Response:
        asked.set()
        await go.wait()
        return Response(404)

    async def expect_failure(fetcher: Fetcher, download: Download) -> None:
        told.append(await fails(fetcher, [download], HttpError))

    async with serve(answer) as server:
        fetcher = Fetcher(http, Staging(directory))
        download = Download(digest(IMAGE), (server.url,), "shared")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_failure, fetcher, download)
            await asked.wait()
            nursery.start_soon(expect_failure, fetcher, download)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert len(server.requests) == 1
    assert len(told) == 2


@pytest.mark.accepts("N7")
async def test_a_failure_ends_the_call_but_costs_the_others_nothing(http: HttpClient, directory: Path) -> None:
    content = image(3 << 20)
    begun = Recorder()
    broken = True

    async def answer(request: Request) -> object:
        if request.path == "/absent":
            await begun.begun.wait()
            return Response(404)
        if not broken:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
            rest = {"ETag": ETAG, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return Response(206, rest, content[start:])

        async def half(wire: Wire) -> None:
            await wire.send(head(200, {"ETag": ETAG, "Content-Length": str(len(content))}) + content[: 2 << 20])
            await wire.until_client_leaves()

        return half

    async with serve(answer) as server:  # type: ignore[arg-type]
        fetcher = Fetcher(http, Staging(directory), progress=begun)
        good = Download(digest(content), (server.url + "/good",), "good")
        error = await fails(fetcher, [Download(digest(b"x"), (server.url + "/absent",), "bad"), good], HttpError)
        assert "/absent" in error.message
        broken = False
        assert (await fetcher.fetch([good]))[good.digest].read_bytes() == content


@pytest.mark.accepts("N2")
async def test_two_processes_do_not_write_one_file(bucket: Bucket, fetcher: Fetcher, directory: Path) -> None:
    download = bucket.put("/a", IMAGE)
    with Staging(directory).open_partial(download.digest):
        error = await fails(fetcher, [download], TransientError)
    assert "another process is downloading" in error.message
    assert not bucket.server.requests
    assert await fetcher.fetch([download])


# The disk.


class Full(io.FileIO):
    """A file on a disk with room for 100 kB."""

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        room = 100_000 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(view[:room])


@pytest.mark.accepts("N2", "N7")
async def test_a_full_disk_is_transient_and_costs_nothing(
    bucket: Bucket, fetcher: Fetcher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = image(3 << 20)
    mirror = bucket.put("/mirror", content)
    download = replace(bucket.put("/a", content), urls=(bucket.server.url + "/a", *mirror.urls))
    with monkeypatch.context() as patch:
        patch.setattr(io, "FileIO", Full)
        error = await fails(fetcher, [download], TransientError)
    assert "No space left on device" in error.message
    assert str(directory) in error.message
    assert "free some space" in error.hint
    assert [each.path for each in bucket.server.requests] == ["/a"]
    assert (await fetcher.fetch([download]))[download.digest].read_bytes() == content


@pytest.mark.parametrize("stage", ["fsync", "rename"])
async def test_a_failure_at_the_last_moment_leaves_no_final_name(
    bucket: Bucket, fetcher: Fetcher, directory: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    download = bucket.put("/a", IMAGE, etag="")
    real = getattr(os, stage)

    def failing(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    directory.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, stage, failing)
        await fails(fetcher, [download], TransientError)
    assert getattr(os, stage) is real
    assert names(directory) == [f"{download.digest}.part"]
    assert await fetcher.fetch([download])
    assert len(bucket.server.requests) == 1


@pytest.mark.parametrize("make", [partial(Path.symlink_to, target="/tmp"), Path.touch], ids=["link", "file"])
async def test_a_staging_directory_that_is_none_is_refused(
    bucket: Bucket, fetcher: Fetcher, directory: Path, make: partial[None]
) -> None:
    directory.parent.mkdir()
    make(directory)
    error = await fails(fetcher, [bucket.put("/a", IMAGE)], PermanentError)
    assert f"{directory} is not a directory" in error.message
    assert not bucket.server.requests


async def test_a_link_in_place_of_a_part_is_not_followed(
    bucket: Bucket, fetcher: Fetcher, directory: Path, tmp_path: Path
) -> None:
    download = bucket.put("/a", IMAGE)
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    directory.mkdir(parents=True)
    (directory / f"{download.digest}.part").symlink_to(precious)
    await fails(fetcher, [download], PermanentError)
    assert precious.read_bytes() == b"precious"
