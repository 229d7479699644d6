"""``python -m tests.bench``: measure everything and print one table. Exit 0 whatever the figures are."""

from __future__ import annotations

import argparse
import os
import platform
import re
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench import bootstrap, daemon, download, status
from tests.bench.scale import FULL, QUICK, Scale
from tests.bench.table import Row, render
from tests.e2e.tree import PROJECT

# On the project's disk: /tmp may be memory, which would flatter, and where the kernel counts no bytes to disk.
DIRECTORY: Final = PROJECT / ".cache" / "bench"


def measure(scale: Scale, directory: Path) -> list[Row]:
    """Measure everything, in the empty folder *directory*."""
    _say("downloads")
    rows = download.measure(scale, directory)
    _say("bootstraps")
    more, node = bootstrap.measure(scale, directory)
    _say("torcxd status")
    rows = rows + more + status.measure(scale, directory, node)
    _say("the daemon")
    return rows + daemon.measure(scale, directory / "daemon")


def _say(what: str) -> None:
    print(f"measuring {what} …", file=sys.stderr, flush=True)


def _machine() -> str:
    """What the figures depend on."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    name = cpu[1] if cpu else platform.machine()
    busy = f"load {os.getloadavg()[0]:.1f}"
    return (
        f"{os.cpu_count()} processors, {name}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION}; {busy} at the start"
    )


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: only to see that it works")
    parser.add_argument(
        "--directory", type=Path, default=DIRECTORY, help="where to work; on a disk (default: %(default)s)"
    )
    options = parser.parse_args()
    os.chdir(PROJECT)
    machine = _machine()
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rows = measure(QUICK if options.quick else FULL, Path(directory))
    print(f"{machine}\n\n{render(rows)}", end="")


if __name__ == "__main__":
    main()
