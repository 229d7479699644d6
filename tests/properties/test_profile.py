"""Profiles: whatever a user's profile holds, pinning changes the pinned image's reference and nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.properties.examples import examples, folder, tried
from torcxd.addons.profile import ensure_pinned, next_profile_name, pinned_reference
from torcxd.names import LOWER_PROFILES
from torcxd.paths import Layout

NAMES = st.sampled_from(["docker", "flannel", "rkt"])
REFERENCES = st.sampled_from(["1.12", "17.03", "com.coreos.cl", ""])
VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False)
)
KNOWN = ("kind", "value", "images", "name", "reference", "remote")
UNKNOWN = st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda each: each not in KNOWN), VALUES, max_size=2)


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["profile-manifest-v0", "profile-manifest-v1"]))
    images = []
    for name in draw(st.lists(NAMES, max_size=4)):
        image: dict[str, Any] = {**draw(UNKNOWN), "name": name, "reference": draw(REFERENCES)}
        if kind.endswith("v1") and draw(st.booleans()):
            image["remote"] = draw(st.text(max_size=5))
        images.append(dict(draw(st.permutations(list(image.items())))))
    value = {**draw(UNKNOWN), "images": draw(st.sampled_from([images, images or None]))}
    return {**draw(UNKNOWN), "kind": kind, "value": value, **draw(UNKNOWN)}


def applied(*merged: dict[str, Any] | None) -> dict[str, str]:
    """What torcx makes of profiles laid over each other: the last of a name counts, an empty reference removes it."""
    images: dict[str, str] = {}
    for each in merged:
        for image in (each or {"value": {}})["value"].get("images") or []:
            images[image["name"]] = image["reference"]
    return {name: reference for name, reference in images.items() if reference}


def expected(profile: dict[str, Any], name: str, reference: str) -> dict[str, Any]:
    """The profile after pinning, made in the plainest way."""
    profile = copy.deepcopy(profile)
    images = profile["value"]["images"] = profile["value"].get("images") or []
    found = [each for each in images if each["name"] == name]
    for each in found:
        each["reference"] = reference
    if not found:
        images.append({"name": name, "reference": reference})
    return profile


class Profiles(RuleBasedStateMachine):
    """The profiles of a node, edited by torcxd and by its administrator."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = folder()
        self.layout = Layout(Path(self.directory.name))
        self.folders = self.layout.profile_directories()
        # By folder (vendor, OEM, user) and name.
        self.files: dict[tuple[int, str], dict[str, Any]] = {}
        self.next: str | None = None
        tried()

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(folder=st.integers(0, 2), name=st.sampled_from(["vendor", "oem", "mine", "tectonic"]), profile=profiles())
    def somebody_writes(self, folder: int, name: str, profile: dict[str, Any]) -> None:
        path = self.folders[folder] / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(profile))
        self.files[folder, name] = profile

    @rule(name=st.sampled_from(["vendor", "oem", "mine", "tectonic", "gone"]), end=st.sampled_from(["", "\n", " \n"]))
    def somebody_selects(self, name: str, end: str) -> None:
        self.layout.next_profile.parent.mkdir(parents=True, exist_ok=True)
        self.layout.next_profile.write_text(name + end)
        self.next = name

    @rule()
    def somebody_selects_none(self) -> None:
        self.layout.next_profile.unlink(missing_ok=True)
        self.next = None

    @rule(name=NAMES, reference=st.sampled_from(["1.12", "17.03"]))
    def pin(self, name: str, reference: str) -> None:
        own = self.next is not None and self.next not in LOWER_PROFILES and (2, self.next) in self.files
        chosen = self.next if own and self.next else "tectonic"
        base = self.files.get((2, chosen))
        if base is None:
            # Selected from below by name: its images go into the new one.
            below = [self.files.get((folder, self.next or "")) for folder in (1, 0)]
            named = (
                next((each for each in below if each is not None), None) if self.next not in LOWER_PROFILES else None
            )
            base = named or {"kind": "profile-manifest-v0", "value": {"images": []}}
        wanted = expected(base, name, reference)
        before = {path: path.read_bytes() for path in self.layout.root.rglob("*.json")}
        edit = ensure_pinned(self.layout, "tectonic", name, reference)
        assert edit.name == chosen
        assert json.loads(edit.path.read_bytes()) == wanted
        # In the order in which it was written, too.
        assert json.dumps(json.loads(edit.path.read_bytes())) == json.dumps(wanted)
        after = {path: path.read_bytes() for path in self.layout.root.rglob("*.json")}
        assert {path: data for path, data in after.items() if path != edit.path} == {
            path: data for path, data in before.items() if path != edit.path
        }
        if not edit.changed:
            assert after == before
        self.files[2, chosen], self.next = wanted, chosen
        assert applied(wanted)[name] == reference
        assert pinned_reference(self.layout, name) == reference
        again = ensure_pinned(self.layout, "tectonic", name, reference)
        assert (again.changed, again.previous) == (False, reference)

    @invariant()
    def the_selection_is_what_was_selected(self) -> None:
        assert next_profile_name(self.layout) == self.next

    @invariant()
    def nothing_half_made_is_left(self) -> None:
        assert not list(self.layout.root.rglob(".*"))


TestProfiles = pytest.mark.accepts("A21")(Profiles.TestCase)
TestProfiles.settings = examples(30, steps=15)


@examples(100)
@given(profiles(), NAMES, st.sampled_from(["1.12", "17.03"]))
@pytest.mark.accepts("A21")
def test_all_else_stays(profile: dict[str, Any], name: str, reference: str) -> None:
    tried()
    with folder() as directory:
        layout = Layout(Path(directory))
        path = layout.profile_directories()[-1] / "mine.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(profile))
        layout.next_profile.write_text("mine\n")
        ensure_pinned(layout, "tectonic", name, reference)
        assert json.dumps(json.loads(path.read_bytes())) == json.dumps(expected(profile, name, reference))
