"""The fork server of the tests, which has imported besides what a watched process needs."""

from __future__ import annotations

import sys

import tests.crash.broken
import tests.crash.notify  # noqa: F401
from tests.integration.bootstrap.forkserver import serve

if __name__ == "__main__":
    serve(sys.argv[1])
