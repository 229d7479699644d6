"""The benchmarks run and print their table; what the figures are is for people to judge."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.e2e.tree import PROJECT

_ROWS = (
    ("over HTTP:", "curl, tee, sha512sum"),
    ("over HTTPS:", "curl, tee, sha512sum"),
    ("Peak memory", "before the download"),
    ("Written to disk for it", "curl, cp"),
    ("Bootstrap until the reboot:", "its longest part alone"),
    ("Bootstrap until the reboot", "its parts one after the other"),
    ("Bootstrap with the run after the reboot", "its longest part alone"),
    ("Written to disk by it", "its parts one after the other"),
    ("torcxd status", "python3 -c pass"),
    ("torcxd status, by the clock", "python3 -c pass"),
    ("Idle daemon, RSS", "a trio process"),
    ("Idle daemon, PSS", "a trio process"),
    ("Idle daemon, processor", "a trio process"),
    ("signal to the first request", "a TLS handshake with the bucket"),
    ("label to the annotation", "a GET of the node with a new client"),
    ("Requests of an idle node", "asking for the three every 30 s"),
    ("Watch events", "json.loads of each"),
)


def test_each_figure_is_printed_beside_its_peer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick"], cwd=PROJECT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    for (title, beside), (what, figure, peer, peers, ratio, target, met) in zip(_ROWS, rows, strict=True):
        assert title in what
        assert peer == beside
        for each in (figure, peers, ratio):
            number = re.match(r"[\d.]+", each)
            assert number is not None, each
            # In the short time of a quick run an idle daemon may have nothing to do at all.
            assert float(number[0]) > 0 or "processor" in what
        assert met in ({"yes", "NO"} if target else {""})
