"""Which Docker runs: what its daemon says over its socket (Docker Engine API, ``GET /version``)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from torcxd.http import HttpError, raise_for_status
from torcxd.http.unix import get_over_unix

log = logging.getLogger(__name__)

# Seconds. A Docker that runs answers in milliseconds; one that only starts now is not worth a longer wait, since
# nothing depends on its answer.
ANSWER_TIMEOUT: Final = 5.0
# The answer is half a kilobyte, and grows with each component that Docker lists.
_LARGEST: Final = 256 * 1024


async def server_version(socket_path: Path, *, timeout: float = ANSWER_TIMEOUT) -> str | None:
    """The version of the Docker daemon that listens on *socket_path*, as ``"17.03.2-ce"``.

    Asking starts a Docker that systemd activates by its socket. Nothing is raised, since this is for reports only.

    :param timeout: seconds to wait for the answer.
    :returns: None where there is no such socket, where nobody answers in time, or not as Docker does.
    """
    try:
        answer = await get_over_unix(socket_path, "/version", seconds=timeout, max_bytes=_LARGEST)
        raise_for_status(answer)
        version = json.loads(answer.body)["Version"]
    except (HttpError, ValueError, LookupError, TypeError, RecursionError) as error:
        log.debug("Docker does not tell its version: %s.", error)
        return None
    return version if isinstance(version, str) and version else None
