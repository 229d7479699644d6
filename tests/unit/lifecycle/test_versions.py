"""Version numbers: what is one, and which is newer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.lifecycle.versions import KubeVersion, OSVersion, parse_os_version

NUMBERS = st.integers(min_value=0, max_value=10**6)
IDENTIFIERS = st.one_of(NUMBERS.map(str), st.from_regex(r"[a-z][0-9a-z-]{0,5}", fullmatch=True))
VERSIONS = st.builds(
    lambda numbers, pre, build: ".".join(map(str, numbers)) + (pre and f"-{pre}") + (build and f"+{build}"),
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.lists(IDENTIFIERS, max_size=3).map(".".join),
    st.lists(IDENTIFIERS, max_size=3).map(".".join),
)


def test_os_versions_sort_as_semver_says() -> None:
    ascending = [
        "0.0.0",
        "899.17.0",
        "1520.3.0-alpha",
        "1520.3.0-alpha.1",
        "1520.3.0-alpha.beta",
        "1520.3.0-beta.2",
        "1520.3.0-beta.11",
        "1520.3.0-rc.1",
        "1520.3.0",
        "1520.10.0",
        "1576.4.0",
        "10000.0.0",
    ]
    parsed = [parse_os_version(each) for each in ascending]
    parsed.reverse()
    assert [str(each) for each in sorted(parsed)] == ascending
    assert len(set(parsed)) == len(parsed)


def test_build_metadata_does_not_count_but_is_kept() -> None:
    dated, plain = parse_os_version("1576.4.0+2017-12-06-0313"), parse_os_version("1576.4.0")
    assert dated == plain
    assert not dated < plain
    assert not dated > plain
    assert hash(dated) == hash(plain)
    assert str(dated) == "1576.4.0+2017-12-06-0313"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1576.4",
        "1576.4.0.1",
        "v1576.4.0",
        "1576.04.0",
        "1576.4.0-",
        "1576.4.0+",
        "1576.4.0-a..b",
        "1576.4.0\n",
        "1576.4.x",
        "../../etc",
        "\u0661.2.3",  # a digit, but not one of ours
        "1.2." + "3" * 200,
    ],
)
def test_what_is_no_os_version_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="not an OS version such as") as caught:
        parse_os_version(text)
    assert ascii(text)[:20].rstrip("'") in str(caught.value)
    assert len(str(caught.value)) < 200


@given(VERSIONS, VERSIONS)
def test_the_order_is_total_and_agrees_with_the_numbers(one: str, other: str) -> None:
    a, b = parse_os_version(one), parse_os_version(other)
    assert [a < b, a == b, a > b].count(True) == 1
    if (a.major, a.minor, a.patch) != (b.major, b.minor, b.patch):
        assert (a < b) == ((a.major, a.minor, a.patch) < (b.major, b.minor, b.patch))


@given(VERSIONS)
def test_a_version_is_written_as_it_was_read(text: str) -> None:
    version = parse_os_version(text)
    assert str(version) == text
    assert parse_os_version(str(version)) == version


@given(NUMBERS, NUMBERS, NUMBERS, IDENTIFIERS)
def test_a_final_version_is_newer_than_its_pre_releases(major: int, minor: int, patch: int, identifier: str) -> None:
    final = f"{major}.{minor}.{patch}"
    assert parse_os_version(f"{final}-{identifier}") < parse_os_version(final) == OSVersion(major, minor, patch)


@pytest.mark.parametrize(
    ("text", "numbers", "key"),
    [
        ("v1.8.4+coreos.0", (1, 8, 4), "1.8"),
        ("v1.8.4_coreos.0", (1, 8, 4), "1.8"),
        ("1.7.5", (1, 7, 5), "1.7"),
        ("v1.9.6-rc.1+tectonic.2", (1, 9, 6), "1.9"),
        ("1.9+", (1, 9, 0), "1.9"),
        ("1.10", (1, 10, 0), "1.10"),
    ],
)
def test_kubernetes_versions_in_all_their_spellings(text: str, numbers: tuple[int, int, int], key: str) -> None:
    version = KubeVersion.parse(text)
    assert (version.major, version.minor, version.patch) == numbers
    assert version.minor_key == key
    assert str(version) == text


def test_kubernetes_versions_sort_by_number() -> None:
    assert KubeVersion.parse("v1.9.10") < KubeVersion.parse("v1.10.0")
    assert KubeVersion.parse("v1.8.4+coreos.0") == KubeVersion.parse("1.8.4")


@pytest.mark.parametrize("text", ["", "v", "1", "latest", "1.x", "v1.8.", "v1.8.4+", "v1.8.4 ", "v1.8.4/x", "1.8.4\n"])
def test_what_is_no_kubernetes_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes version such as"):
        KubeVersion.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_os_version, KubeVersion.parse):
        try:
            version = parse(text)
        except ValueError:
            continue
        assert str(version) == text
