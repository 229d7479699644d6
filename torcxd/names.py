"""The names that become path components: packages, references, OS versions, boards, profiles.

They come from outside (a manifest, os-release, update_engine, a profile), so each is checked here before it
becomes a part of a path or a URL.
"""

from __future__ import annotations

from typing import Final

# Two of them with ":" and ".torcx.squashfs" must fit into a file name (255 bytes), a temporary one's suffix included.
LONGEST: Final = 100

# torcx applies the vendor's and the OEM's profile below the user's in any case; as a user's they mean "none".
LOWER_PROFILES: Final = frozenset({"vendor", "oem"})


def component(text: str) -> str:
    """Return *text* if it can stand alone as a path component.

    :raises ValueError: it is empty, ``.`` or ``..``, longer than :data:`LONGEST`, or holds a slash, white space, a
        control character or anything outside ASCII; the message is a clause such as ``"it is empty"``.
    """
    if not text:
        raise ValueError("it is empty")
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    if text in (".", ".."):
        raise ValueError(f"{text!r} is no name")
    wrong = next((each for each in text if not "!" <= each <= "~" or each == "/"), None)
    if wrong is not None:
        raise ValueError(f"{text!a} holds {wrong!a}")
    return text


def user_profile(text: str) -> str:
    """Return *text* if a user's torcx profile can have that name.

    :raises ValueError: as :func:`component` does, or because it is a profile that torcx has in any case.
    """
    if component(text) in LOWER_PROFILES:
        raise ValueError(f"{text!r} is torcx's own")
    return text
