"""What is made of files is made once, by one of those who ask, and anew when the files changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from torcxd.daemon.kept import Kept
from torcxd.errors import ConfigurationError, TransientError
from torcxd.host.stamps import Stamps


class Maker:
    """Makes the content of a file, and counts how often."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = 0

    def write(self, text: str) -> None:
        self.path.write_text(text)
        # Each time at another moment, so that no clock matters.
        moment = 1_000_000_000 * (os.stat(self.path).st_size + 1)
        os.utime(self.path, ns=(moment, moment))

    def __call__(self) -> tuple[str, Stamps]:
        self.made += 1
        stamps = Stamps.of(self.path, now=lambda: 1 << 62)
        text = self.path.read_text()
        if text.startswith("wrong"):
            raise ConfigurationError(text, hint="mend it")
        return text, stamps


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    maker = Maker(tmp_path / "file")
    maker.write("1")
    return maker


async def test_it_is_made_once(maker: Maker) -> None:
    kept = Kept[str]()
    assert [await kept.get(1, maker) for _ in range(5)] == ["1"] * 5
    assert maker.made == 1


async def test_it_is_made_once_for_all_who_ask_at_once(maker: Maker) -> None:
    kept = Kept[str]()
    got = []

    async def ask() -> None:
        got.append(await kept.get(1, maker))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert (got, maker.made) == (["1"] * 10, 1)


async def test_it_is_made_anew_when_the_file_or_the_key_changes(maker: Maker) -> None:
    kept = Kept[str]()
    await kept.get(1, maker)
    maker.write("22")
    assert await kept.get(1, maker) == "22"
    assert await kept.get(2, maker) == "22"
    assert await kept.get(2, maker) == "22"
    assert maker.made == 3


async def test_what_is_wrong_at_first_is_a_wrong_configuration(maker: Maker) -> None:
    maker.write("wrong")
    with pytest.raises(ConfigurationError, match="wrong"):
        await Kept[str]().get(1, maker)


async def test_what_becomes_wrong_is_waited_for(maker: Maker) -> None:
    kept = Kept[str]()
    await kept.get(1, maker)
    maker.write("wrong: half of it")
    for _ in range(2):
        with pytest.raises(TransientError, match="half of it; it was in order before") as caught:
            await kept.get(1, maker)
        assert caught.value.hint == "mend it"
    # Under other settings it was never right.
    with pytest.raises(ConfigurationError, match="half of it"):
        await kept.get(2, maker)
    maker.write("all of it")
    assert await kept.get(1, maker) == "all of it"


async def test_who_gives_up_leaves_it_to_the_next(maker: Maker) -> None:
    kept = Kept[str]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await kept.get(1, maker)
    assert scope.cancelled_caught
    assert await kept.get(1, maker) == "1"
