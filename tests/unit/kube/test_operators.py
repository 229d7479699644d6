"""Which update operator looks after a node, and what it asks."""

from __future__ import annotations

import pytest

from torcxd.kube.nodes import Node
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, OperatorNames, detect

pytestmark = pytest.mark.accepts("A26")


def node(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Node:
    return Node("node-1", "u", "1", labels or {}, annotations or {})


@pytest.mark.parametrize("names", [CONTAINER_LINUX, FLATCAR])
def test_each_is_recognised_by_any_of_its_names(names: OperatorNames) -> None:
    assert detect(node(labels={names.before_reboot: "true"})) is names
    assert detect(node(annotations={names.reboot_needed: "false"})) is names
    assert detect(node(labels={names.group: "stable"})) is names


def test_a_node_without_an_operator_has_none() -> None:
    assert detect(node({"kubernetes.io/hostname": "node-1"}, {"tectonic-torcx-pre-hook-ok": "true"})) is None


def test_of_two_the_one_counts_that_asks() -> None:
    left = {FLATCAR.reboot_needed: "false"}
    assert detect(node({CONTAINER_LINUX.before_reboot: "true", FLATCAR.version: "1"}, left)) is CONTAINER_LINUX
    assert detect(node(annotations={CONTAINER_LINUX.reboot_needed: "true", **left})) is CONTAINER_LINUX
    assert detect(node(annotations={CONTAINER_LINUX.reboot_needed: "false", **left})) is FLATCAR


@pytest.mark.parametrize("names", [CONTAINER_LINUX, FLATCAR])
@pytest.mark.parametrize(
    ("label", "paused", "asks"),
    [
        ("true", None, True),
        ("true", "false", True),
        ("true", "true", False),
        ("false", None, False),
        (None, None, False),
    ],
)
def test_it_asks_while_the_label_is_true_and_nobody_has_paused_it(
    names: OperatorNames, label: str | None, paused: str | None, asks: bool
) -> None:
    labels = {names.before_reboot: label} if label else {}
    annotations = {names.reboot_paused: paused} if paused else {}
    assert names.asks(node(labels, annotations)) is asks
