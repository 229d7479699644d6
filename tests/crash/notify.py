"""The kernel stops a process at the entry of chosen system calls, and somebody else decides when each goes on.

That is seccomp_unotify(2). The process installs a filter, which all of its threads and children inherit, and hands over
the filter's listener. Each chosen call then waits, in any of them, until whoever has the listener lets it go on. A
process that is killed while it waits has not made the call.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
from contextlib import suppress
from typing import Any, Final

from tests.crash.calls import OPEN_CHANGES, SHAPES

_SYS_SECCOMP: Final = 317
_SYS_PIDFD_GETFD: Final = 438
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_FLAG_NEW_LISTENER: Final = 1 << 3
# A call that was looked at is not interrupted by a signal any more, and so not looked at twice; since Linux 5.19.
_FLAG_WAIT_KILLABLE: Final = 1 << 5
_RET_ALLOW: Final = 0x7FFF0000
_RET_USER_NOTIF: Final = 0x7FC00000
_ARCH_X86_64: Final = 0xC000003E
# Instructions of the classic Berkeley packet filter; linux/bpf_common.h.
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
# Where struct seccomp_data has the number of the call, the architecture, and the low half of each argument.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16

# struct seccomp_notif: id, pid, flags, and the data: nr, arch, instruction pointer, six arguments.
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp: id, val, error, flags.
_RESPONSE: Final = struct.Struct("=QqiI")
_CONTINUE: Final = 1
_IOCTL_RECEIVE: Final = 0xC0502100
_IOCTL_SEND: Final = 0xC0182101

# The descriptor by which the listener leaves: so high that nothing else in the program ever has it, since the filter
# lets messages through it pass.
_CHANNEL: Final = 1000
_SENDMSG: Final = next(each.number for each in SHAPES.values() if each.name == "sendmsg")

libc: Any = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter; the jumps are instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _filter() -> bytes:
    """The calls of :data:`SHAPES` are stopped; those that open a file, only if they may change something."""
    allow, stop = _instruction(_RETURN, _RET_ALLOW), _instruction(_RETURN, _RET_USER_NOTIF)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_IF_EQUAL, _ARCH_X86_64, 1, 0),
        allow,
        _instruction(_LOAD, _NUMBER),
        # The listener's own way out.
        _instruction(_IF_EQUAL, _SENDMSG, 0, 3),
        _instruction(_LOAD, _ARGUMENTS),
        _instruction(_IF_EQUAL, _CHANNEL, 0, 1),
        allow,
        _instruction(_LOAD, _NUMBER),
    ]
    for each in SHAPES.values():
        if each.flags is None:
            program += [_instruction(_IF_EQUAL, each.number, 0, 1), stop]
        else:
            program += [
                _instruction(_IF_EQUAL, each.number, 0, 4),
                _instruction(_LOAD, _ARGUMENTS + 8 * each.flags),
                _instruction(_IF_ANY_BIT, OPEN_CHANGES, 0, 1),
                stop,
                allow,
            ]
    return b"".join([*program, allow])


def enter(channel: int) -> None:
    """Have this process watched from now on, at the head of a session of its own.

    :param channel: a Unix socket, which gets the listener and is closed.
    :raises OSError: the kernel does not permit it.
    """
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOSYS, f"system calls are known by their numbers on x86_64, not on {platform.machine()}")
    os.setsid()
    os.dup2(channel, _CHANNEL, inheritable=False)
    os.close(channel)
    instructions = _filter()
    program = _Program(len(instructions) // 8, instructions)
    flags = _FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        raise _error("prctl")
    listener = libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, flags, ctypes.byref(program))
    if listener < 0:
        raise _error("seccomp: this kernel, or this container, does not let system calls be watched (Linux 5.19 does)")
    with socket.socket(fileno=_CHANNEL) as sender:
        socket.send_fds(sender, [b"!"], [listener])
    os.close(listener)


class Notification:
    """A call that waits."""

    __slots__ = ("arguments", "identity", "number", "thread")

    def __init__(self, data: bytes) -> None:
        fields = _NOTIFICATION.unpack(data)
        self.identity: int = fields[0]
        self.thread: int = fields[1]
        self.number: int = fields[3]
        self.arguments: tuple[int, ...] = fields[6:]


def is_waiting(listener: int) -> bool:
    """Whether a call waits. One that a signal interrupts before it is received waits no more, and comes again."""
    return bool(_events(listener) & select.POLLIN)


def is_over(listener: int) -> bool:
    """Whether all processes that had the filter have ended; since Linux 5.9."""
    return bool(_events(listener) & select.POLLHUP)


def _events(listener: int) -> int:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return next((events for _, events in poll.poll(0)), 0)


def receive(listener: int) -> Notification | None:
    """The next call that waits; None if its process was killed meanwhile. Blocks while there is none."""
    data = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _IOCTL_RECEIVE, data)
    except FileNotFoundError:
        return None
    return Notification(bytes(data))


def let_go(listener: int, notification: Notification) -> None:
    """Let the call be made. Fine for a process that was killed meanwhile."""
    with suppress(FileNotFoundError):
        fcntl.ioctl(listener, _IOCTL_SEND, _RESPONSE.pack(notification.identity, 0, 0, _CONTINUE))


def duplicate(process: int, descriptor: int) -> int:
    """A descriptor of this process for the open file that is *descriptor* in another.

    :raises OSError: there is no such process or descriptor, or it may not be had.
    """
    holder = os.pidfd_open(process)
    try:
        found = libc.syscall(_SYS_PIDFD_GETFD, holder, descriptor, 0)
        if found < 0:
            raise _error("pidfd_getfd")
        return int(found)
    finally:
        os.close(holder)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
