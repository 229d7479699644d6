"""A gpg that never stops talking, or never ends, is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.explored import Explored
from tests.limits import cases
from tests.limits.measured import measure
from torcxd.addons import gpg
from torcxd.addons.gpg import MOST_OUTPUT
from torcxd.addons.signature import Verifier
from torcxd.errors import TransientError

# Lines of two bytes are the worst: each one is an object.
MOST = 50 * MOST_OUTPUT / 1e6


def install_gpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, importing: str) -> None:
    """Put a gpg into the way that answers like gpg when it is asked for its version or keys, and imports as told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "gpg"
    program.write_text(
        f"""#!/bin/sh
case "$*" in
*--list-config*) echo cfg:version:2.2.40 ;;
*--import*) {importing} ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (tmp_path / "keyring").write_bytes(b"a key")


@pytest.mark.parametrize("stream", ["", ">&2"])
async def test_endless_output_is_given_up(
    tmp_path: Path, explored: Explored, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    install_gpg(tmp_path, monkeypatch, f"exec yes x {stream}")
    measured = await measure(cases.keyring, str(tmp_path / "keyring"), str(tmp_path / "home"))
    assert f"the keyring {tmp_path}/keyring is not usable" in measured.result
    assert measured.grown < MOST
    assert measured.descriptors == 0
    explored.count("limits", "endless programs")


async def test_a_gpg_that_hangs_is_ended_and_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpg(tmp_path, monkeypatch, "exec sleep infinity")
    # Long enough for the calls before it.
    monkeypatch.setattr(gpg, "LONGEST", 1.0)
    with pytest.raises(TransientError, match="gpg was ended by signal 9"):
        await Verifier(tmp_path / "keyring", tmp_path / "home").prepare()


async def test_a_gpg_that_somebody_kills_says_nothing_of_the_keyring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_gpg(tmp_path, monkeypatch, "kill -TERM $$")
    with pytest.raises(TransientError, match="gpg was ended by signal 15"):
        await Verifier(tmp_path / "keyring", tmp_path / "home").prepare()
