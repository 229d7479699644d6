"""sd_notify(3) against real datagram sockets, and its absence."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from torcxd.host.notify import ServiceManager, watchdog_interval


def manager(listener: socket.socket) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": listener.getsockname()})


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda m: m.ready(), "READY=1"),
        (lambda m: m.ready("Watching."), "READY=1\nSTATUS=Watching."),
        (lambda m: m.status("Fetching 2 images."), "STATUS=Fetching 2 images."),
        (lambda m: m.stopping(), "STOPPING=1"),
        (lambda m: m.stopping("Bye."), "STOPPING=1\nSTATUS=Bye."),
        (lambda m: m.watchdog(), "WATCHDOG=1"),
    ],
)
def test_each_message_is_one_datagram(
    listener: socket.socket, tell: Callable[[ServiceManager], None], message: str
) -> None:
    tell(manager(listener))
    assert listener.recv(4096).decode() == message
    with pytest.raises(BlockingIOError):
        listener.recv(1)


def test_a_reload_carries_the_monotonic_time(listener: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    manager(listener).reloading()
    first, second = listener.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line_whatever_it_holds(listener: socket.socket) -> None:
    manager(listener).status("disk full\nREADY=1\r\n  again ")
    assert listener.recv(4096).decode() == "STATUS=disk full READY=1 again"


def test_a_long_status_is_cut_between_characters(listener: socket.socket) -> None:
    manager(listener).status("ü" * 3000)
    assert listener.recv(4096).decode() == "STATUS=" + "ü" * 512


def test_abstract_sockets_are_reached(socket_directory: Path) -> None:
    name = f"{socket_directory}/abstract"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as bound:
        bound.bind("\0" + name)
        ServiceManager({"NOTIFY_SOCKET": "@" + name}).ready()
        assert bound.recv(4096) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_usable_socket_no_socket_is_made(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    unmanaged = ServiceManager(environment)
    unmanaged.ready("up")
    unmanaged.reloading()
    unmanaged.watchdog()
    unmanaged.stopping()


def test_a_dead_manager_is_told_of_once_and_tried_again(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    path = listener.getsockname()
    told = manager(listener)
    listener.close()
    with caplog.at_level(logging.DEBUG, "torcxd.host.notify"):
        told.watchdog()
        told.watchdog()
    assert [(each.levelno, "Connection refused" in each.message) for each in caplog.records] == [(logging.DEBUG, True)]
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as successor:
        successor.bind(path)
        told.watchdog()
        assert successor.recv(4096) == b"WATCHDOG=1"


def test_a_manager_that_does_not_read_delays_nothing_for_long(
    listener: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torcxd.host.notify._SEND_TIMEOUT_USEC", 1)
    told = manager(listener)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        with contextlib.suppress(BlockingIOError):
            while other.sendto(b"x", listener.getsockname()):
                pass
        with caplog.at_level(logging.DEBUG, "torcxd.host.notify"):
            told.status("nobody reads this")
    assert "cannot be notified" in caplog.text


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_the_watchdog_is_patted_twice_within_its_limit(environment: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environment) == interval
