"""Runtime mappings: the built-in ones, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.errors import EX_DATAERR, EX_NOINPUT, PermanentError, TorcxdError
from torcxd.kube.mappings import LARGEST, builtin_mappings, parse_mappings, read_mappings
from torcxd.lifecycle.versions import KubeVersion

TABLE = """\
kind: VersionManifestV1
versions:
  k8s:
    1.8:
      docker: [ "17.03", 1.12 ]
    1.10:
      docker: [17.03]
      rkt: [1.29]
    1.11:
      rkt: [1.29]
"""


@pytest.mark.accepts("A13")
@pytest.mark.parametrize(
    ("version", "docker"),
    [
        ("v1.6.13", ("1.12",)),
        ("v1.7.5+coreos.0", ("1.12",)),
        ("v1.8.4+coreos.0", ("17.03", "1.13", "1.12")),
        ("v1.9.6+coreos.0", ("17.03", "1.13", "1.12")),
    ],
)
def test_the_builtin_mappings_know_every_version_that_tectonic_shipped(version: str, docker: tuple[str, ...]) -> None:
    assert builtin_mappings().docker_for(KubeVersion.parse(version)) == docker


@pytest.mark.accepts("A13")
def test_versions_are_text_not_numbers() -> None:
    mappings = parse_mappings(TABLE, "here")
    assert mappings.docker_for(KubeVersion.parse("1.8.4")) == ("17.03", "1.12")
    assert mappings.docker_for(KubeVersion.parse("1.10.0")) == ("17.03",)


@pytest.mark.accepts("A13")
@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.1.0", "here has no entry for Kubernetes 1.1, only for: 1.8, 1.10, 1.11"),
        ("1.11.0", "here names no docker version for Kubernetes 1.11, only: rkt"),
    ],
)
def test_a_missing_version_or_package_is_told_with_what_there_is(version: str, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_mappings(TABLE, "here").docker_for(KubeVersion.parse(version))
    assert message in str(caught.value)
    assert "add versions.k8s.1." in caught.value.hint
    assert caught.value.exit_code == EX_DATAERR


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "here: is not a mapping"),
        ("[]", "here: is not a mapping"),
        ("a: [", "here: is not acceptable YAML: line 1"),
        ("versions: {}", "here: has no kind, must be VersionManifestV1"),
        (TABLE.replace("V1", "V2"), "here: kind is 'VersionManifestV2', not VersionManifestV1"),
        ("kind: VersionManifestV1", "here: versions is missing"),
        ("kind: VersionManifestV1\nversions: 1", "here: versions is not a mapping"),
        ("kind: VersionManifestV1\nversions: {a: 1}", "here: versions.k8s is missing"),
        (TABLE.replace("1.10:", "1.x:"), "here: versions.k8s.1.x: '1.x' is not a minor version"),
        (TABLE.replace("1.10:", "1.8:"), "the key '1.8' a second time"),
        (TABLE.replace("[17.03]", "17.03"), "here: versions.k8s.1.10.docker is not a list of versions"),
        (TABLE.replace("[17.03]", "[]"), "here: versions.k8s.1.10.docker is not a list of versions"),
        (TABLE.replace("[17.03]", "[17.03, ../x]"), "here: versions.k8s.1.10.docker[1] is not a version"),
        (TABLE.replace("[17.03]", "[17.03, {}]"), "here: versions.k8s.1.10.docker[1] is not a version"),
        ("#" * (LARGEST + 1), "here: is larger than"),
    ],
)
def test_a_wrong_table_is_refused_by_field(text: str, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_mappings(text, "here")
    assert message in str(caught.value)
    assert caught.value.exit_code == EX_DATAERR


@pytest.mark.accepts("A22")
def test_the_installers_file_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "runtime-mappings.yaml"
    with pytest.raises(TorcxdError, match=r"runtime-mappings\.yaml: No such file") as caught:
        read_mappings(path)
    assert caught.value.exit_code == EX_NOINPUT
    path.write_bytes(b"\xff")
    with pytest.raises(PermanentError, match=r"runtime-mappings\.yaml: is not UTF-8"):
        read_mappings(path)
    path.write_text(TABLE)
    assert read_mappings(path).where == str(path)
    assert read_mappings(path).docker_for(KubeVersion.parse("1.8.4")) == ("17.03", "1.12")
