"""Names that the API server takes, and those that it would refuse each time."""

from __future__ import annotations

import pytest

from torcxd.errors import ConfigurationError
from torcxd.kube_names import parse_annotation, parse_namespace, parse_node_name
from torcxd.settings import BY_NAME, convert


@pytest.mark.parametrize("text", ["kube-system", "a", "0", "x" * 63])
def test_a_namespace(text: str) -> None:
    assert parse_namespace(text) == text


@pytest.mark.parametrize("text", ["", "Kube", "a_b", "-a", "a-", "a.b", "x" * 64, "a\n"])
def test_no_namespace(text: str) -> None:
    with pytest.raises(ValueError, match="is no namespace"):
        parse_namespace(text)


@pytest.mark.parametrize("text", ["", "node-1", "ip-10-0-0-1.eu-west-1.compute.internal", f"{'x' * 100}.{'y' * 152}"])
def test_a_nodes_name(text: str) -> None:
    assert parse_node_name(text) == text


@pytest.mark.parametrize("text", ["A", "a b", "a..b", "a.", ".a", "a/b", "x" * 254, "a\n"])
def test_no_nodes_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no node's name"):
        parse_node_name(text)


@pytest.mark.parametrize("text", ["", "tectonic-torcx-pre-hook-ok", "example.com/Torcx_is.ok", f"a/{'x' * 63}"])
def test_an_annotation(text: str) -> None:
    assert parse_annotation(text) == text


@pytest.mark.parametrize("text", ["a/b/c", "/a", "a/", "-a", "a b", "Example.com/a", f"a/{'x' * 64}", "a\n"])
def test_no_annotation(text: str) -> None:
    with pytest.raises(ValueError, match="is no annotation"):
        parse_annotation(text)


@pytest.mark.parametrize("name", ["mappings_namespace", "node_name", "node_annotation"])
def test_the_settings_refuse_them(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'a//b' is no "):
        convert(BY_NAME[name], "a//b", name)
