"""What is read on the own node, and what is to be changed there."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.daemon.context import Context
from torcxd.daemon.operator import OperatorDesk
from torcxd.kube.nodes import Node
from torcxd.kube.operators import FLATCAR, HOOK_ANNOTATION, TRUE
from torcxd.paths import Layout
from torcxd.settings import combine

ASKS = Node("node-1", "uid", "1", {FLATCAR.before_reboot: TRUE}, {})


@pytest.mark.accepts("A26", "A37")
@pytest.mark.parametrize(("annotation", "asked"), [(HOOK_ANNOTATION, True), ("", False)])
def test_without_an_annotation_there_is_no_question_that_could_be_answered(
    tmp_path: Path, annotation: str, asked: bool
) -> None:
    desk = OperatorDesk(Context(combine({"node_annotation": annotation}), Layout(tmp_path), {}))
    assert desk.read(ASKS) == (asked, False)
    assert bool(desk.notice_due(ASKS, "a reason")) == asked
