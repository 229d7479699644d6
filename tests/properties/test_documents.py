"""Manifests, mappings, kubeconfigs and templates: what is well-formed is read as it was meant."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.examples import examples, folder, tried
from torcxd.addons.manifest import KIND, parse_manifest
from torcxd.errors import ConfigurationError, PermanentError
from torcxd.http import redact
from torcxd.kube.access import ClusterAccess
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.mappings import parse_mappings
from torcxd.manifest_url import render_url

NAMES = st.text("abcxyzABC019._+~-", min_size=1, max_size=8).filter(lambda each: each not in (".", ".."))
URLS = st.builds("https://{}.example/{}".format, st.sampled_from(["a", "b"]), NAMES)
PATHS = st.builds("/usr/share/{}".format, NAMES)
DIGESTS = st.one_of(
    st.binary(min_size=64, max_size=64).map(lambda each: ("sha512", each.hex())),
    st.binary(min_size=32, max_size=32).map(lambda each: ("sha256", each.hex())),
)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    packages = []
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        versions = []
        for version in draw(st.lists(NAMES, unique=True, max_size=3)):
            locations = [
                *({"path": each} for each in draw(st.lists(PATHS, max_size=1))),
                *({"url": each} for each in draw(st.lists(URLS, min_size=1, max_size=2))),
            ]
            algorithm, digits = draw(DIGESTS)
            spelt = f"{algorithm}{draw(st.sampled_from('-:'))}{draw(st.sampled_from([digits, digits.upper()]))}"
            versions.append({"version": version, "hash": spelt, "locations": locations, "unknown": [1.5, None]})
        spelling = draw(st.sampled_from(["defaultVersion", "DefaultVersion"]))
        packages.append({"name": name, spelling: draw(NAMES | st.just("")), "versions": versions})
    return {"kind": KIND, "value": {"packages": packages}, "more": {}}


@examples(100)
@given(manifests(), st.sampled_from([None, 2]))
def test_a_manifest_is_read_as_it_was_written(document: dict[str, Any], indent: int | None) -> None:
    tried()
    manifest = parse_manifest(json.dumps(document, indent=indent).encode(), "m")
    packages = document["value"]["packages"]
    assert list(manifest.packages) == [each["name"] for each in packages]
    for package in packages:
        found = manifest.packages[package["name"]]
        assert found.default_version == (package.get("defaultVersion") or package.get("DefaultVersion") or "")
        for version in package["versions"]:
            entry = found.find(version["version"])
            assert entry is not None
            assert str(entry.digest) == version["hash"].replace(":", "-").lower()
            locations = [{"path": each.path} if each.path else {"url": each.url} for each in entry.locations]
            assert locations == version["locations"]


@examples(60)
@given(manifests().filter(lambda each: each["value"]["packages"]), st.data())
def test_a_name_that_occurs_twice_is_refused(document: dict[str, Any], data: st.DataObject) -> None:
    tried()
    packages = document["value"]["packages"]
    packages.append(data.draw(st.sampled_from(packages)))
    with pytest.raises(PermanentError, match="occurs twice"):
        parse_manifest(json.dumps(document).encode(), "m")


REFERENCES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
TABLES = st.dictionaries(
    st.builds("{}.{}".format, st.integers(0, 3), st.integers(0, 40)),
    st.dictionaries(st.sampled_from(["docker", "rkt"]), st.lists(REFERENCES, min_size=1, max_size=3), max_size=2),
    max_size=4,
)


@examples(100)
@given(TABLES, st.booleans(), st.booleans())
def test_mappings_are_read_as_they_were_written(table: dict[str, Any], flow: bool, as_json: bool) -> None:
    tried()
    document = {"kind": "VersionManifestV1", "versions": {"k8s": table}}
    # Its own quotes keep what YAML would take for a number or a truth a text; JSON is YAML, too.
    text = json.dumps(document) if as_json else yaml.safe_dump(document, default_flow_style=flow)
    wanted = {minor: {name: tuple(found) for name, found in packages.items()} for minor, packages in table.items()}
    assert parse_mappings(text, "m").kubernetes == wanted


@examples(60)
@given(st.sampled_from(["1.10", "17.03", "no", "1e3", "0x10", "~1", "12:30:45", "true"]))
def test_what_yaml_takes_for_something_else_stays_as_it_is_spelt(reference: str) -> None:
    tried()
    text = f"kind: VersionManifestV1\nversions: {{k8s: {{1.10: {{docker: [{reference}]}}}}}}\n"
    try:
        mappings = parse_mappings(text, "m")
    except PermanentError as error:
        assert "is not a version" in error.message  # noqa: PT017 - either of two, never another value
        assert not reference[0].isalnum() or ":" in reference
    else:
        assert mappings.kubernetes == {"1.10": {"docker": (reference,)}}


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=20)


def kubeconfig(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://api.example:8080", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


@examples(100)
@given(SECRETS, SECRETS, st.booleans(), st.booleans())
@pytest.mark.accepts("A23")
def test_credentials_are_sent_as_they_are_and_shown_nowhere(secret: str, name: str, token: bool, as_json: bool) -> None:
    tried()
    name = name.replace(":", "")

    def load(secret: str) -> ClusterAccess:
        user = {"token": secret} if token else {"username": name, "password": secret}
        path.write_text(json.dumps(kubeconfig(user)) if as_json else yaml.safe_dump(kubeconfig(user)))
        return load_kubeconfig(path).access

    with folder() as directory:
        path = Path(directory, "kubeconfig")
        access, other = load(secret), load("another-secret")
    wanted = f"Bearer {secret}" if token else f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"
    assert access.headers() == {"Authorization": wanted}
    # Not whether the secret is in there: it may be a word that is there in any case.
    assert repr(access) == repr(other)


# What is put in the place of a character.
_PUT: Final = ("", "}", '"', "\t", "&a ", "!x ", "\x00", "\n- ")


@examples(100)
@given(SECRETS, st.data())
@pytest.mark.accepts("A23")
def test_a_broken_kubeconfig_is_told_without_its_secret(secret: str, data: st.DataObject) -> None:
    tried()
    text = json.dumps(kubeconfig({"token": secret}), indent=1)
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(_PUT))
    with folder() as directory:
        path = Path(directory, "kubeconfig")

        def told(text: str, put: str) -> str:
            path.write_text(text[:at] + put + text[at + 1 :])
            try:
                load_kubeconfig(path)
            except ConfigurationError as error:
                return f"{error}{error!r}"
            return ""

        # One character of the secret may have been hit; the rest of it must not be told either. It may be a part of a
        # word that is there in any case.
        found, half = told(text, put), len(secret) // 2
        anyway = "".join(told(text.replace(json.dumps(secret), json.dumps("X" * len(secret))), each) for each in _PUT)
        for part in (secret, secret[:half], secret[half:]):
            assert part not in found or part in anyway


@examples(150)
@given(st.text("ab019.+~_-", min_size=1, max_size=10).filter(lambda each: each not in (".", "..")), st.booleans())
@pytest.mark.accepts("A9")
def test_a_template_is_filled_in_with_what_it_is_given(version: str, blanks: bool) -> None:
    tried()
    blank = " " if blanks else ""
    template = f"https://h/{{{{{blank}.Board{blank}}}}}/{{{{{blank}.OSVersion}}}}/{{{{.OSVersion}}}}.json"
    url = render_url(template, "amd64-usr", version)
    assert unquote(url) == f"https://h/amd64-usr/{version}/{version}.json"
    assert len(url.split("/")) == 6


@examples(200)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=16),
    st.sampled_from(["https://", "http://"]),
    st.sampled_from(["h.example", "h.example:8443", "[::1]:1"]),
    st.booleans(),
)
def test_a_password_of_any_characters_is_never_shown(password: str, scheme: str, host: str, escaped: bool) -> None:
    tried()
    # Not a part of what is shown in any case.
    secret = f"Zq{password}qZ"
    shown = redact(f"{scheme}user:{quote(secret, safe='') if escaped else secret}@{host}/p")
    assert secret not in shown
    assert "Zq" not in shown
    assert "qZ" not in shown
