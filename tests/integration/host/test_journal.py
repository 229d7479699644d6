"""The journal's native protocol against a real datagram socket, read as the journal reads it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.host.journal_reader import receive
from torcxd.host.journal import Journal
from torcxd.host.journal_handler import JournalHandler


@pytest.fixture
def journal(listener: socket.socket) -> Journal:
    return Journal(Path(listener.getsockname()))


@pytest.mark.parametrize(
    "fields",
    [
        {"MESSAGE": "gathering → fetching", "PRIORITY": "6"},
        {"MESSAGE": "two\nlines", "TORCXD_HINT": "a=b\n", "PRIORITY": "6"},
        {"MESSAGE": "", "TORCXD_EQUALS": "a=b"},
        {"MESSAGE": "x" * 4_000_000, "PRIORITY": "3"},
        {"MESSAGE": "line\n" * 500_000},
    ],
    ids=["plain", "several lines", "empty", "large", "large with lines"],
)
def test_what_is_sent_arrives(listener: socket.socket, journal: Journal, fields: dict[str, str]) -> None:
    assert journal.send(fields)
    assert receive(listener) == fields


@pytest.mark.parametrize("name", ["lower", "_TRUSTED", "9TH", "A-B", "", "A" * 65, "A\nB"])
def test_a_field_that_the_journal_would_drop_is_a_mistake(journal: Journal, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a field"):
        journal.send({name: "x"})


def test_an_absent_journal_is_no_error(tmp_path: Path) -> None:
    assert not Journal(tmp_path / "socket").send({"MESSAGE": "x"})


def test_a_journal_that_went_away_and_came_back_gets_the_next_entry(listener: socket.socket, journal: Journal) -> None:
    path = listener.getsockname()
    listener.close()
    assert not journal.send({"MESSAGE": "lost"})
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as successor:
        successor.bind(path)
        assert journal.send({"MESSAGE": "kept"})
        assert receive(successor) == {"MESSAGE": "kept"}


def test_a_journal_that_does_not_read_is_not_waited_for(journal: Journal) -> None:
    while journal.send({"MESSAGE": "x"}):
        pass
    assert not journal.send({"MESSAGE": "y" * 4_000_000})


def open_descriptors() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(listener: socket.socket, journal: Journal) -> None:
    before = open_descriptors()
    journal.send({"MESSAGE": "x"})
    journal.send({"MESSAGE": "x" * 4_000_000})
    receive(listener)
    receive(listener)
    assert open_descriptors() == before


class Lines(logging.Handler):
    """What people read."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    own = logging.getLogger("test.journal")
    own.propagate = False
    own.setLevel(logging.DEBUG)
    yield own
    own.handlers.clear()


def test_records_become_entries_and_no_lines_where_both_would_end_in_the_journal(
    listener: socket.socket, journal: Journal, logger: logging.Logger
) -> None:
    lines = Lines()
    logger.addHandler(JournalHandler(journal, "torcxd", lines, replaces_lines=True))
    logger.warning("no %s\nleft", "space", extra={"journal": {"MESSAGE_ID": "ab" * 16, "TORCXD_STATE": "fetching"}})
    logger.debug("plain")
    entry = receive(listener)
    assert entry.pop("CODE_FILE") == __file__
    assert int(entry.pop("CODE_LINE")) > 0
    assert entry == {
        "MESSAGE": "no space?left",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "torcxd",
        "CODE_FUNC": "test_records_become_entries_and_no_lines_where_both_would_end_in_the_journal",
        "MESSAGE_ID": "ab" * 16,
        "TORCXD_STATE": "fetching",
    }
    assert receive(listener)["PRIORITY"] == "7"
    assert lines.written == []


def test_elsewhere_people_get_every_line_and_the_journal_what_has_fields(
    listener: socket.socket, journal: Journal, logger: logging.Logger
) -> None:
    lines = Lines()
    logger.addHandler(JournalHandler(journal, "torcxd", lines, replaces_lines=False))
    logger.info("plain")
    logger.info("telling", extra={"journal": {"MESSAGE_ID": "ab" * 16}})
    assert receive(listener)["MESSAGE"] == "telling"
    with pytest.raises(BlockingIOError):
        listener.recv(1)
    assert lines.written == ["plain", "telling"]


def test_what_the_journal_does_not_take_becomes_a_line(tmp_path: Path, logger: logging.Logger) -> None:
    lines = Lines()
    logger.addHandler(JournalHandler(Journal(tmp_path / "absent"), "torcxd", lines, replaces_lines=True))
    logger.info("not lost", extra={"journal": {"MESSAGE_ID": "ab" * 16}})
    assert lines.written == ["not lost"]
