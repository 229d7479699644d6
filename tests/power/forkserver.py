"""The fork server of the tests, which has besides what every restart needs, read already."""

from __future__ import annotations

import sys

import tests.power.record
import tests.power.sizes  # noqa: F401
from tests.integration.bootstrap.forkserver import serve
from torcxd.daemon.preload import preload

if __name__ == "__main__":
    # The program's own files, never a node's: the same in all of its processes.
    preload()
    serve(sys.argv[1])
