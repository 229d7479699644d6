"""The catalogue of messages: unique and stable ids, files made from it that are not stale, and systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from tools import messages as tool
from torcxd import messages
from torcxd.messages import CATALOGUE, FIELDS, TRANSITION, Message

ADVICE = "run `make docs`"


def test_names_and_ids_are_unique() -> None:
    assert len({each.name for each in CATALOGUE}) == len(CATALOGUE)
    assert len({each.id for each in CATALOGUE}) == len(CATALOGUE)


def test_the_id_of_a_transition_never_changes() -> None:
    assert TRANSITION.id == "90d4b8af5f4c464887266cb4d82f4697"


@pytest.mark.parametrize("message", CATALOGUE, ids=lambda each: each.name)
def test_a_message_has_a_random_id_and_known_fields(message: Message) -> None:
    assert uuid.UUID(message.id).hex == message.id
    assert uuid.UUID(message.id).version == 4
    assert set(message.fields) <= set(FIELDS)
    assert set(re.findall(r"@(\w+)@", message.subject + message.text)) <= set(message.fields)


def test_every_field_is_some_message_s() -> None:
    assert {name for each in CATALOGUE for name in each.fields} == set(FIELDS)


def test_every_message_is_sent_by_something() -> None:
    names = {name for name, value in vars(messages).items() if isinstance(value, Message)}
    sources = (each.read_text("utf-8") for each in (tool.TOP / "torcxd").rglob("*.py"))
    assert {name for text in sources for name in re.findall(r"\bmessages\.([A-Z_]+)", text)} & names == names


def test_what_is_made_from_it_is_not_stale() -> None:
    assert tool.CATALOG.read_text("utf-8") == tool.catalog(), ADVICE
    assert tool.PAGE.read_text("utf-8") == tool.page(), ADVICE


def test_systemd_reads_the_catalog(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/systemd/catalog"
    directory.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(tool.CATALOG, directory)
    subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], check=True)
    listed = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--list-catalog"], check=True, capture_output=True, text=True
    ).stdout
    assert set(listed.splitlines()) == {f"{each.id} torcxd: {each.subject}" for each in CATALOGUE}
