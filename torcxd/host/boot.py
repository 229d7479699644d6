"""Which boot this is: the kernel makes up one UUID a boot; see proc_sys_kernel(5)."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.host.files import read_bytes

# A UUID is 36 characters and the kernel ends it with a newline; the rest is room for a stand-in's white space.
_LARGEST: Final = 64


def read_boot_id(path: Path) -> str:
    """The id of the present boot, in lower case with dashes.

    :raises TorcxdError: unreadable (typed by the errno), or no UUID (:class:`PermanentError`, exit code 65).
    """
    data = read_bytes(path, limit=_LARGEST)
    text = data.decode("ascii", "replace").strip()
    try:
        boot_id = str(uuid.UUID(text))
        # uuid.UUID also takes braces, "urn:uuid:" and no dashes, none of which the kernel writes.
        if boot_id != text.lower():
            raise ValueError("not the kernel's spelling")
    except ValueError as error:
        raise PermanentError(
            f"{path} holds no boot id but {text!a}", hint="is /proc mounted?", exit_code=EX_DATAERR
        ) from error
    return boot_id
