"""``torcxd history``: past transitions and failures."""

from __future__ import annotations

import json

from torcxd.cli.style import moment
from torcxd.daemon.statefile import read_history
from torcxd.errors import from_os_error, one_line
from torcxd.paths import Layout


def history(layout: Layout, *, lines: int, as_json: bool) -> int:
    """Print the newest *lines* entries, oldest first; returns the exit code.

    :raises TorcxdError: when the history exists and cannot be read.
    """
    try:
        entries = read_history(layout.history_file, most=max(1, lines))
    except FileNotFoundError:
        entries = []
    except OSError as error:
        raise from_os_error(error, "read", layout.history_file) from error
    for entry in entries:
        if as_json:
            print(json.dumps(entry))
        elif not (entry.keys() >= {"at", "from", "to", "event", "because"} and isinstance(entry["at"], int | float)):
            # Somebody else's line; --json shows it.
            continue
        elif entry["event"] == "failed":
            attempt = entry.get("attempt", "?")
            what = f"work in state {entry['from']} failed (attempt {attempt})"
            print(one_line(f"{moment(entry['at'])}  {what}: {entry['because']}"))
        else:
            detail = f" ({entry['detail']})" if entry.get("detail") else ""
            print(one_line(f"{moment(entry['at'])}  {entry['from']} → {entry['to']}: {entry['because']}{detail}"))
    if not entries and not as_json:
        # A first bootstrap may gather for long: its record is there before its first transition.
        ran = layout.state_file.exists()
        print("No transition yet; `torcxd status` tells what goes on." if ran else "Nothing was run on this node yet.")
    return 0
