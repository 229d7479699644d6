"""The package manifest: its URL, its format, and every way to get it wrong."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.addons.manifest import parse_manifest, signature_url
from torcxd.errors import EX_DATAERR, ConfigurationError, PermanentError
from torcxd.lifecycle.catalog import Digest, Location, PackageVersion
from torcxd.manifest_url import parse_template, render_url

WHERE = "https://bucket.example/manifests/amd64-usr/1576.4.0/torcx_manifest.json"
TEMPLATE = "https://tectonic-torcx.release.core-os.net/manifests/{{.Board}}/{{.OSVersion}}/torcx_manifest.json"

MANIFEST: dict[str, Any] = {
    "kind": "torcx-package-list-v0",
    "value": {
        "packages": [
            {
                "name": "docker",
                "defaultVersion": "1.12",
                "versions": [
                    {
                        "version": "1.12",
                        "hash": "sha512-" + "ab" * 64,
                        "casDigest": "unknown to us",
                        "sourcePackage": "app-torcx/docker-1.12.6",
                        "locations": [
                            {"path": "/usr/share/torcx/store/docker:1.12.torcx.tgz"},
                            {"url": "https://cdn.example/docker/ab/docker:1.12.torcx.tgz"},
                        ],
                    },
                    {
                        "version": "17.03",
                        "hash": "sha256:" + "CD" * 32,
                        "locations": [{"url": "http://cdn.example/docker:17.03.torcx.tgz"}],
                    },
                ],
            }
        ]
    },
}


def encoded(document: Any = None) -> bytes:
    return json.dumps(MANIFEST if document is None else document).encode()


def changed(path: str, value: Any) -> bytes:
    """The manifest with the field at *path* (keys and indices, separated by spaces) set to *value*."""
    document = copy.deepcopy(MANIFEST)
    *parents, last = (int(each) if each.isdigit() else each for each in path.split())
    at: Any = document
    for each in parents:
        at = at[each]
    at[last] = value
    return encoded(document)


def test_a_manifest_is_read_whole() -> None:
    docker = parse_manifest(encoded(), WHERE).packages["docker"]
    assert docker.default_version == "1.12"
    assert docker.versions == (
        PackageVersion(
            version="1.12",
            digest=Digest("sha512", "ab" * 64),
            locations=(
                Location(path="/usr/share/torcx/store/docker:1.12.torcx.tgz"),
                Location(url="https://cdn.example/docker/ab/docker:1.12.torcx.tgz"),
            ),
            source_package="app-torcx/docker-1.12.6",
        ),
        PackageVersion(
            version="17.03",
            digest=Digest("sha256", "cd" * 32),
            locations=(Location(url="http://cdn.example/docker:17.03.torcx.tgz"),),
        ),
    )


def test_the_other_spelling_of_the_default_version_is_read() -> None:
    document = copy.deepcopy(MANIFEST)
    package = document["value"]["packages"][0]
    package["DefaultVersion"] = package.pop("defaultVersion")
    assert parse_manifest(encoded(document), WHERE).packages["docker"].default_version == "1.12"


@pytest.mark.parametrize("value", [None, ""])
def test_a_package_may_have_no_default(value: str | None) -> None:
    data = changed("value packages 0 defaultVersion", value)
    assert parse_manifest(data, WHERE).packages["docker"].default_version == ""


def test_a_location_with_path_and_url_is_two() -> None:
    both = {"path": "/usr/share/torcx/store/docker:1.12.torcx.tgz", "url": "https://cdn.example/x"}
    manifest = parse_manifest(changed("value packages 0 versions 0 locations", [both]), WHERE)
    version = manifest.packages["docker"].find("1.12")
    assert version is not None
    assert version.locations == (Location(path=both["path"]), Location(url=both["url"]))


def test_no_packages_is_a_manifest() -> None:
    assert parse_manifest(changed("value packages", []), WHERE).packages == {}


V0 = "value packages 0 versions 0"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "torcx-package-list-v1", "kind: 'torcx-package-list-v1' is not"),
        ("kind", None, "kind: a string was expected, not nothing"),
        ("value", [], "value: an object was expected, not a list"),
        ("value packages", {}, "value.packages: a list was expected, not an object"),
        ("value packages 0", "docker", "value.packages[0]: an object was expected, not a string"),
        ("value packages 0 name", "../x", "value.packages[0].name: '../x' holds '/'"),
        ("value packages 0 name", "a:b", "value.packages[0].name: 'a:b' holds ':'"),
        ("value packages 0 defaultVersion", 1.12, "value.packages[0].defaultVersion: a string was expected"),
        ("value packages 0 DefaultVersion", "1.13", "value.packages[0].defaultVersion: it occurs twice"),
        ("value packages 0 versions", None, "value.packages[0].versions: a list was expected, not nothing"),
        (f"{V0} version", "", "value.packages[0].versions[0].version: it is empty"),
        (f"{V0} version", "..", "value.packages[0].versions[0].version: '..' is no name"),
        (f"{V0} version", "1/2", "value.packages[0].versions[0].version: '1/2' holds '/'"),
        (f"{V0} version", "1\x1b", r"value.packages[0].versions[0].version: '1\x1b' holds '\x1b'"),
        (f"{V0} version", "17.03", "value.packages[0].versions[1].version: '17.03' occurs twice"),
        (f"{V0} hash", None, "value.packages[0].versions[0].hash: a string was expected, not nothing"),
        (f"{V0} hash", "ab" * 64, "value.packages[0].versions[0].hash: 'abab"),
        (f"{V0} hash", "md5-" + "ab" * 16, "value.packages[0].versions[0].hash: the algorithm 'md5' is not one of"),
        (f"{V0} hash", "sha512-" + "ab" * 32, "value.packages[0].versions[0].hash: a sha512 digest has 128 hex"),
        (f"{V0} hash", "sha256-" + "xy" * 32, "value.packages[0].versions[0].hash: a sha256 digest has 64 hex"),
        (f"{V0} hash", "sha256-" + "ab" * 32 + "\n", "value.packages[0].versions[0].hash: a sha256 digest"),
        (f"{V0} sourcePackage", 7, "value.packages[0].versions[0].sourcePackage: a string was expected, not a number"),
        (f"{V0} locations", [], "value.packages[0].versions[0].locations: it is empty"),
        (f"{V0} locations 0", {}, "value.packages[0].versions[0].locations[0]: it names neither a path nor a url"),
        (f"{V0} locations 0 path", "docker.tgz", "locations[0].path: 'docker.tgz' is not an absolute path"),
        (f"{V0} locations 0 path", "/usr/../etc", "locations[0].path: '/usr/../etc' is not an absolute path"),
        (f"{V0} locations 1 url", "ftp://cdn.example/x", "locations[1].url: it is not an http or https URL"),
        (f"{V0} locations 1 url", "file:///etc/passwd", "locations[1].url: it is not an http or https URL"),
        (f"{V0} locations 1 url", "https:///x", "locations[1].url: it is not an http or https URL with a host"),
        (f"{V0} locations 1 url", "https://a:x/", "locations[1].url: it is not a well-formed URL"),
        (f"{V0} locations 1 url", "https://a/\r\nHost: b", "locations[1].url: it holds a character that no URL has"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_manifest(changed(path, value), WHERE)
    assert message in caught.value.message
    assert WHERE in caught.value.message
    assert caught.value.exit_code == EX_DATAERR
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not JSON, or cut off"),
        (encoded()[:-20], "it is not JSON, or cut off"),
        (b"<html>Not Found</html>", "it is not JSON, or cut off"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[]", "the document: an object was expected, not a list"),
        (b"[" * 100_000, "nesting beyond all measure"),
        (b'{"kind": ' + b"9" * 5000 + b"}", "nesting beyond all measure"),
        (b'{"kind": "a", "kind": "torcx-package-list-v0"}', "the key 'kind' occurs twice"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_manifest(data, WHERE)
    assert message in caught.value.message
    assert caught.value.exit_code == EX_DATAERR


def test_two_packages_of_one_name_are_refused() -> None:
    package = MANIFEST["value"]["packages"][0]
    with pytest.raises(PermanentError, match=r"value\.packages\[1\]\.name: 'docker' occurs twice"):
        parse_manifest(changed("value packages", [package, package]), WHERE)


def test_a_url_with_credentials_is_not_repeated_in_the_message() -> None:
    data = changed("value packages 0 versions 0 locations 1 url", "ftp://user:hunter2@cdn.example/x")
    with pytest.raises(PermanentError) as caught:
        parse_manifest(data, WHERE)
    assert "hunter2" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["kind", "value", "value packages", "value packages 0", "value packages 0 name", "value packages 0 versions"]
FIELDS += [V0, f"{V0} version", f"{V0} hash", f"{V0} locations", f"{V0} locations 0", f"{V0} locations 1 url"]


@given(st.sampled_from(FIELDS), JSON)
def test_any_value_anywhere_is_read_or_refused(path: str, value: Any) -> None:
    try:
        manifest = parse_manifest(changed(path, value), WHERE)
    except PermanentError:
        return
    assert all(package.name == name for name, package in manifest.packages.items())


@given(st.integers(min_value=0, max_value=len(encoded()) - 1))
def test_every_cut_is_noticed(length: int) -> None:
    with pytest.raises(PermanentError, match="not JSON, or cut off"):
        parse_manifest(encoded()[:length], WHERE)


@pytest.mark.accepts("A8", "A9")
def test_the_template_is_filled_in() -> None:
    assert (
        render_url(TEMPLATE, "amd64-usr", "1576.4.0")
        == "https://tectonic-torcx.release.core-os.net/manifests/amd64-usr/1576.4.0/torcx_manifest.json"
    )


@pytest.mark.accepts("A9")
def test_placeholders_may_have_spaces_occur_often_or_not_at_all() -> None:
    template = "http://h/{{ .OSVersion }}/{{.OSVersion}}/{{  .Board}}"
    assert render_url(template, "arm64-usr", "1.2.3+b-1") == "http://h/1.2.3+b-1/1.2.3+b-1/arm64-usr"
    assert render_url("http://h/manifest.json", "arm64-usr", "1.2.3") == "http://h/manifest.json"


def test_values_are_quoted() -> None:
    assert render_url("http://h/{{.Board}}", "a?b#c%", "1.2.3") == "http://h/a%3Fb%23c%25"


@pytest.mark.accepts("A8")
@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("https://h/{{.Boards}}", "knows no placeholder '{{.Boards}}'"),
        ("https://h/{{Board}}", "knows no placeholder"),
        ("https://h/{{- .Board -}}", "knows no placeholder"),
        ("https://h/{{}}", "knows no placeholder"),
        ("https://h/{{.Board", "unbalanced braces"),
        ("https://h/.Board}}", "unbalanced braces"),
        ("file:///{{.Board}}", "not an http or https URL"),
        ("", "not an http or https URL"),
        ("https://h:port/{{.Board}}", "not a well-formed URL"),
        ("https://h/a b", "holds a character that no URL has"),
    ],
)
def test_a_wrong_template_is_a_wrong_configuration(template: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        render_url(template, "amd64-usr", "1576.4.0")
    assert message in caught.value.message
    assert "--torcx-manifest-url" in caught.value.message
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_template(template)


@pytest.mark.parametrize(("board", "version"), [("", "1.2.3"), ("amd64-usr", "../x"), ("amd64-usr", "1 2")])
def test_a_value_that_is_no_name_is_refused(board: str, version: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be filled in: (Board|OSVersion): "):
        render_url(TEMPLATE, board, version)


@pytest.mark.accepts("A10")
def test_the_signature_lies_beside_the_manifest() -> None:
    assert signature_url(WHERE) == WHERE + ".asc"


def test_a_repeated_key_among_many_is_found_in_one_pass() -> None:
    # As many as fit into the largest manifest that is read: to count each of them would take hours.
    keys = ",".join(f'"{number}":0' for number in range(400_000))
    with pytest.raises(PermanentError, match="the key '399999' occurs twice"):
        parse_manifest(f'{{{keys},"399999":0}}'.encode(), WHERE)
