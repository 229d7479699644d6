"""Tells the journal of each transition and of what went wrong, one structured entry each (N10).

The entries are log records with fields (:mod:`torcxd.messages`): on a terminal they are the lines that
people read.
"""

from __future__ import annotations

import logging
from typing import Final

from torcxd import messages
from torcxd.daemon.withheld import Withheld
from torcxd.errors import EX_OK
from torcxd.lifecycle.effects import Effect, End
from torcxd.lifecycle.events import BootVerified, Event, Failed, HookAnswered, Published, RebootRequested
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.snapshot import Snapshot

log = logging.getLogger(__name__)

Fields = dict[str, str | None]

# Reasons that are told once each. Those that come in turn are a handful; of those that never come again, such as "after
# 12345 bytes", a failing node would otherwise remember one for each attempt.
MOST_REASONS: Final = 64


class JournalObserver:
    """An observer of the engine."""

    def __init__(self) -> None:
        # The reasons that the operator's present question met; it may meet one again.
        self._told: set[str] = set()
        self._withheld = Withheld()

    def stepped(self, step: Step, event: Event) -> None:
        _tell_of_event(step.snapshot, event)
        if isinstance(event, Failed):
            _tell_of_failure(step, event)
        if step.move is not None:
            log.info(
                "%s → %s: %s.",
                step.move.source,
                step.move.dest,
                step.move.because,
                extra=messages.TRANSITION.extra(
                    {
                        "TORCXD_STATE_FROM": step.move.source,
                        "TORCXD_STATE_TO": step.move.dest,
                        "TORCXD_EVENT": step.move.trigger,
                        "TORCXD_BECAUSE": step.move.because,
                        **_target(step.snapshot.plan),
                    }
                ),
            )
        self._tell_of_withholding(step, event)

    def _tell_of_withholding(self, step: Step, event: Event) -> None:
        """Once for each reason, for as long as the operator waits."""
        reason = self._withheld.reason(step, event)
        if not reason:
            self._told.clear()
        elif reason not in self._told:
            fields: Fields = {"TORCXD_REASON": reason, **_target(step.snapshot.plan)}
            log.warning("The update operator has to wait: %s.", reason, extra=messages.HOOK_WITHHELD.extra(fields))
            if len(self._told) == MOST_REASONS:
                self._told.clear()
            self._told.add(reason)


def _tell_of_event(snapshot: Snapshot, event: Event) -> None:
    target = _target(snapshot.plan)
    match event:
        case BootVerified(running=running) if snapshot.plan is not None and not running.matches(snapshot.plan):
            rolled_back = running.os_version != snapshot.plan.boot_os
            message = messages.ROLLED_BACK if rolled_back else messages.BOOT_WITHOUT_SET
            reason = running.detail or f"Docker {running.docker or '(none)'} runs"
            if rolled_back:
                reason = f"OS {running.os_version} runs instead of {snapshot.plan.boot_os}"
            log.warning(
                "The boot did not bring the set: %s.", reason, extra=message.extra({"TORCXD_REASON": reason, **target})
            )
        case BootVerified(running=running) if running.detail:
            log.warning(
                "The boot brought the set, but %s.",
                running.detail,
                extra=messages.FOREIGN_DOCKER.extra({"TORCXD_REASON": running.detail, **target}),
            )
        case RebootRequested(via=via):
            log.info(
                "%s accepted the request to reboot.",
                via,
                extra=messages.REBOOT_REQUESTED.extra({"TORCXD_VIA": via, **target}),
            )
        case HookAnswered():
            log.info("The update operator may reboot this node.", extra=messages.HOOK_ANSWERED.extra(target))
        case Published():
            log.info("kubelet.env is published.", extra=messages.PUBLISHED.extra(target))
        case _:
            pass


def _tell_of_failure(step: Step, event: Failed) -> None:
    snapshot = step.snapshot
    attempts = snapshot.failure.attempts if snapshot.failure else 1
    fields: Fields = {
        "TORCXD_STATE": snapshot.state,
        "TORCXD_ERROR": event.message,
        "TORCXD_HINT": event.hint or None,
        "TORCXD_ERROR_KIND": event.kind.value,
        "TORCXD_ATTEMPTS": str(attempts),
        **_target(snapshot.plan),
    }
    end = _failed_end(step.effects)
    if end is not None:
        # Without the reason: the command that ends tells it, with its hint, as its last word.
        fields["TORCXD_EXIT_CODE"] = str(end.exit_code)
        log.error(
            "Work in state %s failed for good (attempt %d).",
            snapshot.state,
            attempts,
            extra=messages.GIVEN_UP.extra(fields),
        )
        return
    wait = "" if snapshot.next_try is None else f"; next try in {snapshot.next_try - event.at:.0f} s"
    if snapshot.next_try is not None:
        fields["TORCXD_NEXT_TRY"] = str(round(snapshot.next_try * 1_000_000))
    log.warning(
        "Work in state %s failed (attempt %d): %s%s%s.",
        snapshot.state,
        attempts,
        event.message,
        f" ({event.hint})" if event.hint else "",
        wait,
        extra=messages.FAILURE.extra(fields),
    )


def _failed_end(effects: tuple[Effect, ...]) -> End | None:
    return next((each for each in effects if isinstance(each, End) and each.exit_code != EX_OK), None)


def _target(plan: Plan | None) -> Fields:
    if plan is None:
        return {}
    return {
        "TORCXD_OS": plan.target.current_os,
        "TORCXD_NEXT_OS": plan.target.next_os,
        "TORCXD_BOOT_OS": plan.boot_os,
        "TORCXD_KUBERNETES": plan.target.kube_version,
        "TORCXD_DOCKER": plan.docker,
    }
