"""Throw-away OpenPGP keys that sign manifests: a good one, and those that must not count.

All functions block on gpg, some ten milliseconds each; making a key takes about a hundred.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from torcxd.errors import ConfigurationError

# A day of 2017, when the expired key was good, as gpg takes it (ISO 8601, basic); "!" makes its clock stand still.
_LONG_AGO: Final = "20171206T120000!"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair.

    :param fingerprint: of the primary key, which also signs.
    :param public: the public key as ``gpg --export`` writes it, with its revocation if it is revoked.
    :param armored: the same, as ``gpg --export --armor`` writes it.
    :param home: gpg's home with the secret key.
    :param time: gpg's clock for signing, None for the present.
    """

    fingerprint: str
    public: bytes = field(repr=False)
    armored: bytes = field(repr=False)
    home: Path = field(repr=False)
    time: str | None = None

    def sign(self, data: bytes) -> bytes:
        """An armored detached signature of *data*, as ``gpg --armor --detach-sign`` writes it."""
        return _gpg(self.home, "--local-user", self.fingerprint, "--armor", "--detach-sign", time=self.time, data=data)


class Keys:
    """Makes keys in a home of its own, which is gone, agent and all, when the block ends."""

    def __init__(self) -> None:
        # Not below the sandbox's folder: gpg's agent needs a path that fits into a socket's address, 107 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="torcxd-keys-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], capture_output=True, check=False)
        # The agent removes its sockets while we remove the folder.
        shutil.rmtree(self._home, ignore_errors=True)

    def make(self, name: str = "Torcxd Sandbox Release") -> SigningKey:
        """A key that never expires. Each one is foreign to whoever has only another."""
        return self._make(name, "never", None)

    def make_expired(self, name: str = "Torcxd Sandbox Expired") -> SigningKey:
        """A key that expired years ago; its signatures are from when it was good."""
        return self._make(name, "1d", _LONG_AGO)

    def make_revoked(self, name: str = "Torcxd Sandbox Revoked") -> SigningKey:
        """A key whose public half says that it is revoked; its signatures look as if made before."""
        key = self.make(name)
        certificate = (self._home / "openpgp-revocs.d" / f"{key.fingerprint}.rev").read_text()
        # gpg writes it with a colon before its first line, so that nobody imports it by accident.
        revocation = certificate.replace(":-----BEGIN", "-----BEGIN").encode()
        with tempfile.TemporaryDirectory(dir=self._home) as other:
            _gpg(Path(other), "--no-autostart", "--import", data=key.public)
            _gpg(Path(other), "--no-autostart", "--import", data=revocation)
            return self._exported(key.fingerprint, Path(other), None)

    def _make(self, name: str, expires: str, time: str | None) -> SigningKey:
        status = _gpg(
            self._home,
            # A name may occur twice.
            "--yes",
            *("--status-fd", "1"),
            *("--quick-generate-key", name, "ed25519", "sign", expires),
            time=time,
        )
        created = next(line for line in status.decode().splitlines() if line.startswith("[GNUPG:] KEY_CREATED"))
        return self._exported(created.split()[-1], self._home, time)

    def _exported(self, fingerprint: str, home: Path, time: str | None) -> SigningKey:
        return SigningKey(
            fingerprint,
            public=_gpg(home, "--export", fingerprint),
            armored=_gpg(home, "--armor", "--export", fingerprint),
            home=self._home,
            time=time,
        )


def _gpg(home: Path, *arguments: str, time: str | None = None, data: bytes = b"") -> bytes:
    """gpg's standard output.

    :raises ConfigurationError: gpg is not installed, or fails.
    """
    command = [
        "gpg",
        *("--homedir", str(home)),
        "--batch",
        "--quiet",
        "--no-options",
        # Nobody types a passphrase for a key that lives for a minute.
        *("--pinentry-mode", "loopback"),
        *("--passphrase", ""),
        *(("--faked-system-time", time) if time else ()),
        *arguments,
    ]
    try:
        # A session of its own, for its agent as well: Ctrl-C is for the sandbox, which then ends them.
        return subprocess.run(command, input=data, capture_output=True, check=True, start_new_session=True).stdout
    except FileNotFoundError as error:
        raise ConfigurationError("the sandbox cannot sign: gpg is not installed", hint="install GnuPG") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()
        raise ConfigurationError(f"the sandbox cannot sign: gpg {arguments[-1][:40]}: {said}") from error
