"""gpg without gpg: signatures that hold for exactly the bytes that were signed, checked in no time.

A subprocess cannot live on a virtual clock. What stands for it here is the object through which torcxd talks to gpg,
and nothing above that: keyring homes, locks and the judgement of gpg's answers are torcxd's own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair, as :class:`torcxd.sandbox.keys.SigningKey` is for those who sign."""

    fingerprint: str

    @property
    def public(self) -> bytes:
        return f"KEY {self.fingerprint}\n".encode()

    def sign(self, data: bytes) -> bytes:
        return f"SIGNATURE {self.fingerprint} {_seal(self.fingerprint, data)}\n".encode()


def _seal(fingerprint: str, data: bytes) -> str:
    return hashlib.sha256(fingerprint.encode() + b"\0" + data).hexdigest()


@dataclass(slots=True)
class _Verdict:
    problems: list[dict[str, str]] = field(default_factory=list)
    sig_info: dict[str, dict[str, str]] = field(default_factory=dict)
    valid: bool = False
    returncode: int = 2
    status: str = "no signature"
    pubkey_fingerprint: str | None = None
    # gpg's status lines: no notations.
    stderr: str = ""


@dataclass(slots=True)
class _Import:
    fingerprints: list[str]
    not_imported: int
    sec_read: int = 0
    returncode: int = 0


class _Keys(list[dict[str, str]]):
    returncode = 0


class Gpg:
    """Stands for ``gnupg.GPG``, as far as :mod:`torcxd.addons.signature` uses it."""

    def __init__(self, home: Path) -> None:
        self._ring = home / "ring"

    def import_keys(self, keys: bytes) -> Any:
        lines = keys.decode("utf-8", "replace").splitlines()
        found = [each.removeprefix("KEY ") for each in lines if each.startswith("KEY ")]
        self._ring.write_text("\n".join(found))
        return _Import(found, len(lines) - len(found))

    def list_keys(self) -> _Keys:
        return _Keys({"fingerprint": each} for each in self._ring.read_text().split())

    def verify_data(self, signature_file: str, data: bytes) -> Any:
        words = Path(signature_file).read_text(errors="replace").split()
        if len(words) != 3 or words[0] != "SIGNATURE":
            return _Verdict()
        _, fingerprint, seal = words
        if fingerprint not in self._ring.read_text().split():
            return _Verdict([{"status": "no public key", "keyid": fingerprint}])
        signers = {"1": {"pubkey_fingerprint": fingerprint}}
        if seal != _seal(fingerprint, data):
            return _Verdict([{"status": "signature bad", "keyid": fingerprint}], signers)
        return _Verdict([], signers, True, 0, "signature valid", fingerprint)
