"""What a node's life looks like in the journal: the core's steps, the observer, the handler, and a real socket."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.host.journal_reader import receive
from torcxd import messages
from torcxd.charts import load_chart
from torcxd.daemon.journal_observer import JournalObserver
from torcxd.errors import Kind
from torcxd.host.journal import Journal
from torcxd.host.journal_handler import JournalHandler
from torcxd.lifecycle.events import (
    Booted,
    BootVerified,
    Compared,
    Event,
    Failed,
    Fetched,
    Gathered,
    HookAnswered,
    HookAsked,
    OsUpdateSeen,
    Placed,
    Published,
    RebootRequested,
    Resolved,
    RetryDue,
    Started,
)
from torcxd.lifecycle.facts import OsUpdate, Plan, Running, Target
from torcxd.lifecycle.machine import Lifecycle, Policy, Step

OLD, NEW = "1520.8.0", "1576.4.0"
TARGET = Target("amd64-usr", OLD, NEW, "v1.8.4", "the API server", ("17.03",), "a ConfigMap")
PLAN = Plan(TARGET, NEW, "17.03", (), resolved=True)
BEFORE = Running(OLD, "1.12", intact=True)
AFTER = Running(NEW, "17.03", intact=True)
BOOTSTRAP = Policy(ends_when_published=True, ends_on_permanent=True, retry_for=600)
ATTENDING = Policy(ends_when_published=False, ends_on_permanent=False, retry_for=None, attends=True)
STAGE: tuple[Event, ...] = (Gathered(1, TARGET, BEFORE), Resolved(2, PLAN), Fetched(3), Placed(4), Compared(5, BEFORE))
BY_ID = {each.id: each for each in messages.CATALOGUE}
COMMON = set(messages.COMMON)


class Life:
    """A lifecycle without effects: told events, it tells the journal."""

    def __init__(self, listener: socket.socket, policy: Policy) -> None:
        self._listener = listener
        self._core = Lifecycle(load_chart(), policy)
        self._observer = JournalObserver()
        self._found: list[dict[str, str]] = []
        started = Started(0, "boot-1")
        self._step: Step = self._core.start(None, started)
        self._observer.stepped(self._step, started)

    def tell(self, *events: Event) -> None:
        for each in events:
            self._step = self._core.step(self._step.snapshot, each)
            self._observer.stepped(self._step, each)
            self._read()

    def entries(self) -> list[dict[str, str]]:
        """The entries since the last call: message, priority, torcxd's fields, and the message's name."""
        found, self._found = self._found, []
        return found

    def _read(self) -> None:
        """As the journal does, at once: the kernel queues only a few datagrams."""
        while True:
            try:
                entry = receive(self._listener)
            except BlockingIOError:
                return
            message = BY_ID[entry["MESSAGE_ID"]]
            assert COMMON <= set(entry) <= COMMON | set(message.fields)
            own = {name: text for name, text in entry.items() if name.startswith("TORCXD_")}
            shown = {name: entry[name] for name in ("MESSAGE", "PRIORITY")}
            self._found.append({"": message.name, **shown, **own})


@pytest.fixture(autouse=True)
def handler(listener: socket.socket) -> Iterator[None]:
    logger = logging.getLogger("torcxd.daemon.journal_observer")
    journal = Journal(Path(listener.getsockname()))
    added = JournalHandler(journal, "torcxd", logging.NullHandler(), replaces_lines=True)
    logger.addHandler(added)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(added)
    logger.setLevel(logging.NOTSET)


@pytest.mark.accepts("N10")
def test_each_transition_is_one_entry_with_its_fields(listener: socket.socket) -> None:
    life = Life(listener, BOOTSTRAP)
    life.tell(*STAGE)
    entries = life.entries()
    assert [(each["TORCXD_STATE_FROM"], each["TORCXD_EVENT"], each["TORCXD_STATE_TO"]) for each in entries] == [
        ("gathering", "gathered", "fetching"),
        ("fetching", "fetched", "verified"),
        ("verified", "placed", "staged"),
        ("staged", "compared", "reboot-pending"),
    ]
    assert entries[-1] == {
        "": "transition",
        "MESSAGE": "staged → reboot-pending: the running system differs.",
        "PRIORITY": "6",
        "TORCXD_STATE_FROM": "staged",
        "TORCXD_STATE_TO": "reboot-pending",
        "TORCXD_EVENT": "compared",
        "TORCXD_BECAUSE": "the running system differs",
        "TORCXD_OS": OLD,
        "TORCXD_NEXT_OS": NEW,
        "TORCXD_BOOT_OS": NEW,
        "TORCXD_KUBERNETES": "v1.8.4",
        "TORCXD_DOCKER": "17.03",
    }
    assert "TORCXD_DOCKER" not in entries[0]


def test_the_way_through_a_reboot_is_told_to_its_end(listener: socket.socket) -> None:
    life = Life(listener, BOOTSTRAP)
    life.tell(*STAGE, RebootRequested(6, "login1"), Booted(7, "boot-2"), BootVerified(8, AFTER), Published(9))
    told = life.entries()[4:]
    assert [each[""] for each in told] == ["reboot-requested", "transition", "transition", "published"]
    assert told[0]["TORCXD_VIA"] == "login1"


@pytest.mark.accepts("N4")
@pytest.mark.parametrize(
    ("running", "name", "reason"),
    [
        (BEFORE, "rolled-back", f"OS {OLD} runs instead of {NEW}"),
        (
            Running(NEW, None, intact=True, detail="torcx sealed no profile"),
            "boot-without-set",
            "torcx sealed no profile",
        ),
        (Running(NEW, "1.12", intact=True), "boot-without-set", "Docker 1.12 runs"),
    ],
)
def test_a_boot_that_did_not_bring_the_set_is_a_warning(
    listener: socket.socket, running: Running, name: str, reason: str
) -> None:
    life = Life(listener, BOOTSTRAP)
    life.tell(*STAGE, Booted(6, "boot-2"), BootVerified(7, running))
    found = next(each for each in life.entries() if each[""] == name)
    assert (found["PRIORITY"], found["TORCXD_REASON"], found["TORCXD_BOOT_OS"]) == ("4", reason, NEW)


def failed(at: float, kind: Kind) -> Failed:
    return Failed(at, message="no route to 10.0.0.1", hint="check the network", kind=kind, exit_code=75, jitter=0.5)


def test_a_failure_says_when_it_is_tried_again(listener: socket.socket) -> None:
    life = Life(listener, BOOTSTRAP)
    life.tell(failed(10, Kind.TRANSIENT), RetryDue(11), failed(12, Kind.TRANSIENT))
    first, second = life.entries()
    assert first == {
        "": "failure",
        "MESSAGE": "Work in state gathering failed (attempt 1): no route to 10.0.0.1 (check the network); "
        "next try in 1 s.",
        "PRIORITY": "4",
        "TORCXD_STATE": "gathering",
        "TORCXD_ERROR": "no route to 10.0.0.1",
        "TORCXD_HINT": "check the network",
        "TORCXD_ERROR_KIND": "transient",
        "TORCXD_ATTEMPTS": "1",
        "TORCXD_NEXT_TRY": "11000000",
    }
    assert (second["TORCXD_ATTEMPTS"], second["TORCXD_NEXT_TRY"]) == ("2", "14000000")


def test_giving_up_is_an_error_with_the_exit_code(listener: socket.socket) -> None:
    life = Life(listener, BOOTSTRAP)
    life.tell(failed(10, Kind.PERMANENT))
    (entry,) = life.entries()
    assert (entry[""], entry["PRIORITY"], entry["TORCXD_EXIT_CODE"]) == ("given-up", "3", "75")
    assert entry["TORCXD_ERROR"] == "no route to 10.0.0.1"
    # The command's last word is the error itself.
    assert entry["MESSAGE"] == "Work in state gathering failed for good (attempt 1)."


def test_the_operator_s_wait_is_told_once_for_each_reason_and_its_end(listener: socket.socket) -> None:
    life = Life(listener, ATTENDING)
    life.tell(OsUpdateSeen(1, OsUpdate(NEW, pending=True)), HookAsked(2, asked=True))
    life.tell(failed(3, Kind.TRANSIENT), RetryDue(4), failed(5, Kind.TRANSIENT), RetryDue(6), *STAGE)
    life.tell(HookAnswered(7))
    entries = life.entries()
    withheld = [each for each in entries if each[""] == "hook-withheld"]
    reasons = [each["TORCXD_REASON"] for each in withheld]
    assert len(set(reasons)) == len(reasons)
    assert "gathering failed: no route to 10.0.0.1" in reasons
    assert {each["PRIORITY"] for each in withheld} == {"4"}
    assert [each[""] for each in entries][-1] == "hook-answered"


def test_without_an_update_there_is_no_field_for_it(listener: socket.socket) -> None:
    life = Life(listener, BOOTSTRAP)
    life.tell(Gathered(1, replace(TARGET, next_os=None), BEFORE))
    (entry,) = life.entries()
    assert "TORCXD_NEXT_OS" not in entry
    assert entry["TORCXD_BOOT_OS"] == OLD
