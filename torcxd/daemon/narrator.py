"""Tells of each step in the log: what it is about, and what is waited for.

The transitions and failures themselves are told by :mod:`torcxd.daemon.journal_observer`, with fields for programs.
"""

from __future__ import annotations

import logging

from torcxd.daemon.context import Context
from torcxd.lifecycle.events import Event, Gathered, Resolved, Waiting
from torcxd.lifecycle.facts import Plan
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.plan import FIRST_WITH_ADDONS, has_addons

log = logging.getLogger(__name__)


class Narrator:
    """An observer of the engine."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def stepped(self, step: Step, event: Event) -> None:
        self._ctx.progress.finish()
        plan = step.snapshot.plan
        if isinstance(event, Gathered) and plan is not None:
            log.info("Target: %s.", describe_target(plan))
            for each in _without_addons(plan):
                log.info(
                    "OS version %s is older than %s and has no remote addons: nothing is done for it.",
                    each,
                    FIRST_WITH_ADDONS,
                )
        if isinstance(event, Resolved):
            log.info("Set: %s.", describe_set(event.plan))
        if isinstance(event, Waiting):
            log.info("Waiting for %s.", event.reason)


def _without_addons(plan: Plan) -> list[str]:
    """The plan's OS versions that would be staged, were they not too old (A36)."""
    target = plan.target
    versions = dict.fromkeys((target.coming_os, target.current_os))
    return [each for each in versions if target.stage and not has_addons(each)]


def describe_target(plan: Plan) -> str:
    """The plan's target in one clause."""
    target = plan.target
    system = f"OS {target.current_os}"
    if target.next_os:
        system = f"OS {target.next_os} after {target.current_os}"
        if plan.boot_os == target.current_os:
            system = f"OS {target.current_os}, since {target.next_os} was rolled back too often"
    accepted = ", ".join(target.docker_preferences)
    return f"{system}, Kubernetes {target.kube_version} (from {target.kube_source}), Docker {accepted} accepted"


def describe_set(plan: Plan) -> str:
    """The chosen images in one clause."""
    if plan.docker is None:
        return "no addons are staged"
    return f"Docker {plan.docker} for OS " + " and ".join(each.os_version for each in plan.images)
