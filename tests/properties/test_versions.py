"""Versions: a total order that is semver's, and where it compares, that of the system's own tools."""

from __future__ import annotations

import itertools
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.examples import examples, tried
from torcxd.lifecycle.versions import KubeVersion, OSVersion, is_docker, parse_os_version

NUMBERS = st.integers(min_value=0, max_value=3) | st.integers(min_value=0, max_value=10**12)
NUMERIC = NUMBERS.map(str)
WORDS = st.sampled_from(["a", "alpha", "beta", "rc", "Z", "-", "--1", "0a", "x-y"])
PRERELEASES = st.lists(NUMERIC | WORDS, min_size=1, max_size=3).map(".".join)
TRIPLES = st.tuples(NUMBERS, NUMBERS, NUMBERS)


@st.composite
def versions(draw: st.DrawFn) -> str:
    text = ".".join(map(str, draw(TRIPLES)))
    if draw(st.booleans()):
        text += f"-{draw(PRERELEASES)}"
    if draw(st.booleans()):
        text += f"+{draw(WORDS)}"
    return text


def precedence(one: str, other: str) -> int:
    """-1, 0 or 1, word for word by semver.org 2.0.0, section 11."""
    (core_a, _, pre_a), (core_b, _, pre_b) = (each.partition("+")[0].partition("-") for each in (one, other))
    for a, b in zip(core_a.split("."), core_b.split("."), strict=True):
        if int(a) != int(b):
            return -1 if int(a) < int(b) else 1
    if not pre_a or not pre_b:
        # 11.3: a pre-release version has lower precedence than the normal version.
        return (not pre_a) - (not pre_b)
    for a, b in itertools.zip_longest(pre_a.split("."), pre_b.split(".")):
        if a is None or b is None:
            # 11.4.4: a larger set of fields has a higher precedence.
            return -1 if a is None else 1
        if a == b:
            continue
        if a.isdigit() and b.isdigit():
            if int(a) != int(b):
                return -1 if int(a) < int(b) else 1
        elif a.isdigit() or b.isdigit():
            # 11.4.3: numeric identifiers always have lower precedence.
            return -1 if a.isdigit() else 1
        else:
            return -1 if a < b else 1
    return 0


def sign(a: OSVersion, b: OSVersion) -> int:
    return (a > b) - (a < b)


@examples(300)
@given(versions(), versions())
def test_the_order_is_semvers(one: str, other: str) -> None:
    tried()
    a, b = parse_os_version(one), parse_os_version(other)
    assert sign(a, b) == precedence(one, other)
    assert (a == b) == (precedence(one, other) == 0)
    assert a != b or hash(a) == hash(b)


@examples(200)
@given(versions(), versions(), versions())
def test_the_order_is_one(one: str, other: str, third: str) -> None:
    tried()
    a, b, c = (parse_os_version(each) for each in (one, other, third))
    assert sign(a, b) == -sign(b, a)
    assert not (a <= b <= c) or a <= c
    assert sorted([a, b, c]) == sorted([c, b, a])


@examples(15)
@given(st.lists(st.tuples(TRIPLES, TRIPLES), min_size=8, max_size=8))
def test_systemd_and_dpkg_order_plain_versions_so_too(pairs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    tried()
    texts = [tuple(".".join(map(str, each)) for each in pair) for pair in pairs]
    # One process for all of them: starting one takes longer than to compare.
    script = """for pair
        do if dpkg --compare-versions "${pair%/*}" lt "${pair#*/}"; then echo -1
        elif dpkg --compare-versions "${pair%/*}" eq "${pair#*/}"; then echo 0
        else echo 1
        fi
    done"""
    command = ["sh", "-c", script, "sh", *(f"{a}/{b}" for a, b in texts)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == [str(sign(parse_os_version(a), parse_os_version(b))) for a, b in texts]
    a, b = texts[0]
    ended = subprocess.run(["systemd-analyze", "compare-versions", a, b], capture_output=True, check=False).returncode
    assert {0: 0, 11: 1, 12: -1}[ended] == sign(parse_os_version(a), parse_os_version(b))


@examples(150)
@given(
    TRIPLES, TRIPLES, st.sampled_from(["", "+coreos.0", "_coreos.0", "-rc.1", "-beta.2+x"]), st.sampled_from(["", "v"])
)
def test_kubernetes_versions_are_ordered_by_their_numbers(
    one: tuple[int, int, int], other: tuple[int, int, int], tail: str, head: str
) -> None:
    tried()
    a, b = (KubeVersion.parse(f"{head}{'.'.join(map(str, each))}{tail}") for each in (one, other))
    assert ((a > b) - (a < b)) == ((one > other) - (one < other))
    assert a.minor_key == f"{one[0]}.{one[1]}"
    assert KubeVersion.parse(str(a).replace("+", "_")) == a


@examples(100)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.lists(st.integers(0, 20), max_size=3))
def test_a_reference_names_what_begins_with_it(series: list[int], rest: list[int]) -> None:
    tried()
    reference = ".".join(map(str, series))
    version = ".".join(map(str, [*series, *rest]))
    assert is_docker(version, reference)
    assert is_docker(f"{version}-ce", reference)
    assert not is_docker(f"{reference}0{''.join(f'.{each}' for each in rest)}", reference)
    assert not rest or not is_docker(reference, version)
