"""A process whose standard error is the journal's stream, and one whose is not: each thing is told there once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.host.journal_reader import receive

PROGRAM = """\
import logging, sys
from pathlib import Path
from torcxd import messages
from torcxd.cli.output import set_up_logging
set_up_logging("info", Path(sys.argv[1]))
logging.getLogger("torcxd").info("a line")
logging.getLogger("torcxd").info("an entry", extra=messages.PUBLISHED.extra({"TORCXD_OS": "1520.8.0"}))
"""


def run(tmp_path: Path, journal: str, *, in_journal: bool) -> list[str]:
    """What the program leaves on its standard error."""
    lines = tmp_path / "stderr"
    with lines.open("wb") as stream:
        found = os.fstat(stream.fileno())
        told = f"{found.st_dev}:{found.st_ino}" if in_journal else "1:1"
        environment = {**os.environ, "JOURNAL_STREAM": told}
        subprocess.run([sys.executable, "-c", PROGRAM, journal], check=True, stderr=stream, env=environment)
    return lines.read_text("utf-8").splitlines()


@pytest.mark.accepts("N10")
def test_in_the_journal_each_record_is_one_entry_and_no_line(tmp_path: Path, listener: socket.socket) -> None:
    assert run(tmp_path, listener.getsockname(), in_journal=True) == []
    assert [receive(listener)["MESSAGE"] for _ in range(2)] == ["a line", "an entry"]


def test_elsewhere_the_lines_stay_and_entries_with_an_id_are_made_besides(
    tmp_path: Path, listener: socket.socket
) -> None:
    written = run(tmp_path, listener.getsockname(), in_journal=False)
    assert [each.partition(" ")[2] for each in written] == ["a line", "an entry"]
    assert receive(listener)["TORCXD_OS"] == "1520.8.0"
    with pytest.raises(BlockingIOError):
        listener.recv(1)


def test_without_the_journal_s_socket_its_stream_gets_the_lines_with_their_priorities(tmp_path: Path) -> None:
    assert run(tmp_path, str(tmp_path / "absent"), in_journal=True) == ["<6>a line", "<6>an entry"]
