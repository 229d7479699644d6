"""Tells the service manager how the service fares: sd_notify(3)'s protocol, a datagram of assignments, one a line.

Nothing here raises or waits long: a service must not fail because nobody manages it, or because its manager hangs.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Final

from torcxd.errors import one_line

log = logging.getLogger(__name__)

# The manager reads at most a page, and ignores a longer message whole; this leaves room for the other assignments.
_LONGEST_STATUS: Final = 1024

# Microseconds for which a message may wait for room in the manager's queue. The manager empties it within
# microseconds: one that leaves it full for this long hangs, and then nobody misses the message.
_SEND_TIMEOUT_USEC: Final = 250_000


class ServiceManager:
    """The manager that started this process, by the socket in ``NOTIFY_SOCKET``; without that, every call does nothing.

    :param environment: the process's environment.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = _address(name)
        self._failed = False
        if name and self._address is None:
            log.debug("NOTIFY_SOCKET=%s is neither a path nor an abstract socket: nobody is notified.", name)

    def ready(self, status: str = "") -> None:
        """The service is up, or has finished reloading."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """What the service does now, in one sentence for ``systemctl status``; longer than 1 KiB is cut."""
        self._send(*_status(text))

    def reloading(self) -> None:
        """The service reloads its configuration; :meth:`ready` must follow.

        The time tells the manager whether this belongs to the reload that it asked for (``Type=notify-reload``).
        """
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> None:
        """The service is going down."""
        self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> None:
        """The service is alive; to be told at least every :func:`watchdog_interval` seconds."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None or not assignments:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                # Without this, sending to a full queue would block the event loop for as long as the manager hangs.
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, _SEND_TIMEOUT_USEC))
                sender.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.debug("The service manager at %r cannot be notified: %s.", self._address, error)


def watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, or None when the manager wants none of this process.

    It is half the manager's limit, as sd_watchdog_enabled(3) recommends.
    """
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    limit = environment.get("WATCHDOG_USEC", "")
    if not (limit.isascii() and limit.isdigit()) or int(limit) == 0:
        return None
    return int(limit) / 2_000_000


def _address(name: str) -> str | None:
    """The socket's address: a leading ``@`` stands for the zero byte of an abstract one; unix(7)."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _status(text: str) -> tuple[str, ...]:
    # A line break would begin another assignment.
    line = one_line(" ".join(text.split()))
    if not line:
        return ()
    return ("STATUS=" + line.encode("utf-8", "replace")[:_LONGEST_STATUS].decode("utf-8", "ignore"),)
