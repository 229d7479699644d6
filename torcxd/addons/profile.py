"""torcx's profiles: which images the next boot uses, and which ones this boot has used.

A profile is ``{"kind": "profile-manifest-v0", "value": {"images": [{"name": …, "reference": …}]}}``; v1 adds
``remote`` to it. ``/etc/torcx/next-profile`` names the user's profile for the next boot, which torcx lays over the
vendor's and the OEM's. After the boot, the seal in ``/run`` says what was applied. See torcx's documentation,
"profiles" and "paths".
"""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from torcxd.errors import EX_DATAERR, ConfigurationError, PermanentError
from torcxd.host import files
from torcxd.names import LOWER_PROFILES, component, user_profile
from torcxd.paths import Layout

log = logging.getLogger(__name__)

KIND_V0: Final = "profile-manifest-v0"
KIND_V1: Final = "profile-manifest-v1"

# Real profiles are some hundred bytes; the bound keeps a wrong file from being read whole.
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ProfileEdit:
    """What :func:`ensure_pinned` found and did.

    :param name: the profile that the next boot uses.
    :param path: its file.
    :param changed: whether anything was written.
    :param previous: the reference that this profile named before, None if it named none.
    """

    name: str
    path: Path
    changed: bool
    previous: str | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """What torcx applied at this boot.

    :param upper: the user's profile, empty when there was none.
    :param images: name to reference, as applied; an alias such as ``com.coreos.cl`` is not resolved.
    """

    lower: tuple[str, ...]
    upper: str
    images: Mapping[str, str]

    def reference(self, name: str) -> str | None:
        """The reference of the applied image *name*, or None."""
        return self.images.get(name)


def next_profile_name(layout: Layout) -> str | None:
    """The profile named in ``next-profile``, or None when there is no such file or it is empty.

    :raises PermanentError: the file names something that cannot be a profile.
    :raises TorcxdError: it cannot be read.
    """
    path = layout.next_profile
    data = _read(path)
    if data is None:
        return None
    try:
        name = data.decode("utf-8").strip()
        return component(name) if name else None
    except ValueError as error:  # A UnicodeDecodeError is one, too.
        raise PermanentError(
            f"{path} names no torcx profile: {error}", hint="write one name into it, or remove it", exit_code=EX_DATAERR
        ) from error


def ensure_pinned(layout: Layout, default_name: str, name: str, reference: str) -> ProfileEdit:
    """Make the next boot use the image *name* at *reference*; write nothing where it does already.

    Which profile that is: the one that ``next-profile`` names, if it is a user's and exists. Otherwise *default_name*,
    created where it is missing: with the images of the OEM's or vendor's profile that was selected by name, if one
    was, so that selecting another profile loses none. A ``next-profile`` that names a profile which
    does not exist at all is replaced, since torcx could not boot with it. Everything else in an existing profile
    stays as and where it is. The profile is written before ``next-profile`` names it.

    :param default_name: the ``--torcx-profile`` option.
    :raises PermanentError: with exit code 65 (EX_DATAERR), naming file and field: an existing profile or
        ``next-profile`` is broken. Nothing was written.
    :raises ConfigurationError: *default_name* cannot be a user's profile.
    :raises TorcxdError: a file cannot be read or written.
    """
    user = layout.profile_directories()[-1]
    selected = next_profile_name(layout)
    profile = _Profile.load(user, selected) if selected is not None and selected not in LOWER_PROFILES else None
    if profile is None:
        _check_default(default_name)
        profile = _Profile.load(user, default_name) or _Profile.copy(layout, selected, user / f"{default_name}.json")
    previous = profile.pin(name, reference)
    changed = previous != reference
    if changed:
        files.write_atomic(profile.path, profile.encoded())
    if profile.name != selected:
        if selected is not None:
            log.info("The next boot uses the torcx profile %s instead of %s.", profile.name, selected)
        files.write_atomic(layout.next_profile, f"{profile.name}\n".encode())
        changed = True
    return ProfileEdit(profile.name, profile.path, changed, previous)


def pinned_reference(layout: Layout, name: str) -> str | None:
    """The reference of image *name* in the user profile that the next boot uses; None when it names none.

    :raises PermanentError: with exit code 65 (EX_DATAERR): the profile or ``next-profile`` is broken.
    """
    selected = next_profile_name(layout)
    profile = _Profile.load(layout.profile_directories()[-1], selected) if selected is not None else None
    entries = [each["reference"] for each in profile.images if each["name"] == name] if profile else []
    # torcx takes the last of several entries.
    return entries[-1] if entries else None


def read_sealed(layout: Layout) -> Sealed | None:
    """What torcx applied at this boot; None when there is no seal, so that torcx failed or did not run.

    :raises PermanentError: the seal is there, but broken.
    :raises TorcxdError: it cannot be read.
    """
    path = layout.torcx_metadata
    data = _read(path)
    if data is None:
        return None
    variables: dict[str, str] = {}
    try:
        # Shell syntax, as an EnvironmentFile= of systemd takes it.
        for word in shlex.split(data.decode("utf-8"), comments=True):
            key, equals, value = word.partition("=")
            if not equals:
                raise ValueError(f"{word!a} is no assignment")
            variables[key] = value
    except ValueError as error:
        raise PermanentError(
            f"the torcx seal {path} is not usable: {error}",
            hint="look at the torcx-generator's messages of this boot",
            exit_code=EX_DATAERR,
        ) from error
    lower = variables.get("TORCX_LOWER_PROFILES", "")
    profile = _Profile(layout.sealed_profile, files.read_bytes(layout.sealed_profile, limit=_LARGEST))
    return Sealed(
        lower=tuple(each for each in lower.split(":") if each),
        upper=variables.get("TORCX_UPPER_PROFILE", ""),
        images={each["name"]: each["reference"] for each in profile.images},
    )


class _Profile:
    """A profile's file; keeps whatever it does not know."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        try:
            self.document: Any = json.loads(data.decode("utf-8"), parse_constant=_number, parse_float=_number)
        except json.JSONDecodeError as error:
            _refuse(path, "", f"it is not JSON, or cut off: {error.msg} in line {error.lineno} column {error.colno}")
        except (ValueError, RecursionError) as error:
            _refuse(path, "", str(error))
        if not isinstance(self.document, dict):
            _refuse(path, "", "it is not a JSON object")
        kind = self.document.get("kind")
        if kind not in (KIND_V0, KIND_V1):
            _refuse(path, "kind", f"neither {KIND_V0!r} nor {KIND_V1!r}")
        value = self.document.get("value")
        if not isinstance(value, dict):
            _refuse(path, "value", "not an object")
        # Go writes an empty list as null.
        if value.get("images") is None:
            value["images"] = []
        self.images: list[dict[str, Any]] = value["images"]
        if not isinstance(self.images, list):
            _refuse(path, "value.images", "not a list")
        for index, each in enumerate(self.images):
            for field in ("name", "reference"):
                text = each.get(field) if isinstance(each, dict) else None
                if not isinstance(text, str):
                    _refuse(path, f"value.images[{index}].{field}", "not a string")
                try:
                    # An empty reference removes the image of the profiles below.
                    if text or field == "name":
                        component(text)
                except ValueError as error:
                    _refuse(path, f"value.images[{index}].{field}", str(error))

    @classmethod
    def load(cls, directory: Path, name: str) -> _Profile | None:
        path = directory / f"{name}.json"
        data = _read(path)
        return None if data is None else cls(path, data)

    @classmethod
    def copy(cls, layout: Layout, selected: str | None, path: Path) -> _Profile:
        """A profile for *path*, with what the OEM's or else the vendor's profile *selected* holds."""
        if selected is not None and selected not in LOWER_PROFILES:
            for directory in reversed(layout.profile_directories()[:-1]):
                found = cls.load(directory, selected)
                if found is not None:
                    found.path = path
                    return found
        return cls(path, json.dumps({"kind": KIND_V0, "value": {"images": []}}).encode())

    @property
    def name(self) -> str:
        return self.path.stem

    def pin(self, name: str, reference: str) -> str | None:
        """Set *name*'s reference; returns the former one, None if there was none or two entries disagreed."""
        entries = [each for each in self.images if each["name"] == name]
        former = {each["reference"] for each in entries}
        if not entries:
            self.images.append({"name": name, "reference": reference})
        for each in entries:
            each["reference"] = reference
        return former.pop() if len(former) == 1 else None

    def encoded(self) -> bytes:
        try:
            data = (json.dumps(self.document, indent=2, ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:
            # Half a character, which was an escape and has to stay one.
            data = (json.dumps(self.document, indent=2) + "\n").encode()
        except RecursionError:
            _refuse(self.path, "", "it is nested beyond all measure")
        if len(data) > _LARGEST:
            # By its indentation, where it is nested deep. It would not be read again.
            _refuse(self.path, "", f"it would grow beyond {_LARGEST} bytes")
        return data


def _number(text: str) -> float:
    """A number that can be written again: what is too large for a float, or none at all, would become "Infinity"."""
    if not math.isfinite(number := float(text)):
        raise ValueError("it holds a number beyond all measure")
    return number


def _check_default(name: str) -> None:
    try:
        user_profile(name)
    except ValueError as error:
        raise ConfigurationError(
            f"--torcx-profile cannot be used: {error}", hint="give a name for a user profile, such as tectonic"
        ) from error


def _read(path: Path) -> bytes | None:
    try:
        return files.read_bytes(path, limit=_LARGEST)
    except PermanentError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _refuse(path: Path, field: str, problem: str) -> NoReturn:
    raise PermanentError(
        f"the torcx profile {path} is not usable: {field + ': ' if field else ''}{problem}",
        hint="correct it, or remove it",
        exit_code=EX_DATAERR,
    )
