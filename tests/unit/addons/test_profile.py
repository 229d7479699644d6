"""torcx's profiles: pinning for the next boot, and the seal of this one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from torcxd.addons.profile import ProfileEdit, ensure_pinned, next_profile_name, pinned_reference, read_sealed
from torcxd.errors import EX_DATAERR, ConfigurationError, PermanentError, TorcxdError
from torcxd.paths import Layout


def vendor(layout: Layout, name: str) -> Path:
    return layout.profile_directories()[0] / f"{name}.json"


def oem(layout: Layout, name: str) -> Path:
    return layout.profile_directories()[1] / f"{name}.json"


def user(layout: Layout, name: str) -> Path:
    return layout.profile_directories()[2] / f"{name}.json"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def profile(*images: tuple[str, str], kind: str = "profile-manifest-v0") -> dict[str, Any]:
    return {"kind": kind, "value": {"images": [{"name": name, "reference": ref} for name, ref in images]}}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def tree(root: Path) -> dict[Path, tuple[int, int]]:
    return {each: (each.lstat().st_ino, each.lstat().st_mtime_ns) for each in root.rglob("*")}


@pytest.mark.accepts("A21")
def test_on_a_fresh_node_the_default_profile_is_created(layout: Layout) -> None:
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit == ProfileEdit("tectonic", user(layout, "tectonic"), changed=True, previous=None)
    assert read(edit.path) == profile(("docker", "17.03"))
    assert layout.next_profile.read_text() == "tectonic\n"
    assert edit.path.stat().st_mode & 0o777 == layout.next_profile.stat().st_mode & 0o777 == 0o644


@pytest.mark.accepts("A21")
def test_an_existing_user_profile_is_kept_and_edited_in_place(layout: Layout) -> None:
    document = {
        "kind": "profile-manifest-v1",
        "comment": "ours",
        "value": {
            "images": [
                {"name": "rkt", "reference": "1.29", "remote": ""},
                {"name": "docker", "reference": "1.12", "remote": "com.coreos.cl", "extra": [1]},
                {"name": "vim", "reference": "", "remote": "ours"},
            ],
            "more": {"ä": 1},
        },
    }
    path = write(user(layout, "custom"), document)
    write(layout.next_profile, "custom\n")
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit == ProfileEdit("custom", path, changed=True, previous="1.12")
    document["value"]["images"][1]["reference"] = "17.03"  # type: ignore[index]
    assert read(path) == document
    assert list(read(path)["value"]["images"][1]) == ["name", "reference", "remote", "extra"]
    assert layout.next_profile.read_text() == "custom\n"
    assert not user(layout, "tectonic").exists()


@pytest.mark.accepts("A21")
@pytest.mark.parametrize("selected", ["vendor\n", "oem\n", "\n", ""])
def test_without_a_user_profile_selected_the_default_one_is(layout: Layout, selected: str) -> None:
    write(vendor(layout, "vendor"), profile(("docker", "com.coreos.cl")))
    write(layout.next_profile, selected)
    write(user(layout, "tectonic"), profile(("rkt", "1.29")))
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit == ProfileEdit("tectonic", user(layout, "tectonic"), changed=True, previous=None)
    assert read(edit.path) == profile(("rkt", "1.29"), ("docker", "17.03"))
    assert layout.next_profile.read_text() == "tectonic\n"
    assert read(vendor(layout, "vendor")) == profile(("docker", "com.coreos.cl"))


@pytest.mark.accepts("A21")
def test_the_images_of_a_selected_oem_profile_are_not_lost(layout: Layout) -> None:
    write(oem(layout, "cloud"), profile(("agent", "2"), ("docker", "1.12"), kind="profile-manifest-v1"))
    write(layout.next_profile, "cloud\n")
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit == ProfileEdit("tectonic", user(layout, "tectonic"), changed=True, previous="1.12")
    assert read(edit.path) == profile(("agent", "2"), ("docker", "17.03"), kind="profile-manifest-v1")
    assert read(oem(layout, "cloud"))["value"]["images"][1]["reference"] == "1.12"


@pytest.mark.accepts("A21")
def test_a_selected_profile_that_does_not_exist_is_replaced(layout: Layout) -> None:
    write(layout.next_profile, "gone\n")
    assert ensure_pinned(layout, "tectonic", "docker", "17.03").name == "tectonic"
    assert layout.next_profile.read_text() == "tectonic\n"
    assert not user(layout, "gone").exists()


@pytest.mark.accepts("A21")
@pytest.mark.parametrize("selected", ["tectonic", "custom"])
def test_pinning_again_writes_nothing(layout: Layout, selected: str) -> None:
    write(user(layout, selected), profile(("docker", "1.12")))
    write(layout.next_profile, selected)
    assert ensure_pinned(layout, "tectonic", "docker", "17.03").changed
    before = tree(layout.root)
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit == ProfileEdit(selected, user(layout, selected), changed=False, previous="17.03")
    assert tree(layout.root) == before


def test_a_right_profile_that_is_not_selected_gets_selected(layout: Layout) -> None:
    path = write(user(layout, "tectonic"), profile(("docker", "17.03")))
    before = path.stat().st_ino
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit == ProfileEdit("tectonic", path, changed=True, previous="17.03")
    assert path.stat().st_ino == before
    assert layout.next_profile.read_text() == "tectonic\n"


def test_two_entries_of_one_name_end_up_agreeing(layout: Layout) -> None:
    write(user(layout, "tectonic"), profile(("docker", "1.12"), ("docker", "17.03")))
    edit = ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert edit.previous is None
    assert read(edit.path) == profile(("docker", "17.03"), ("docker", "17.03"))


def test_a_null_list_of_images_is_an_empty_one(layout: Layout) -> None:
    write(user(layout, "tectonic"), {"kind": "profile-manifest-v0", "value": {"images": None}})
    assert read(ensure_pinned(layout, "tectonic", "docker", "17.03").path) == profile(("docker", "17.03"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is not JSON, or cut off"),
        ('{"kind": "profile-manifest-v0", "va', "it is not JSON, or cut off"),
        ("[]", "it is not a JSON object"),
        ("[" * 100_000, "recursion"),
        ({"kind": "profile-manifest-v2", "value": {}}, "kind: neither"),
        ({"kind": "image-manifest-v0", "value": {}}, "kind: neither"),
        ({"kind": "profile-manifest-v0"}, "value: not an object"),
        ({"kind": "profile-manifest-v0", "value": {"images": {}}}, "value.images: not a list"),
        ({"kind": "profile-manifest-v0", "value": {"images": ["docker"]}}, "value.images[0].name: not a string"),
        ({"kind": "profile-manifest-v0", "value": {"images": [{"name": "a"}]}}, "images[0].reference: not a string"),
        (profile(("rkt", "1"), ("a/b", "1")), "value.images[1].name: 'a/b' holds '/'"),
        (profile(("docker", "../x")), "value.images[0].reference: '../x' holds '/'"),
    ],
)
def test_a_broken_profile_is_named_and_left_alone(layout: Layout, content: Any, message: str) -> None:
    path = write(user(layout, "tectonic"), content)
    before = tree(layout.root)
    with pytest.raises(PermanentError) as caught:
        ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.exit_code == EX_DATAERR
    assert tree(layout.root) == before


@pytest.mark.parametrize("content", ["../../x\n", "a/b", "two names", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_next_profile_that_is_no_name_is_an_error(layout: Layout, content: str) -> None:
    write(layout.next_profile, content)
    with pytest.raises(PermanentError, match="names no torcx profile") as caught:
        ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert str(layout.next_profile) in caught.value.message
    assert layout.next_profile.read_text() == content


def test_a_next_profile_that_is_not_text_is_an_error(layout: Layout) -> None:
    write(layout.next_profile, "").write_bytes(b"\xff\xfe\n")
    with pytest.raises(PermanentError, match="names no torcx profile"):
        next_profile_name(layout)


def test_the_next_profile_is_read_as_torcx_reads_it(layout: Layout) -> None:
    assert next_profile_name(layout) is None
    write(layout.next_profile, " tectonic \n\n")
    assert next_profile_name(layout) == "tectonic"


@pytest.mark.parametrize("name", ["vendor", "oem", "", "a/b", ".."])
def test_a_default_name_that_cannot_be_a_user_profile_is_a_wrong_configuration(layout: Layout, name: str) -> None:
    with pytest.raises(ConfigurationError, match="--torcx-profile"):
        ensure_pinned(layout, name, "docker", "17.03")
    assert tree(layout.root) == {}


@pytest.mark.accepts("A21")
def test_what_the_next_boot_is_pinned_to_can_be_asked(layout: Layout) -> None:
    assert pinned_reference(layout, "docker") is None
    write(layout.next_profile, "gone\n")
    assert pinned_reference(layout, "docker") is None
    ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert pinned_reference(layout, "docker") == "17.03"
    assert pinned_reference(layout, "rkt") is None


METADATA = """\
TORCX_LOWER_PROFILES="vendor:oem"
TORCX_UPPER_PROFILE="tectonic"
TORCX_PROFILE_PATH="/run/torcx/profile.json"
TORCX_BINDIR="/run/torcx/bin"
TORCX_UNPACKDIR="/run/torcx/unpack"
"""


def test_the_seal_says_what_was_applied(layout: Layout) -> None:
    write(layout.torcx_metadata, METADATA)
    write(layout.sealed_profile, profile(("docker", "17.03")))
    sealed = read_sealed(layout)
    assert sealed is not None
    assert (sealed.lower, sealed.upper) == (("vendor", "oem"), "tectonic")
    assert sealed.reference("docker") == "17.03"
    assert sealed.reference("rkt") is None


def test_a_seal_without_a_user_profile(layout: Layout) -> None:
    write(layout.torcx_metadata, "TORCX_LOWER_PROFILES='vendor'\nTORCX_UPPER_PROFILE=\n")
    write(layout.sealed_profile, profile(("docker", "com.coreos.cl")))
    sealed = read_sealed(layout)
    assert sealed is not None
    assert (sealed.lower, sealed.upper, sealed.reference("docker")) == (("vendor",), "", "com.coreos.cl")


def test_no_seal_is_no_error(layout: Layout) -> None:
    assert read_sealed(layout) is None
    write(layout.sealed_profile, profile(("docker", "17.03")))
    assert read_sealed(layout) is None


@pytest.mark.parametrize("metadata", ['TORCX_UPPER_PROFILE="unclosed\n', "export TORCX_UPPER_PROFILE=x\n"])
def test_a_broken_seal_is_an_error(layout: Layout, metadata: str) -> None:
    write(layout.torcx_metadata, metadata)
    with pytest.raises(PermanentError) as caught:
        read_sealed(layout)
    assert str(layout.torcx_metadata) in caught.value.message


def test_a_seal_needs_its_profile(layout: Layout) -> None:
    write(layout.torcx_metadata, METADATA)
    with pytest.raises(TorcxdError) as caught:
        read_sealed(layout)
    assert str(layout.sealed_profile) in caught.value.message
    write(layout.sealed_profile, "{")
    with pytest.raises(PermanentError, match="not JSON, or cut off") as broken:
        read_sealed(layout)
    assert str(layout.sealed_profile) in broken.value.message


def test_a_lost_file_between_two_runs_is_written_again(layout: Layout) -> None:
    ensure_pinned(layout, "tectonic", "docker", "17.03")
    shutil.rmtree(layout.profile_directories()[2])
    assert ensure_pinned(layout, "tectonic", "docker", "17.03").changed
    assert read(user(layout, "tectonic")) == profile(("docker", "17.03"))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_could_not_be_written_again_is_refused(layout: Layout, number: str) -> None:
    path = write(user(layout, "mine"), f'{{"kind":"profile-manifest-v0","value":{{"images":[]}},"x":{number}}}')
    write(layout.next_profile, "mine\n")
    before = path.read_bytes()
    with pytest.raises(PermanentError, match="a number beyond all measure"):
        ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert path.read_bytes() == before


def test_half_a_character_stays_an_escape(layout: Layout) -> None:
    path = write(user(layout, "mine"), '{"kind":"profile-manifest-v0","value":{"images":[]},"x":"\\ud800"}')
    write(layout.next_profile, "mine\n")
    assert ensure_pinned(layout, "tectonic", "docker", "17.03").changed
    assert b'"\\ud800"' in path.read_bytes()


def test_what_would_be_too_large_to_be_read_again_is_not_written(layout: Layout) -> None:
    # Its indentation makes it grow a thousandfold.
    nested = "[" * 900 + "]" * 900
    path = write(user(layout, "mine"), f'{{"kind":"profile-manifest-v0","value":{{"images":[]}},"x":{nested}}}')
    write(layout.next_profile, "mine\n")
    before = path.read_bytes()
    with pytest.raises(PermanentError, match=r"it would grow beyond|nested beyond"):
        ensure_pinned(layout, "tectonic", "docker", "17.03")
    assert path.read_bytes() == before
