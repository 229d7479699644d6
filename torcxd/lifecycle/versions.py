"""Version numbers of the operating system and of Kubernetes: parsed strictly, compared numerically.

OS versions follow semver.org 2.0.0: ``1576.4.0``, ``1576.4.0-rc.1``, ``1576.4.0+2017-12-06-0313``. Kubernetes versions
are what its API server, its image tags and its users write: ``v1.8.4+coreos.0``, ``v1.8.4_coreos.0``, ``1.9+``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

# A longer string is no version; the bound keeps int() and the messages small.
_LONGEST: Final = 100

_NUMBER: Final = r"(0|[1-9][0-9]*)"
_OS: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
# An image tag cannot hold "+", so "_" stands for it; "1.9+" is how a patched build's API server writes its minor.
_KUBE: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}(?:\+|\.{_NUMBER}(?:[-+_][0-9A-Za-z][0-9A-Za-z.+_-]*)?)?")

# What stands between the components of a Docker version and of a torcx reference.
_SEPARATORS: Final = re.compile(r"[.+~-]")

# One identifier of a pre-release: numbers sort numerically and before words (semver 11.4).
_Identifier = tuple[int, int, str]
_FINAL: Final = (1,)


@dataclass(frozen=True, slots=True, order=True)
class OSVersion:
    """An OS version, ordered and equal by semver precedence: build metadata does not count.

    :param precedence: how the pre-release part sorts; a final version sorts after all of its pre-releases.
    :param text: the version as it was written, build metadata included; two builds of one version differ only here.
    """

    major: int
    minor: int
    patch: int
    precedence: tuple[int, *tuple[_Identifier, ...]] = _FINAL
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True, order=True)
class KubeVersion:
    """A Kubernetes version, ordered by its three numbers.

    :param patch: 0 where the text names none (``"1.9+"``).
    :param text: the version as it was written.
    """

    major: int
    minor: int
    patch: int
    text: str = field(default="", compare=False)

    @property
    def minor_key(self) -> str:
        """The key of the runtime mappings: ``"1.8"`` for every 1.8.x."""
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> KubeVersion:
        """Read ``v1.8.4+coreos.0``, ``v1.8.4_coreos.0``, ``1.8.4``, ``1.8`` or ``1.9+``.

        :raises ValueError: the text is something else; the message quotes it.
        """
        match = _KUBE.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            raise ValueError(f"not a Kubernetes version such as v1.8.4+coreos.0: {_quoted(text)}")
        major, minor, patch = match.groups()
        return cls(int(major), int(minor), int(patch or 0), text)

    def __str__(self) -> str:
        return self.text or f"v{self.major}.{self.minor}.{self.patch}"


def parse_os_version(text: str) -> OSVersion:
    """Read ``x.y.z`` with an optional ``-prerelease`` and an optional ``+build``.

    :raises ValueError: the text is something else, e.g. empty or with a leading zero; the message quotes it.
    """
    match = _OS.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"not an OS version such as 1576.4.0: {_quoted(text)}")
    major, minor, patch, prerelease, _build = match.groups()
    precedence: tuple[int, *tuple[_Identifier, ...]] = _FINAL
    if prerelease is not None:
        precedence = (0, *(_identifier(each) for each in prerelease.split(".")))
    return OSVersion(int(major), int(minor), int(patch), precedence, text)


def is_docker(version: str, reference: str) -> bool:
    """Whether Docker's own *version*, as ``17.03.2-ce``, is one of the torcx *reference*, as ``17.03``.

    A reference names a release series by its leading components, each of them whole: ``1.1`` is not ``1.12.6``.
    """
    wanted = _SEPARATORS.split(reference)
    return _SEPARATORS.split(version)[: len(wanted)] == wanted


def _identifier(text: str) -> _Identifier:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
