"""The one error type of everything that goes over D-Bus."""

from __future__ import annotations

from typing import Final

from torcxd.errors import EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, Kind, TorcxdError

_STANDARD: Final = "org.freedesktop.DBus.Error."

# Names from the D-Bus specification and libdbus's dbus-protocol.h.
SERVICE_UNKNOWN: Final = _STANDARD + "ServiceUnknown"
NAME_HAS_NO_OWNER: Final = _STANDARD + "NameHasNoOwner"
NO_REPLY: Final = _STANDARD + "NoReply"
DISCONNECTED: Final = _STANDARD + "Disconnected"
NO_SERVER: Final = _STANDARD + "NoServer"
AUTH_FAILED: Final = _STANDARD + "AuthFailed"
ACCESS_DENIED: Final = _STANDARD + "AccessDenied"
FAILED: Final = _STANDARD + "Failed"
TIMEOUT: Final = _STANDARD + "Timeout"
LIMITS_EXCEEDED: Final = _STANDARD + "LimitsExceeded"
UNKNOWN_OBJECT: Final = _STANDARD + "UnknownObject"
INVALID_ARGS: Final = _STANDARD + "InvalidArgs"
# A peer that answers with something else than its interface promises; also used for its unknown values.
INCONSISTENT_MESSAGE: Final = _STANDARD + "InconsistentMessage"
# A name of ours that somebody else owns: sd-bus's error for it, in sd-bus-errors(3)'s spelling of an errno.
NAME_TAKEN: Final = "System.Error.EEXIST"

# Names from systemd's bus-common-errors.h.
NO_SUCH_UNIT: Final = "org.freedesktop.systemd1.NoSuchUnit"

# The name is not on the bus at all.
ABSENT: Final = frozenset({SERVICE_UNKNOWN, NAME_HAS_NO_OWNER})

_OTHER_VERSION: Final = "the service does not offer what torcxd needs: compare its version with the supported ones"
_NOT_ALLOWED: Final = "run as root, or check the D-Bus policy in /etc/dbus-1/system.d"

# What stays the same however often it is asked. Everything else, unknown names included, may pass: a service that
# restarts answers with many names, and one more try after a pause does no harm.
_PERMANENT: Final = {
    ACCESS_DENIED: _NOT_ALLOWED,
    AUTH_FAILED: "run as root, or check who may connect to that bus",
    _STANDARD + "InteractiveAuthorizationRequired": _NOT_ALLOWED,
    _STANDARD + "UnknownMethod": _OTHER_VERSION,
    UNKNOWN_OBJECT: _OTHER_VERSION,
    _STANDARD + "UnknownInterface": _OTHER_VERSION,
    _STANDARD + "UnknownProperty": _OTHER_VERSION,
    INVALID_ARGS: _OTHER_VERSION,
    _STANDARD + "InvalidSignature": _OTHER_VERSION,
    _STANDARD + "NotSupported": _OTHER_VERSION,
    INCONSISTENT_MESSAGE: _OTHER_VERSION,
    NO_SUCH_UNIT: "check that the unit is installed, with `systemctl cat`",
    "org.freedesktop.systemd1.UnitMasked": "unmask the unit with `systemctl unmask`",
}
_TRANSIENT_HINTS: Final = {
    SERVICE_UNKNOWN: "check with `busctl list` whether the service runs",
    NAME_HAS_NO_OWNER: "check with `busctl list` whether the service runs",
    NO_REPLY: "the service is busy or hangs: look at its journal",
    NO_SERVER: "check that D-Bus runs and that its socket is mounted into the container",
    DISCONNECTED: "the bus was restarted or closed the connection: torcxd connects again",
    NAME_TAKEN: "find the other process with `busctl status` and end it",
}


class DBusError(TorcxdError):
    """A call over D-Bus failed, or the connection did.

    :param name: the D-Bus error name, ``org.freedesktop.DBus.Error.ServiceUnknown`` and the like. It decides the
        kind: permanent for what a repetition cannot change (denied, no such method, wrong arguments), transient for
        all else.
    :param message: what was tried and what the answer was, naming the bus name or the address.
    """

    def __init__(self, name: str, message: str) -> None:
        permanent = name in _PERMANENT
        exit_code = EX_UNAVAILABLE if permanent else EX_TEMPFAIL
        if name in {ACCESS_DENIED, AUTH_FAILED}:
            exit_code = EX_NOPERM
        hint = _PERMANENT.get(name) or _TRANSIENT_HINTS.get(name) or "the reason is in that service's journal"
        super().__init__(message, hint=hint, exit_code=exit_code)
        self.name = name
        self.kind = Kind.PERMANENT if permanent else Kind.TRANSIENT

    @property
    def absent(self) -> bool:
        """Whether the called name is not on the bus."""
        return self.name in ABSENT
