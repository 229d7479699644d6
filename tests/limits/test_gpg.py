"""A gpg that never stops talking is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.explored import Explored
from tests.limits import cases
from tests.limits.measured import measure
from torcxd.addons.gpg import MOST_OUTPUT

# Lines of two bytes are the worst: each one is an object.
MOST = 50 * MOST_OUTPUT / 1e6


@pytest.mark.parametrize("stream", ["", ">&2"])
async def test_endless_output_is_given_up(
    tmp_path: Path, explored: Explored, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    gpg = programs / "gpg"
    # It answers like gpg when it is asked for its version and for its keys, and imports without end.
    gpg.write_text(
        f"""#!/bin/sh
case "$*" in
*--list-config*) echo cfg:version:2.2.40 ;;
*--import*) exec yes x {stream} ;;
esac
"""
    )
    gpg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (tmp_path / "keyring").write_bytes(b"a key")
    measured = await measure(cases.keyring, str(tmp_path / "keyring"), str(tmp_path / "home"))
    assert f"the keyring {tmp_path}/keyring is not usable" in measured.result
    assert measured.grown < MOST
    assert measured.descriptors == 0
    explored.count("limits", "endless programs")
