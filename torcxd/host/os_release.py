"""What os-release(5) tells about the running system: its version and the board it was built for."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.host.env_file import LARGEST, Assignment, parse_assignments
from torcxd.host.files import read_bytes
from torcxd.lifecycle.versions import parse_os_version

# The boards that Container Linux and Flatcar are built for, by the machine name of uname(2).
BOARDS: Final = {"x86_64": "amd64-usr", "aarch64": "arm64-usr"}
# Container Linux's own name for the field first: a system that has both must have them equal.
_BOARD_FIELDS: Final = ("COREOS_BOARD", "FLATCAR_BOARD")
# What Container Linux and Flatcar call themselves; what is made from them says ID_LIKE.
_FAMILY: Final = frozenset({"coreos", "flatcar"})
# The board becomes a part of the manifest's URL.
_BOARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FILE_HINT: Final = "this file comes with the operating system: compare it with that of another node"


@dataclass(frozen=True, slots=True)
class OsRelease:
    """The running operating system.

    :param version: ``VERSION_ID``, e.g. ``"1576.4.0"``; a valid OS version, and so one path component.
    :param board: e.g. ``"amd64-usr"``.
    :param id: ``ID``, e.g. ``"coreos"`` or ``"flatcar"``; ``"linux"`` where it is missing, as os-release(5) says.
    """

    version: str
    board: str
    id: str


def read_os_release(path: Path, *, machine: str | None = None) -> OsRelease:
    """Read and check an os-release file.

    :param machine: the machine's architecture as uname(2) names it; None asks the kernel. It counts where the file
        names no board.
    :raises TorcxdError: unreadable (typed by the errno); or :class:`PermanentError`, exit code 65, when it is no
        os-release file, lacks ``VERSION_ID``, or contradicts itself. The message names file, line and field.
    """
    data = read_bytes(path, limit=LARGEST)
    fields: dict[str, Assignment] = {}
    for each in parse_assignments(data, str(path)):
        earlier = fields.setdefault(each.name, each)
        if earlier.value != each.value:
            raise _wrong(path, each, f"contradicts line {earlier.line}, which says {earlier.value!a}")
    if not fields:
        raise PermanentError(f"{path} holds no field", hint=_FILE_HINT, exit_code=EX_DATAERR)
    _check_kind(path, fields)
    version = fields.get("VERSION_ID")
    if version is None:
        raise PermanentError(f"{path} has no VERSION_ID", hint=_FILE_HINT, exit_code=EX_DATAERR)
    try:
        parse_os_version(version.value)
    except ValueError as error:
        raise _wrong(path, version, str(error)) from error
    identity = fields.get("ID")
    return OsRelease(version.value, _board(path, fields, machine), identity.value if identity else "linux")


def _check_kind(path: Path, fields: dict[str, Assignment]) -> None:
    """Refuse a system that says of itself that it is another: its version is no OS version, and it has no torcx."""
    named = fields.get("ID")
    like = fields["ID_LIKE"].value.split() if "ID_LIKE" in fields else []
    if named is None or not _FAMILY.isdisjoint({named.value, *like}):
        return
    name = fields["NAME"].value if "NAME" in fields and fields["NAME"].value else named.value
    raise PermanentError(
        f"this is {name[:100]} (so says {path}), not Container Linux or Flatcar",
        hint="run it on such a node; `torcxd demo` shows it in a sandbox",
        exit_code=EX_DATAERR,
    )


def _board(path: Path, fields: dict[str, Assignment], machine: str | None) -> str:
    named = [fields[name] for name in _BOARD_FIELDS if name in fields and fields[name].value]
    if not named:
        machine = machine or platform.machine()
        if machine not in BOARDS:
            raise PermanentError(
                f"{path} names no board, and none is known for the architecture {machine!a}",
                hint=f"known architectures: {', '.join(sorted(BOARDS))}",
                exit_code=EX_DATAERR,
            )
        return BOARDS[machine]
    for each in named:
        if each.value != named[0].value:
            raise _wrong(path, each, f"contradicts {named[0].name} on line {named[0].line}, {named[0].value!a}")
        if not _BOARD.fullmatch(each.value):
            raise _wrong(path, each, "not a board such as amd64-usr")
    return named[0].value


def _wrong(path: Path, field: Assignment, what: str) -> PermanentError:
    message = f"{path}:{field.line}: {field.name}={field.value[:100]!a}: {what}"
    return PermanentError(message, hint=_FILE_HINT, exit_code=EX_DATAERR)
