"""Settings: of all the places that may set one, the strongest that does counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.examples import examples, folder, tried
from torcxd.config_files import load
from torcxd.errors import ConfigurationError
from torcxd.paths import Layout
from torcxd.settings import BY_NAME, OPTIONS, combine, from_environment, parse_bool, parse_seconds

# A text that each kind of setting takes, and another one.
SAMPLES: dict[str, list[str]] = {
    each.name: {
        "BOOL": ["true", "no", "1"],
        "DURATION": ["90", "5m", "1h"],
        "VERSION": ["v1.8.4+coreos.0", "1.9"],
        "TEMPLATE": ["https://h/{{.Board}}", "http://h/{{ .OSVersion }}/x"],
        "FILE": ["/a", "/b/c"],
        "N": ["1", "64"],
        "LEVEL": ["debug", "error"],
        "ADDRESS": ["127.0.0.1:9100", "/run/x", ""],
        "SERVICE": ["login1", "systemd1"],
        "NAME": ["cluo", "fluo"],
        "NAMESPACE": ["a", "b"],
    }.get(each.metavar, ["a", "b"])
    for each in OPTIONS
}
# The weakest first.
LAYERS = [
    "usr config.yaml",
    "usr config.d/10",
    "usr config.d/20",
    "etc config.yaml",
    "etc config.d/10",
    "etc config.d/20",
    "variable",
]
CHOICES = st.dictionaries(
    st.sampled_from(sorted(SAMPLES)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(LAYERS))),
    st.integers(0, 2),
    max_size=12,
)


@examples(120)
@given(CHOICES, st.booleans())
def test_the_strongest_layer_counts(choices: dict[tuple[str, str], int], dashes: bool) -> None:
    tried()
    texts = {(name, layer): SAMPLES[name][index % len(SAMPLES[name])] for (name, layer), index in choices.items()}
    with folder() as directory:
        layout = Layout(Path(directory))
        folders = dict(zip(("usr", "etc"), layout.configuration(), strict=True))
        for layer in LAYERS[:-1]:
            where, _, file = layer.partition(" ")
            content = {
                n.replace("_", "-") if dashes else n: text for (n, found), text in texts.items() if found == layer
            }
            path = folders[where] / (file if file.endswith(".yaml") else f"{file}.yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content) if content else "# nothing\n")
        variables = {BY_NAME[name].variable: text for (name, layer), text in texts.items() if layer == "variable"}
        settings = combine(load(layout), from_environment({**variables, "PATH": "/bin"}))
    for option in OPTIONS:
        given_by = [layer for layer in LAYERS if (option.name, layer) in texts]
        wanted: Any = option.default
        if given_by:
            text = texts[option.name, given_by[-1]]
            wanted = option.default if not text and option.empty_is_default else option.parse(text)
        assert getattr(settings, option.name) == wanted


@examples(100)
@given(st.text(min_size=1, max_size=12).filter(str.isprintable))
def test_an_unknown_setting_is_told_with_its_place(name: str) -> None:
    tried()
    key = name.strip().replace("-", "_")
    with folder() as directory:
        layout = Layout(Path(directory))
        path = layout.configuration()[1] / "config.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump({"verbose": "info", name: "x"}, sort_keys=False))
        if key in BY_NAME:
            return
        with pytest.raises(ConfigurationError, match=r"config\.yaml:2: unknown setting"):
            load(layout)


@examples(200)
@given(st.text(max_size=8) | st.floats().map(str) | st.integers().map(lambda each: f"{each}m"))
def test_a_duration_is_one_or_none(text: str) -> None:
    tried()
    try:
        seconds = parse_seconds(text)
    except ValueError:
        return
    assert 0 < seconds < 30 * 86400


@examples(100)
@given(
    st.sampled_from(["true", "yes", "on", "1", "t", "false", "no", "off", "0", "f"]), st.randoms(use_true_random=False)
)
def test_a_truth_is_one_in_any_case(word: str, random: Any) -> None:
    tried()
    spelt = "".join(random.choice((each.upper(), each)) for each in word)
    assert parse_bool(f" {spelt} ") is (word in ("true", "yes", "on", "1", "t"))
