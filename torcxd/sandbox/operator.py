"""A stand-in for an update operator and its agent on one node: they take it through the pre-reboot check.

It takes the steps of the Flatcar Linux Update Operator, which are those of its predecessor, in the order of the
recorded sequence (tests/fixtures/update-operator). The real one looks every 30 seconds; this one at each change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from torcxd.kube.operators import FALSE, FLATCAR, HOOK_ANNOTATION, TRUE, OperatorNames
from torcxd.sandbox.apiserver import ApiServer


class UpdateOperator:
    """Operator and agent of one node of *api*, which must have that node.

    :param names: whose labels and annotations it uses.
    :param before_reboot_annotations: those that have to be "true" before the node may reboot, with their whole names.
    :param reboot: what the agent does in the end; the task of :meth:`run` waits for it.
    """

    def __init__(
        self,
        api: ApiServer,
        node: str,
        *,
        names: OperatorNames = FLATCAR,
        before_reboot_annotations: Sequence[str] = (HOOK_ANNOTATION,),
        reboot: Callable[[], Awaitable[None]],
    ) -> None:
        self._api = api
        self._node = node
        self._names = names
        self._awaited = tuple(before_reboot_annotations)
        self._reboot = reboot

    async def run(self) -> None:
        """Look after the node until cancelled."""
        while True:
            changed = self._api.store.changed
            self.look()
            if self._may_reboot():
                self._patch(annotations={self._names.reboot_in_progress: TRUE})
                await self._reboot()
            else:
                await changed.wait()

    # The agent.

    def start_agent(self, *, version: str, id_: str = "coreos", group: str = "stable") -> None:
        """What the agent says of its node as soon as it runs, also after the reboot."""
        names = self._names
        labels: dict[str, str | None] = {names.id: id_, names.group: group, names.version: version}
        if names.reboot_needed in self._labels():
            labels[names.reboot_needed] = FALSE
        self._patch(labels=labels, annotations={names.reboot_in_progress: FALSE, names.reboot_needed: FALSE})

    def need_reboot(self, new_version: str) -> None:
        """update_engine has said that an update waits for a reboot.

        :param new_version: as update_engine gives it, which after a restart of it is ``0.0.0``.
        """
        names = self._names
        status = "UPDATE_STATUS_UPDATED_NEED_REBOOT"
        self._patch(annotations={names.new_version: new_version, names.status: status, names.reboot_needed: TRUE})
        self._patch(labels={names.reboot_needed: TRUE})

    # The administrator.

    def pause(self) -> None:
        """No reboot for now: the operator takes back what it asked for."""
        self._patch(annotations={self._names.reboot_paused: TRUE})

    def resume(self) -> None:
        """Reboots may go on."""
        self._patch(annotations={self._names.reboot_paused: FALSE})

    # The operator.

    def look(self) -> None:
        """One round of the operator."""
        self._withdraw()
        self._check_after_reboot()
        self._check_before_reboot()
        self._mark_before_reboot()

    def _withdraw(self) -> None:
        if self._names.before_reboot in self._labels() and not self._wants_reboot():
            self._patch(labels={self._names.before_reboot: None}, annotations=dict.fromkeys(self._awaited))

    def _check_after_reboot(self) -> None:
        # No hook is configured for after the reboot, so the label after-reboot would be gone as soon as it was set.
        names, annotations = self._names, self._annotations()
        is_back = all(annotations.get(each) == FALSE for each in (names.reboot_needed, names.reboot_in_progress))
        if is_back and annotations.get(names.reboot_ok) == TRUE:
            self._patch(annotations={names.reboot_ok: FALSE})

    def _check_before_reboot(self) -> None:
        names, annotations = self._names, self._annotations()
        asked = self._labels().get(names.before_reboot) == TRUE
        if asked and all(annotations.get(each) == TRUE for each in self._awaited):
            done: dict[str, str | None] = {**dict.fromkeys(self._awaited), names.reboot_ok: TRUE}
            self._patch(labels={names.before_reboot: None}, annotations=done)

    def _mark_before_reboot(self) -> None:
        if self._wants_reboot() and self._names.before_reboot not in self._labels():
            # Whatever a hook has set before it was asked is lost.
            self._patch(annotations=dict.fromkeys(self._awaited))
            self._patch(labels={self._names.before_reboot: TRUE})

    def _wants_reboot(self) -> bool:
        names, annotations = self._names, self._annotations()
        against = (names.reboot_paused, names.reboot_ok, names.reboot_in_progress)
        return annotations.get(names.reboot_needed) == TRUE and TRUE not in (annotations.get(each) for each in against)

    def _may_reboot(self) -> bool:
        names, annotations = self._names, self._annotations()
        ready = all(annotations.get(each) == TRUE for each in (names.reboot_needed, names.reboot_ok))
        return ready and annotations.get(names.reboot_in_progress) != TRUE

    def _labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self._api.node(self._node)["metadata"].get("labels", {})
        return labels

    def _annotations(self) -> Mapping[str, str]:
        annotations: Mapping[str, str] = self._api.node(self._node)["metadata"].get("annotations", {})
        return annotations

    def _patch(
        self,
        *,
        labels: Mapping[str, str | None] | None = None,
        annotations: Mapping[str, str | None] | None = None,
    ) -> None:
        self._api.patch_node(self._node, labels=labels, annotations=annotations)
