"""Detached OpenPGP signatures: who signed these bytes, and is that anybody we trust?

gpg's own verdict is not enough: it ends with 0 and says "signature valid" for an expired or revoked key, and one good
signature hides a bad one beside it. Here a signature counts only if gpg found it valid, found nothing to
object to in any of the signatures that came with it, and every signer is a key of the given keyring.

The keyring is imported once into a home directory named after its digest, so a home never goes stale: a changed
keyring is another home.

A manifest does not say which OS version it is for, so its signature, which is good wherever it is served, may: by
notations (RFC 4880, section 5.2.3.16), ``gpg --sig-notation``. One that names a purpose counts for that purpose only.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import trio

from torcxd.addons.private import locked, private_directory
from torcxd.errors import EX_DATAERR, ConfigurationError, PermanentError, TorcxdError, TransientError, from_os_error
from torcxd.host import files
from torcxd.host.trusted import check_directory, read_trusted, untrusted

# The keyring of a release team is some kilobytes; a distribution's whole keyring is about a megabyte.
_LARGEST_KEYRING: Final = 8 << 20
# A few signatures with every subpacket there is; more is not a signature.
_LARGEST_SIGNATURE: Final = 1 << 20

# The notations by which a publisher binds a signature to what it was made for.
BOARD: Final = "board@torcxd.io"
OS_VERSION: Final = "os-version@torcxd.io"
# gpg's status lines, in which it escapes what could end one: a name, then flags, then the value in one or more lines.
# It tells of notations in the signed part of a good signature only. See its doc/DETAILS.
_NOTATION: Final = re.compile(r"^\[GNUPG:\] NOTATION_(NAME|DATA) (.*)$", re.MULTILINE)

# gpg takes the data from its standard input and the signature from a file.
_SIGNATURE: Final = "signature-"

_GPG_OPTIONS: Final = [
    # Nobody's gpg.conf changes what counts as trusted.
    "--no-options",
    # Public keys need no agent; one that were started would outlive us.
    "--no-autostart",
    # A key that is not in the keyring is foreign: it must not be looked for elsewhere.
    "--no-auto-key-retrieve",
    "--no-auto-key-locate",
    # Our own lock of the home keeps others away. gpg's are files, which a kill leaves behind for ever.
    "--lock-never",
    # The keyring is the list of trusted keys; a web of trust has no say, and needs no trustdb.
    "--trust-model=always",
]

# python-gnupg's words for what gpg objects to, the most telling first, and ours.
_OBJECTIONS: Final = {
    "signature bad": "it was made for other data",
    "signing key was revoked": "its key was revoked",
    "signing key has expired": "its key has expired",
    "signature expired": "it has expired",
    "no public key": "its key is not in the keyring",
    "signature error": "it cannot be checked",
}


@dataclass(frozen=True, slots=True)
class _Home:
    """An imported keyring.

    :param stamp: what the keyring file looked like: device, inode, size, modification time.
    :param allowed: the fingerprints of its primary keys.
    """

    stamp: tuple[int, ...]
    directory: Path
    gpg: Any
    allowed: frozenset[str]


class Verifier:
    """Verifies detached signatures against a keyring file.

    :param keyring: the public keys that are trusted, armored or binary, as ``gpg --export`` writes them. Read again
        whenever the file changes.
    :param home: a directory for gpg's own form of them; made private (0700).
    """

    def __init__(self, keyring: Path, home: Path) -> None:
        self._keyring = keyring
        self._home = home
        self._imported: _Home | None = None

    async def prepare(self) -> None:
        """Import the keyring, so that a wrong one is found before anything is there to be verified.

        Cancellation is as with :meth:`verify`.

        :raises ConfigurationError: the keyring is missing or holds no public key, or gpg is not installed.
        """
        await trio.to_thread.run_sync(self._prepare, abandon_on_cancel=True)

    def _prepare(self) -> None:
        private_directory(self._home)
        with locked(self._home):
            self._import()

    async def verify(self, data: bytes, signature: bytes, where: str, purpose: Mapping[str, str] | None = None) -> str:
        """Check that *signature* is one of trusted keys on *data*.

        gpg runs in a worker thread. Cancellation returns at once; the gpg process, a matter of milliseconds, is left
        to end by itself.

        :param signature: armored or binary; several are accepted if not one of them is objectionable.
        :param where: the URL or file that the signature comes from, for messages.
        :param purpose: what the data is taken for, by the names of notations. A signature that has one of them must
            have this value; one that has none of them is good for every purpose.
        :returns: the fingerprint of the primary key that signed.
        :raises PermanentError: with exit code 65 (EX_DATAERR): no signature, other data, an expired signature, a
            revoked, expired or foreign key, another purpose.
        :raises ConfigurationError: the keyring is missing or holds no public key, or gpg is not installed.
        :raises TransientError: gpg was killed, or did not end in time.
        """
        return await trio.to_thread.run_sync(
            self._verify, data, signature, where, purpose or {}, abandon_on_cancel=True
        )

    def _verify(self, data: bytes, signature: bytes, where: str, purpose: Mapping[str, str]) -> str:
        if not signature.strip():
            self._refuse(where, "it is empty")
        if len(signature) > _LARGEST_SIGNATURE:
            self._refuse(where, f"it is larger than {_LARGEST_SIGNATURE} bytes")
        private_directory(self._home)
        with locked(self._home):
            home = self._import()
            try:
                self._remove_abandoned()
                with tempfile.NamedTemporaryFile(dir=self._home, prefix=_SIGNATURE) as file:
                    file.write(signature)
                    file.flush()
                    result = _ended(home.gpg, home.gpg.verify_data(file.name, data))
                # Once the manifest is believed nobody may come here again: a power cut must not bring the file back.
                files.fsync_directory(self._home)
            except OSError as error:
                raise from_os_error(error, "verify a signature in", self._home) from error
        fingerprint = self._judge(result, home.allowed, where)
        for name, value in _notations(result.stderr):
            if purpose.get(name, value) != value:
                self._refuse(where, f"it was made for {name} {value[:80]!a}, not {purpose[name]!a}")
        return fingerprint

    def _remove_abandoned(self) -> None:
        """Remove the signatures of processes that were killed. Runs under the home's lock. Raises ``OSError``."""
        for each in self._home.iterdir():
            if each.name.startswith(_SIGNATURE):
                each.unlink()

    def _judge(self, result: Any, allowed: frozenset[str], where: str) -> str:
        found = {each["status"]: each.get("keyid") or "?" for each in result.problems}
        for status, objection in _OBJECTIONS.items():
            if status in found:
                self._refuse(where, f"{objection} (key {found[status]})")
        signers = {each.get("pubkey_fingerprint") for each in result.sig_info.values()}
        if not signers:
            self._refuse(where, "it is not a detached OpenPGP signature")
        if not result.valid or result.problems or result.returncode != 0:
            self._refuse(where, f"gpg objects to it: {result.status}")
        if not signers <= allowed or result.pubkey_fingerprint not in allowed:
            self._refuse(where, "its key is not in the keyring")
        return str(result.pubkey_fingerprint)

    def _refuse(self, where: str, problem: str) -> NoReturn:
        raise PermanentError(
            f"the signature {where} is not acceptable: {problem}",
            hint=f"publish one by a key of {self._keyring}, or give the right keyring with --keyring",
            exit_code=EX_DATAERR,
        )

    def _import(self) -> _Home:
        """The home for the keyring file as it is now. Runs under the home's lock."""
        try:
            found = os.stat(self._keyring)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        # At each use: the modes can change without the content.
        if problem := untrusted(found):
            raise self._unusable(problem)
        try:
            # Who can write there can put back a keyring of before.
            check_directory(self._keyring.parent)
        except TorcxdError as error:
            raise self._unusable(error.message) from error
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._imported is not None and self._imported.stamp == stamp and self._imported.directory.is_dir():
            return self._imported
        try:
            keys = read_trusted(self._keyring, limit=_LARGEST_KEYRING)
        except TorcxdError as error:
            raise self._unusable(error.message) from error
        if not keys.strip():
            raise self._unusable("it is empty")
        directory = self._home / hashlib.sha256(keys).hexdigest()
        if not directory.is_dir():
            self._fill(directory, keys)
        gpg = _gpg(directory)
        # A key may have several subkeys that sign; all of them answer to the primary key.
        allowed = frozenset(str(each["fingerprint"]) for each in _ended(gpg, gpg.list_keys()))
        self._imported = _Home(stamp, directory, gpg, allowed)
        return self._imported

    def _fill(self, directory: Path, keys: bytes) -> None:
        """Import *keys* into *directory*, which appears whole or not at all; the homes of earlier keyrings go."""
        try:
            for each in self._home.iterdir():
                if each.is_dir():
                    shutil.rmtree(each)
            unfinished = Path(tempfile.mkdtemp(dir=self._home, prefix="importing-"))
            gpg = _gpg(unfinished)
            result = _ended(gpg, gpg.import_keys(keys))
            if result.sec_read:
                raise self._unusable("it holds a secret key")
            if not result.fingerprints or result.not_imported:
                raise self._unusable("it holds no OpenPGP public keys, or damaged ones")
            for each in unfinished.iterdir():
                files.fsync_file(each)
            files.fsync_directory(unfinished)
        except OSError as error:
            raise from_os_error(error, "import a keyring into", self._home) from error
        files.rename(unfinished, directory)

    def _unusable(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"the keyring {self._keyring} is not usable: {problem}",
            hint="give the file that `gpg --export` writes with the release keys, with --keyring",
        )


def _notations(status: str) -> list[tuple[str, str]]:
    """Names and values of the notations in gpg's *status*, with its escapes."""
    found: list[tuple[str, str]] = []
    for kind, text in _NOTATION.findall(status):
        if kind == "NAME":
            found.append((text, ""))
        elif found:
            name, value = found.pop()
            found.append((name, value + text))
    return found


def _ended(gpg: Any, result: Any) -> Any:
    """The *result* of a call, if gpg ended by itself or for what it was given.

    :raises TransientError: somebody killed it, such as a kernel without memory, or it had not ended in time.
    """
    if (result.returncode or 0) < 0 and not gpg.told_too_much:
        raise TransientError(
            f"gpg was ended by signal {-result.returncode} before it had answered",
            hint="see whether the node is short of memory, or its disk hangs",
        )
    return result


def _gpg(home: Path) -> Any:
    # Here, not above: importing it costs 24 ms, and only what verifies should pay.
    from torcxd.addons.gpg import BoundedGpg

    # It logs every unusual end of gpg and every missing binary; what matters of that is in our own error.
    logging.getLogger("gnupg").setLevel(logging.CRITICAL)
    # gpg needs nothing else of the environment, and its messages stay in one language.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        return BoundedGpg(gnupghome=str(home), options=_GPG_OPTIONS, env=environment)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"gpg cannot be run, and without it no signature can be verified: {error}",
            hint="install GnuPG, so that `gpg` is in PATH",
        ) from error
