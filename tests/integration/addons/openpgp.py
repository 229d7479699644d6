"""Real OpenPGP keys, made and used with the real gpg."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

# Long ago, for keys and signatures that have expired since; faketime syntax of gpg.
LONG_AGO = "20170101T000000"


@dataclass(frozen=True)
class Keys:
    """A gpg home with secret keys; a key is named by its user id's address."""

    home: Path

    def gpg(self, *arguments: str, data: bytes = b"", at: str | None = None) -> bytes:
        time = [f"--faked-system-time={at}!"] if at else []
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", "--yes", "--passphrase="]
        command += ["--pinentry-mode=loopback", *time, *arguments]
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout

    def make(self, name: str, *, at: str | None = None, expires: str = "never") -> str:
        """A signing key; returns its fingerprint."""
        self.gpg("--quick-gen-key", f"{name} <{name}@example.com>", "ed25519", "sign", expires, at=at)
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        lines = self.gpg("--with-colons", "--list-keys", f"{name}@example.com").decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def revoke(self, name: str) -> None:
        certificate = self.home / "openpgp-revocs.d" / f"{self.fingerprint(name)}.rev"
        self.gpg("--import", data=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))

    def sign(self, data: bytes, *names: str, armor: bool = True, at: str | None = None, expires: str = "") -> bytes:
        """A detached signature; by several keys where several are named."""
        users = [word for name in names for word in ("--local-user", f"{name}@example.com")]
        options = ["--armor"] if armor else []
        if expires:
            options.append(f"--default-sig-expire={expires}")
        return self.gpg(*users, *options, "--detach-sign", data=data, at=at)

    def export(self, *names: str, armor: bool = False, secret: bool = False) -> bytes:
        options = ["--armor"] if armor else []
        command = "--export-secret-keys" if secret else "--export"
        return self.gpg(*options, command, *(f"{name}@example.com" for name in names))
