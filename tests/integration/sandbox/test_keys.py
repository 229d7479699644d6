"""The throw-away keys are what they pretend to be, as gpg itself sees it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from torcxd.sandbox.keys import Keys, SigningKey


@pytest.fixture
def keys() -> Iterator[Keys]:
    with Keys() as keys:
        yield keys


def verdict(home: Path, public: bytes, data: bytes, signature: bytes) -> set[str]:
    """gpg's status keywords about *signature*, with only *public* in the keyring."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-autostart", "--status-fd", "1"]
    subprocess.run([*gpg, "--import"], input=public, capture_output=True, check=True)
    path = home / "signature"
    path.write_bytes(signature)
    done = subprocess.run([*gpg, "--verify", str(path), "-"], input=data, capture_output=True, check=False)
    return {line.split()[1] for line in done.stdout.decode().splitlines() if line.startswith("[GNUPG:]")}


def test_a_good_key_makes_good_signatures(keys: Keys, tmp_path: Path) -> None:
    key = keys.make()
    signature = key.sign(b"data")
    assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----\n")
    assert key.armored.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    assert {"GOODSIG", "VALIDSIG"} <= verdict(tmp_path / "binary", key.public, b"data", signature)
    assert "GOODSIG" in verdict(tmp_path / "armored", key.armored, b"data", signature)
    assert "BADSIG" in verdict(tmp_path / "other", key.public, b"other data", signature)


def test_an_expired_key_is_expired(keys: Keys, tmp_path: Path) -> None:
    key = keys.make_expired()
    assert "EXPKEYSIG" in verdict(tmp_path / "home", key.public, b"data", key.sign(b"data"))


def test_a_revoked_key_is_revoked(keys: Keys, tmp_path: Path) -> None:
    key = keys.make_revoked()
    assert "REVKEYSIG" in verdict(tmp_path / "home", key.armored, b"data", key.sign(b"data"))


def test_a_foreign_key_is_unknown(keys: Keys, tmp_path: Path) -> None:
    ours, foreign = keys.make(), keys.make("Somebody Else")
    assert "NO_PUBKEY" in verdict(tmp_path / "home", ours.public, b"data", foreign.sign(b"data"))


def test_nothing_stays() -> None:
    with Keys() as keys:
        key: SigningKey = keys.make()
        home = key.home
        assert home.exists()
    assert not home.exists()
