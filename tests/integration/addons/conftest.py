"""Keys in every condition, made once a session."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.addons.openpgp import LONG_AGO, Keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """Keys ``good``, ``other``, ``foreign``, ``expired``, and ``subkey``, which signs with a subkey."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    result = Keys(home)
    try:
        for name in ("good", "other", "foreign"):
            result.make(name)
        result.make("expired", at=LONG_AGO, expires="1d")
        fingerprint = result.make("subkey")
        result.gpg("--quick-add-key", fingerprint, "ed25519", "sign", "never")
        yield result
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
