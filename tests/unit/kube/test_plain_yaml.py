"""YAML is read as text, and nothing in it can surprise or exhaust the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.kube.plain_yaml import NotYaml, parse


def test_scalars_stay_text_and_only_null_is_none() -> None:
    text = "a: 1.10\nb: no\nc: 0x1f\nd: 2017-12-06\ne: ''\nf:\ng: null\nh: ~\ni: nullify\nj: [1, {k: true}]\n"
    assert parse(text) == {
        "a": "1.10",
        "b": "no",
        "c": "0x1f",
        "d": "2017-12-06",
        "e": "",
        "f": None,
        "g": None,
        "h": None,
        "i": "nullify",
        "j": ["1", {"k": "true"}],
    }
    assert parse("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "line 1: anchors and aliases"),
        ("a: 1\nb: *x\n", "line 2: anchors and aliases"),
        ("a: !!python/object/apply:os.system [x]\n", "line 1: tags"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' a second time"),
        ("? [a]\n: 1\n", "line 1: a key that is no plain text"),
        ("[" * 1000, "line 1: nested more than"),
        ("a: 1\n---\nb: 1\n", "line 2: but found another document"),
        ("a: 'secret\n", "line 2: found unexpected end of stream"),
        ("a: \x01", "character 3: special characters"),
        ('a: "\\U00110000"', "an escape or a number beyond"),
        ('a: "\\UFFFFFFFF"', "an escape or a number beyond"),
        (f"%YAML {'1' * 5000}.1\n--- a", "an escape or a number beyond"),
        ('a:\n- "\\ud800"', "line 2: half a character"),
    ],
)
def test_what_is_unsafe_or_broken_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(NotYaml) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(st.sampled_from("ab:-[]{}\"'#&*!|>%@ \n\t?~,"), max_size=60))
def test_no_text_leads_to_another_error(text: str) -> None:
    try:
        value = parse(text)
    except NotYaml:
        value = None
    assert value is None or isinstance(value, dict | list | str)
