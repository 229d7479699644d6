"""Hears what the program tells the update operator, and has it judged at the very moment."""

from __future__ import annotations

from typing import Any, Final

from torcxd.sandbox.apiserver_objects import Change
from torcxd.sandbox.checker.judge import Checker

# How the success annotation ends; the prefix is the operator's.
_ANNOTATION: Final = "tectonic-torcx-pre-hook-ok"
# Who changes nodes besides the program: the stand-ins and the tests.
_OTHERS: Final = frozenset({"update-operator", "kubectl-create"})


class Answers:
    """Takes the changes of a cluster's objects, one by one as they are made.

    :param annotation: the success annotation's name, or how it ends.
    """

    def __init__(self, checker: Checker, annotation: str = _ANNOTATION) -> None:
        self._checker = checker
        self._annotation = annotation
        self._answered: set[str] = set()

    def changed(self, change: Change) -> None:
        """A node that is told to be prepared has to be so now."""
        if change.key.resource != "nodes":
            return
        metadata: dict[str, Any] = change.object["metadata"]
        values = [value for name, value in metadata.get("annotations", {}).items() if name.endswith(self._annotation)]
        if "true" not in values:
            self._answered.discard(change.key.name)
        elif change.key.name not in self._answered:
            self._answered.add(change.key.name)
            if metadata["managedFields"][0]["manager"] not in _OTHERS:
                self._checker.reboot_allowed()
