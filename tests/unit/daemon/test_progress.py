"""The live line: as much as fits, and nothing where a line cannot be rewritten."""

from __future__ import annotations

import io

import pytest

from torcxd.daemon.progress import LiveLine, Silent, fit, progress_for

DOWNLOADS = {
    "OS 1576.4.0": (480, 1000),
    "docker:17.03 for 1576.4.0": (12 << 20, 24 << 20),
    "docker:17.03 for 1520.8.0": (24 << 20, 24 << 20),
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            200,
            "OS 1576.4.0 [#########...........]  48%  docker:17.03 for 1576.4.0 [##########..........]  50%"
            "  docker:17.03 for 1520.8.0 [####################] 100%",
        ),
        (
            107,
            "OS 1576.4.0 [##....]  48%  docker:17.03 for 1576.4.0 [###...]  50%"
            "  docker:17.03 for 1520.8.0 [######] 100%",
        ),
        (84, "OS 1576.4.0  48%  docker:17.03 for 1576.4.0  50%  docker:17.03 for 1520.8.0 100%"),
        (79, "OS 1576.4.0  48%  docker:17.03 1576.4.0  50%  docker:17.03 1520.8.0 100%"),
        (60, "OS 1576.4.0  48%  docker:17.03 1576.4.0  50%  +1 more"),
        (40, "OS 1576.4.0  48%  +2 more"),
        (15, "3 in progress"),
        (5, "3 in "),
    ],
)
def test_bars_become_shorter_before_anything_is_left_out(width: int, line: str) -> None:
    assert fit(DOWNLOADS, width) == line


def test_what_has_no_known_size_shows_what_is_there() -> None:
    assert fit({"image": (5 << 20, None)}, 79) == "image 5 MiB"


@pytest.mark.parametrize("width", range(1, 160))
def test_it_always_fits(width: int) -> None:
    assert 0 < len(fit(DOWNLOADS, width)) <= width


async def test_a_terminal_gets_one_line_that_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    line = progress_for(stream)
    assert isinstance(line, LiveLine)
    line.advanced("image", 1, 2)
    line.finish()
    assert stream.getvalue() == "\r\x1b[Kimage [##########..........]  50%\r\x1b[K"


def test_nothing_is_drawn_where_a_line_cannot_be_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_for(io.StringIO()), Silent)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_for(Terminal()), Silent)
