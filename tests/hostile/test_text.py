"""Text from peers that is more than text: lines that look like ours, orders to terminals, fields, reversed names."""

from __future__ import annotations

import io
import json
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.hostile.attack import attack, removed, unchanged
from torcxd import errors
from torcxd.cli import history as history_module
from torcxd.cli import output, status
from torcxd.cli.history import history
from torcxd.daemon import document, progress
from torcxd.daemon.progress import LiveLine
from torcxd.dbus import update_engine
from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import DBusError
from torcxd.dbus.update_engine import UpdateEngine
from torcxd.errors import PermanentError
from torcxd.host import journal, journal_handler, notify
from torcxd.host.journal_handler import JournalHandler, PlainFormatter
from torcxd.host.notify import ServiceManager
from torcxd.paths import Layout
from torcxd.sandbox import update_engine as stand_in

TEXTS: Final = {
    "a line of its own": "gone\n<0>torcxd: all is well",
    "a line over ours": "gone\rtorcxd: all is well",
    "colours": "\x1b[2J\x1b[31mred",
    "a title": "\x1b]0;owned\x07",
    "8 bit": "\x9b2Jgone",
    "backspaces": "evil\b\b\b\bgood",
    "right to left": "\u202egnp.exe",
    "a line separator": "gone\u2028torcxd: all is well",
    "half a character": "half \ud800",
    "nothing": "a\0b",
}
EACH: Final = pytest.mark.parametrize("text", list(TEXTS.values()), ids=list(TEXTS))


def effects(shown: str) -> str:
    """What *shown* does to a terminal or a log besides being shown; the last line break excepted."""
    lines = shown.removesuffix("\n").split("\n")
    strange = [each for line in lines for each in line if not each.isprintable()]
    return repr(strange or lines[1:]) if strange or len(lines) > 1 else ""


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("torcxd", logging.WARNING, __file__, 1, "The server said: %s.", (text,), None)


@EACH
@attack(removed(journal_handler, "one_line", unchanged))
def test_a_line_for_a_terminal(text: str) -> str:
    return effects(output._TerminalLines(PlainFormatter()).format(record(text)))


@EACH
@attack(removed(journal_handler, "one_line", unchanged))
def test_a_line_for_the_journal(text: str) -> str:
    return effects(output._JournalLines(PlainFormatter()).format(record(text)))


@EACH
@attack(removed(errors, "one_line", unchanged))
def test_an_error(text: str) -> str:
    error = PermanentError(f"the server said: {text}", hint=f"ask it about {text}")
    return effects(str(error)) or effects(error.message) or effects(error.hint)


def _by_lines(fields: Mapping[str, str]) -> bytes:
    return b"".join(f"{name}={value}\n".encode("utf-8", "replace") for name, value in fields.items())


def _fields(entry: bytes) -> dict[str, bytes]:
    """An entry as the journal reads it."""
    found = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            size = int.from_bytes(rest[:8], "little")
            name, value, rest = line, rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value
        entry = rest
    return found


@attack(removed(journal, "encode", _by_lines))
def test_a_field_of_the_journal_in_a_value() -> str:
    forged = "gone\nPRIORITY=0\nMESSAGE_ID=90d4b8af5f4c464887266cb4d82f4697\nTORCXD_STATE_TO=done"
    found = _fields(journal.encode({"MESSAGE": forged, "PRIORITY": "6"}))
    return "" if found == {"MESSAGE": forged.encode(), "PRIORITY": b"6"} else str(found)


@EACH
@attack(removed(journal_handler, "one_line", unchanged))
def test_a_field_that_journalctl_shows(text: str, tmp_path: Path) -> str:
    sent: list[Mapping[str, str]] = []

    class Kept(journal.Journal):
        def send(self, fields: Mapping[str, str]) -> bool:
            sent.append(fields)
            return True

    handler = JournalHandler(Kept(tmp_path / "socket"), "torcxd", logging.NullHandler(), replaces_lines=True)
    entry = record(text)
    entry.journal = {"TORCXD_ERROR": text}
    handler.emit(entry)
    return effects(sent[0]["TORCXD_ERROR"]) or effects(sent[0]["MESSAGE"])


def _recorded(folder: Path, text: str) -> None:
    """A record and a history that quote *text* wherever they can."""
    state = folder / "var/lib/torcxd"
    state.mkdir(parents=True)
    failure = {"message": text, "hint": text, "kind": "transient", "attempts": 1, "first_at": 1.0, "last_at": 1.0}
    content = {"state": "fetching", "since": 1.0, "boot_id": "b", "waiting_for": text, "failure": failure}
    (state / "state.json").write_bytes(document.encode(content))
    entry = {"at": 1.0, "from": "fetching", "to": "fetching", "event": "failed", "because": text, "attempt": 1}
    (state / "history.jsonl").write_text(json.dumps(entry) + "\n")


@EACH
@attack(removed(status, "_printable", unchanged))
def test_status(text: str, tmp_path: Path) -> str:
    _recorded(tmp_path, text)
    report, code = status.read(str(tmp_path))
    assert code == 0
    shown = status.render(report, 2.0)
    labels = {line.partition(":")[0] for line in shown.split("\n") if line}
    return effects(shown.replace("\n", "")) or str(labels - KNOWN or "")


KNOWN: Final = {"State", "Running", "Waits for", "Last error", "Hint", "Next try", "Record", "Process", "Problem"}


@EACH
@attack(removed(history_module, "one_line", unchanged))
def test_history(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    _recorded(tmp_path, text)
    shown = io.StringIO()
    monkeypatch.setattr("sys.stdout", shown)
    assert history(Layout(tmp_path), lines=10, as_json=False) == 0
    return effects(shown.getvalue())


@EACH
@attack(removed(progress, "one_line", unchanged))
async def test_the_live_line(text: str) -> str:
    shown = io.StringIO()
    LiveLine(shown).advanced(text, 1, 2)
    return effects(shown.getvalue().removeprefix("\r\x1b[K"))


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202egnp"])
@attack(removed(notify, "one_line", unchanged))
def test_the_status_for_systemctl(text: str, tmp_path: Path) -> str:
    return effects(_notified(tmp_path, text).decode())


@attack(removed(notify, "_status", lambda text: (f"STATUS={text}",)))
def test_an_assignment_in_the_status_for_the_manager(tmp_path: Path) -> str:
    lines = _notified(tmp_path, "waiting\nREADY=1\nMAINPID=1").split(b"\n")
    return "" if len(lines) == 1 else str(lines)


def _notified(folder: Path, text: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "n"))
        ServiceManager({"NOTIFY_SOCKET": str(folder / "n")}).status(text)
        return manager.recv(4096)


@pytest.mark.accepts("N3")
@pytest.mark.parametrize("version", ["../../../etc", "1.2", "1576.4.0\n<0>", "\x1b[31m", "9" * 300, "1576.4.0/.."])
@attack(removed(update_engine, "parse_os_version", unchanged))
async def test_a_version_that_is_none(server: stand_in.UpdateEngine, bus: Bus, version: str) -> str:
    await server.show(stand_in.Step("UPDATED_NEED_REBOOT", version=version))
    try:
        return (await UpdateEngine(bus).status()).version or ""
    except DBusError as error:
        return effects(error.message)


def test_what_is_printable_stays() -> None:
    assert output._TerminalLines(PlainFormatter()).format(record("größe → 5 µs")).endswith("größe → 5 µs.")


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("evil\x1b[2J")
    except ValueError as error:
        entry = record("x")
        entry.exc_info = (type(error), error, error.__traceback__)
    shown = PlainFormatter().format(entry)
    assert "Traceback (most recent call last):\n" in shown
    assert "\x1b" not in shown
