"""In what the commands that run the lifecycle differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """In what the commands differ.

    :param ends_when_published: the process has nothing left to do once kubelet.env is published (bootstrap).
    :param ends_on_permanent: a permanent failure ends the process, so that its unit shows it as failed (bootstrap).
    :param attends: the process stays and serves the update operator: it watches update_engine instead of driving it,
        and never asks for a reboot itself (daemon, hook).
    :param ends_when_answered: the process has nothing left to do once the operator is answered (hook).
    :param ends_when_prepared: nor once the node is prepared, since nobody is to be told (hook without annotation).
    :param retry_for: seconds for which a state's transient failures are retried before the process ends and leaves
        the retrying to its unit; None retries for ever (daemon).
    """

    ends_when_published: bool
    ends_on_permanent: bool
    retry_for: float | None
    attends: bool = False
    ends_when_answered: bool = False
    ends_when_prepared: bool = False
