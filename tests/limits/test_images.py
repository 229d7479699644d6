"""Images of any size: memory does not depend on it, the disk holds one copy, and what does not fit is not begun."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.explored import Explored
from tests.limits import cases
from tests.limits.big_image import BigImage
from tests.limits.measured import measure
from torcxd.sandbox.http_server import Server, serve

MB = 1_000_000


@asynccontextmanager
async def serving(image: BigImage) -> AsyncIterator[Server]:
    async with serve(image.answer) as server:
        yield server


def on_disk(directory: Path) -> int:
    """Bytes that its files take up."""
    return sum(each.stat().st_blocks * 512 for each in directory.rglob("*") if each.is_file())


async def test_memory_does_not_depend_on_the_size(tmp_path: Path, explored: Explored) -> None:
    grown = []
    for size in (64 * MB, 512 * MB):
        image = BigImage(size)
        staging = tmp_path / str(size)
        async with serving(image) as server:
            measured = await measure(cases.image, f"{server.url}/image", image.digest, str(staging))
        assert measured.result == ""
        assert measured.descriptors == 0
        assert [each.stat().st_size for each in staging.iterdir()] == [size]
        # No second copy, and nothing left over.
        assert on_disk(staging) == pytest.approx(size, rel=0.01)
        grown.append(measured.grown)
        explored.count("limits", "MB of images", size // MB)
    assert grown[1] < grown[0] + 5
    assert max(grown) < 20


async def test_an_image_that_is_too_large_is_not_begun(tmp_path: Path, explored: Explored) -> None:
    image = BigImage(5000 * MB, digest="0" * 128)
    async with serving(image) as server:
        measured = await measure(cases.image, f"{server.url}/image", image.digest, str(tmp_path / "staging"))
    assert "larger than the 1073741824 bytes" in measured.result
    assert measured.grown < 10
    assert list((tmp_path / "staging").iterdir()) == []
    explored.count("limits", "MB of images", image.size // MB)


async def test_an_image_of_unknown_size_is_given_up_when_it_is_too_large(tmp_path: Path, explored: Explored) -> None:
    image = BigImage(512 * MB, digest="0" * 128, tells_size=False)
    async with serving(image) as server:
        measured = await measure(cases.image, f"{server.url}/image", image.digest, str(tmp_path / "staging"), 32 * MB)
    assert "larger than the 32000000 bytes" in measured.result
    assert image.sent < 64 * MB
    assert measured.grown < 20
    assert list((tmp_path / "staging").iterdir()) == []
    explored.count("limits", "MB of images", image.sent // MB)


async def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path, explored: Explored) -> None:
    # More than any disk has.
    image = BigImage(10**15, digest="0" * 128)
    async with serving(image) as server:
        measured = await measure(cases.image, f"{server.url}/image", image.digest, str(tmp_path / "staging"), 10**16)
    assert "1000000000000000 bytes are to come, and there is room for" in measured.result
    assert list((tmp_path / "staging").iterdir()) == []
    explored.count("limits", "images without room")


def test_the_stand_in_tells_the_right_digest() -> None:
    image = BigImage(3 * MB + 1)
    assert hashlib.sha512(b"".join(image.pieces())).hexdigest() == image.digest
