"""torcx's profiles and next-profile: what others wrote is edited, and nothing of it is lost."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.fuzz.oracle import demand, emptied, put, refusing
from torcxd.addons.profile import ensure_pinned, pinned_reference
from torcxd.errors import PermanentError
from torcxd.names import component
from torcxd.paths import Layout

WORDS: Final = (
    '{"kind":"profile-manifest-v0","value":{"images":[', '"profile-manifest-v1"', '"remote"', '"name":"docker"',
    '"reference":"17.03"', "null", "\\ud800", "NaN", "1e999", "\x00",
)  # fmt: skip


def check(data: bytes) -> None:
    """The profile; behind a NUL byte, the content of next-profile, which names it unless it is there."""
    content, nul, name = data.partition(b"\0")
    layout = Layout(emptied("profile"))
    user = layout.profile_directories()[-1]
    put(layout.next_profile, name if nul else b"mine\n")
    path = put(user / "mine.json", content)
    accepted = False
    try:
        with refusing(PermanentError):
            edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
            demand(edit.path == user / f"{component(edit.name)}.json", f"{edit.path} is edited")
            demand(pinned_reference(layout, "docker") == "17.03", "the reference is not pinned")
            demand(not ensure_pinned(layout, "tectonic", "docker", "17.03").changed, "pinning again changes something")
            if edit.name == "mine":
                before, after = json.loads(content), json.loads(path.read_bytes(), parse_constant=_no_number)
                demand(_others(before) == _others(after), "something else changed")
            accepted = True
    finally:
        temporary = [each.name for each in user.iterdir() if each.name.startswith(".")]
        demand(not temporary, f"{temporary} are left")
    demand(accepted or path.read_bytes() == content, "a refused profile was written")


def _others(document: Any) -> str:
    """All but the entries of docker, in a form that compares NaN and tells 1 from true."""
    value = {**document["value"], "images": [e for e in document["value"].get("images") or [] if e["name"] != "docker"]}
    return json.dumps({**document, "value": value})


def _no_number(text: str) -> float:
    raise AssertionError(f"{text} was written, which is no JSON")
