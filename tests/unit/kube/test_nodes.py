"""Nodes as the API gives them, and the patches that are made for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torcxd.kube.nodes import Node, patch_operations
from torcxd.sandbox.apiserver_patch import PatchRefused, apply_json_patch

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-apiserver"
BEFORE_REBOOT = "container-linux-update.v1.coreos.com/before-reboot"
HOOK = "tectonic-torcx-pre-hook-ok"

NAMES = st.text(st.sampled_from("ab/~.01"), min_size=1, max_size=8)
MAPS = st.dictionaries(NAMES, st.sampled_from(["true", "false", ""]), max_size=4)
EXPECTATIONS = st.dictionaries(NAMES, st.sampled_from(["true", "false", "", None]), max_size=4)


def recorded(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FIXTURES / name).read_bytes().partition(b"\r\n\r\n")[2])
    return document


def document(labels: dict[str, str], annotations: dict[str, str], revision: str = "1") -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "node-1", "uid": "u", "resourceVersion": revision}
    # The API leaves out an empty map.
    metadata.update({name: each for name, each in [("labels", labels), ("annotations", annotations)] if each})
    return {"kind": "Node", "metadata": metadata}


def test_a_recorded_node_is_read() -> None:
    node = Node.parse(recorded("patch.http"))
    assert node == Node(
        name="node-1",
        uid="a746d331-0c64-40a9-bc3b-04e8a86ff171",
        resource_version="198",
        labels={BEFORE_REBOOT: "true", "kubernetes.io/hostname": "node-1"},
        annotations={"container-linux-update.v1.coreos.com/reboot-needed": "true"},
    )


def test_an_item_of_a_list_is_a_node_too_and_needs_no_annotations() -> None:
    node = Node.parse(recorded("node-list.http")["items"][0])
    assert (node.name, node.annotations) == ("node-1", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Pod"}, "kind is not Node"),
        ({"metadata": None}, "metadata: "),
        ({"metadata": {"name": "n", "uid": "u"}}, r"metadata\.resourceVersion: "),
        ({"metadata": {"name": "", "uid": "u", "resourceVersion": "1"}}, r"metadata\.name: "),
        ({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "labels": ["a"]}}, r"metadata\.labels: "),
        ({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "annotations": {"a": 1}}}, "annotations: "),
    ],
)
def test_what_is_no_node_is_refused_with_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Node.parse({**document({}, {}), **change})


def test_the_success_annotation_is_bound_to_the_label() -> None:
    node = Node.parse(document({BEFORE_REBOOT: "true"}, {"other": "1"}))
    label = "/metadata/labels/container-linux-update.v1.coreos.com~1before-reboot"
    assert patch_operations(node, {HOOK: "true"}, {BEFORE_REBOOT: "true"}, {}) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": label, "value": "true"},
        {"op": "add", "path": f"/metadata/annotations/{HOOK}", "value": "true"},
    ]


def test_the_first_annotation_makes_the_map_only_while_nobody_else_has() -> None:
    node = Node.parse(document({}, {}, revision="7"))
    assert patch_operations(node, {HOOK: "true"}, {}, {})[1:] == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": f"/metadata/annotations/{HOOK}", "value": "true"},
    ]


def test_nothing_to_change_is_no_patch() -> None:
    node = Node.parse(document({}, {"other": "1"}))
    assert patch_operations(node, {HOOK: None}, {BEFORE_REBOOT: "true"}, {}) == []


@given(
    seen=st.tuples(MAPS, MAPS),
    now=st.none() | st.tuples(MAPS, MAPS),
    changes=EXPECTATIONS,
    labels=EXPECTATIONS,
    annotations=EXPECTATIONS,
)
def test_a_patch_does_all_or_nothing_and_only_under_its_conditions(
    seen: tuple[dict[str, str], dict[str, str]],
    now: tuple[dict[str, str], dict[str, str]] | None,
    changes: dict[str, str | None],
    labels: dict[str, str | None],
    annotations: dict[str, str | None],
) -> None:
    node = Node.parse(document(*seen))
    operations = patch_operations(node, changes, labels, annotations)
    current = document(*seen) if now is None else document(*now, revision="2")
    holds = all(Node.parse(current).labels.get(name) == value for name, value in labels.items()) and all(
        Node.parse(current).annotations.get(name) == value for name, value in annotations.items()
    )
    try:
        after = Node.parse(apply_json_patch(current, operations))
    except PatchRefused:
        # Unless somebody else came in between, only a condition that does not hold is a reason.
        assert now is not None or not holds
        return
    if not operations:
        return
    assert holds
    wanted = {**Node.parse(current).annotations, **changes}
    kept = {name for name, value in changes.items() if value is None and name not in node.annotations}
    assert {n: v for n, v in after.annotations.items() if n not in kept} == {
        n: v for n, v in wanted.items() if v is not None and n not in kept
    }
    assert after.labels == Node.parse(current).labels
