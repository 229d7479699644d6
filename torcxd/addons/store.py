"""torcx's image stores: which image a boot would use, and putting the right ones there.

A store is a directory of files ``name:reference.torcx.tgz`` or ``.torcx.squashfs``. torcx looks through the vendor's,
the OEM's and the user's in a fixed order (:meth:`torcxd.paths.Layout.stores`); torcxd writes to one place only, the
user store of an OS version.

The vendor's own store comes with the OS image: what lies there belongs to the running OS version, and says nothing
about the next one.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

from torcxd.addons.hashing import Digests
from torcxd.errors import EX_CONFIG, EX_DATAERR, PermanentError, TorcxdError, from_os_error
from torcxd.host import files
from torcxd.host.trusted import check_directory, untrusted
from torcxd.lifecycle.catalog import Digest
from torcxd.lifecycle.versions import OSVersion, parse_os_version
from torcxd.names import component
from torcxd.paths import Layout

TGZ: Final = ".torcx.tgz"
SQUASHFS: Final = ".torcx.squashfs"

# What the kernel itself follows before it says ELOOP; path_resolution(7).
_MOST_LINKS: Final = 40
# update_engine's way to say that it does not know; it has the form of a version, but is none.
_UNKNOWN: Final = "0.0.0"


class Store:
    """The stores of a node.

    Methods block, for a few system calls and an fsync, except those that hash an image: they are asynchronous and do it
    in a thread. Names are checked: one that cannot be a path component is a :class:`PermanentError`.

    :param running: the OS version that runs now, whose vendor store is the one that is mounted.
    :param digests: what the process knows of files; of its own unless given.
    """

    def __init__(self, layout: Layout, running: str, digests: Digests | None = None) -> None:
        self._layout = layout
        self._running = running
        self._digests = digests or Digests()

    def target(self, os_version: str, name: str, reference: str) -> Path:
        """Where torcxd puts the image for *os_version*: ``/var/lib/torcx/store/<os>/<name>:<reference>.torcx.tgz``."""
        file = f"{_checked(name, 'package name')}:{_checked(reference, 'reference')}{TGZ}"
        return self._layout.user_store / _checked(os_version, "OS version") / file

    def find(self, os_version: str, name: str, reference: str) -> Path | None:
        """The file that torcx uses for an image when *os_version* boots, or None.

        The first store that has it wins, but a squashfs image in any store wins over the tgz ones. A dangling symbolic
        link is no image.
        """
        target = self.target(os_version, name, reference)
        stem = target.name.removesuffix(TGZ)
        for suffix in (SQUASHFS, TGZ):
            for store in self._stores(os_version):
                path = store / (stem + suffix)
                if self._follow(path) is not None:
                    return path
        return None

    async def holds(self, os_version: str, name: str, reference: str, digest: Digest) -> bool:
        """Whether the file that torcx uses for the image when *os_version* boots has that digest.

        In the user store only a regular file counts that nobody else can write or replace, since anything else can
        change after it was looked at. Cancellation returns at once; the thread ends by itself.

        :raises TorcxdError: the file cannot be read.
        """
        return await trio.to_thread.run_sync(self._holds, os_version, name, reference, digest, abandon_on_cancel=True)

    def _holds(self, os_version: str, name: str, reference: str, digest: Digest) -> bool:
        path = self.find(os_version, name, reference)
        file = self._follow(path) if path is not None else None
        if path is None or file is None:
            return False
        if path.is_relative_to(self._layout.user_store) and not self._is_ours(path):
            return False
        return self._digests.of(file, digest.algorithm) == digest

    async def find_digest(self, name: str, reference: str, digest: Digest) -> Path | None:
        """An image of that name, reference and digest in the user store of whatever OS version, to be placed again.

        Cancellation and what counts as in :meth:`holds`. A file that cannot be read is passed over.
        """
        return await trio.to_thread.run_sync(self._find_digest, name, reference, digest, abandon_on_cancel=True)

    def _find_digest(self, name: str, reference: str, digest: Digest) -> Path | None:
        for version in reversed(self.versions()):
            path = self.target(version, name, reference)
            try:
                if self._digests.of(path, digest.algorithm) == digest and self._is_ours(path):
                    return path
            except TorcxdError:
                continue
        return None

    def _is_ours(self, path: Path) -> bool:
        """Whether *path* in the user store is no link, nor in a linked directory, and nobody else can change that.

        The user store itself may be on another disk.
        """
        store, directory = self._layout.user_store, path.parent
        try:
            for each in (store, directory):
                check_directory(each)
            if directory != store and directory.is_symlink():
                return False
            return not path.is_symlink() and not untrusted(path.lstat())
        except (TorcxdError, OSError):
            return False

    def resolve_reference(self, os_version: str, name: str, reference: str) -> str:
        """The reference behind an alias: the vendor's ``docker:com.coreos.cl`` is a link to ``docker:17.03``.

        :returns: what the links of the image that torcx uses end at; *reference* itself if it is no alias or there
            is no such image.
        """
        path = self.find(os_version, name, reference)
        for _ in range(_MOST_LINKS):
            if path is None or not path.is_symlink():
                break
            path = self._hop(path)
            parsed = _parse(path.name)
            if parsed is None or parsed[0] != name:
                break
            reference = parsed[1]
        return reference

    def place(self, verified: Path, os_version: str, name: str, reference: str) -> Path:
        """Give the verified file its final name in the user store of *os_version*, by a hard link.

        Idempotent; a file that has the name already is replaced at once. Ends with the image durable, mode 0644.

        :param verified: a file whose digest was checked, in the staging directory or under another OS version.
        :returns: the final path.
        :raises PermanentError: it lies on another file system, the OS version's directory is a symbolic link or others
            can write it, or an other image of that name elsewhere would be used in its stead.
        :raises TorcxdError: typed by the errno, naming both files.
        """
        target = self.target(os_version, name, reference)
        if target.parent.is_symlink():
            raise PermanentError(
                f"{target.parent} is a symbolic link", hint="remove it: torcxd writes to real directories only"
            )
        files.make_directory(target.parent)
        # Who can write there has no need to fool us.
        for directory in (self._layout.user_store, target.parent):
            check_directory(directory)
        try:
            if not stat.S_ISREG(verified.lstat().st_mode):
                raise PermanentError(f"{verified} is not a regular file", exit_code=EX_DATAERR)
            verified.chmod(0o644)
        except OSError as error:
            raise from_os_error(error, f"link to {target}", verified) from error
        # Always: whoever had changed the mode before may have been killed before it was durable.
        files.fsync_file(verified)
        if not _same_file(verified, target):
            try:
                files.link(verified, target)
            except TorcxdError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno == errno.EXDEV:
                    raise PermanentError(
                        f"{verified} and {target} lie on different file systems: an image is linked, never copied",
                        hint=f"keep all of {self._layout.torcx_state} on one file system",
                    ) from error
                raise
        used = self.find(os_version, name, reference)
        if used is not None and used != target and not self._same_content(used, target):
            raise PermanentError(
                f"torcx would use {used} instead of {target}", hint="remove the former: it hides the verified image"
            )
        return target

    def versions(self) -> tuple[str, ...]:
        """The OS versions that have a directory in the user store, the oldest first."""
        found: list[tuple[OSVersion, str]] = []
        try:
            with os.scandir(self._layout.user_store) as entries:
                for each in entries:
                    version = _parsed_version(each.name)
                    if version is not None and each.is_dir(follow_symlinks=False):
                        found.append((version, each.name))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise from_os_error(error, "list", self._layout.user_store) from error
        return tuple(name for _, name in sorted(found))

    def gc(self, current: str, next_: str) -> tuple[str, ...]:
        """Remove the user store's directories of OS versions older than *current*.

        Never one of the current or the next version, never a symbolic link, never what is not named like a version.

        :param next_: the version that boots next; the current one where no update is pending.
        :returns: the versions removed, the oldest first.
        :raises PermanentError: *current* or *next_* is not known; nothing was removed then.
        :raises TorcxdError: a directory could not be removed; the others were.
        """
        keep = (_known(current, "current"), _known(next_, "next"))
        removed: list[str] = []
        failure: TorcxdError | None = None
        for name in self.versions():
            version = parse_os_version(name)
            if version in keep or not version < keep[0]:
                continue
            path = self._layout.user_store / name
            try:
                shutil.rmtree(path)
                files.fsync_directory(path.parent)
                removed.append(name)
            except OSError as error:
                failure = failure or from_os_error(error, "remove", path)
        if failure is not None:
            raise failure
        return tuple(removed)

    def _same_content(self, one: Path, other: Path) -> bool:
        file = self._follow(one)
        return file is not None and self._digests.of(file, "sha512") == self._digests.of(other, "sha512")

    def _stores(self, os_version: str) -> Iterator[Path]:
        vendor = self._layout.stores(os_version)[0]
        for store in self._layout.stores(os_version):
            if store != vendor or os_version == self._running:
                yield store

    def _hop(self, link: Path) -> Path:
        """What the symbolic link *link* points at; an absolute one stays below the layout's root."""
        to = link.readlink()
        return self._layout.at(to) if to.is_absolute() else link.parent / to

    def _follow(self, path: Path) -> Path | None:
        """The regular file that *path* is or leads to, or None."""
        try:
            for _ in range(_MOST_LINKS):
                mode = path.lstat().st_mode
                if not stat.S_ISLNK(mode):
                    return path if stat.S_ISREG(mode) else None
                path = self._hop(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise from_os_error(error, "look at", path) from error
        return None


def _checked(text: str, what: str) -> str:
    try:
        return component(text)
    except ValueError as error:
        raise PermanentError(f"the {what} cannot be part of a path: {error}", exit_code=EX_DATAERR) from error


def _parse(file_name: str) -> tuple[str, str] | None:
    """Name and reference of an image's file name, or None."""
    for suffix in (TGZ, SQUASHFS):
        name, colon, reference = file_name.removesuffix(suffix).partition(":")
        if file_name.endswith(suffix) and colon:
            return name, reference
    return None


def _parsed_version(text: str) -> OSVersion | None:
    try:
        return parse_os_version(text)
    except ValueError:
        return None


def _known(text: str, which: str) -> OSVersion:
    version = _parsed_version(text)
    if version is None or text == _UNKNOWN:
        raise PermanentError(
            f"the {which} OS version is not known ({text!a}), so no store can be called unneeded", exit_code=EX_CONFIG
        )
    return version


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False
