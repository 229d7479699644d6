"""The next OS version: what update_engine says, followed to an end that can be trusted.

update_engine's interface was made for a progress bar. Its states alone do not tell "no update" from "not started yet"
or "failed", and not every change is signalled. So signals only speed things up here: GetStatus decides, and an IDLE or
an UPDATED_NEED_REBOOT that a signal announces is asked for once more (``locksmithctl send-need-reboot`` forges one).

What each state means depends on what was seen before:

====================== =============================================================================================
IDLE, not attempted    ask for an update
IDLE, then nothing     stale: the attempt has not begun; after a grace period there is no update
IDLE after a check     there is no update (a new ``last_checked_time`` proves a check, too)
IDLE after a download  the update failed, whether or not REPORTING_ERROR_EVENT was seen
IDLE after it was done somebody withdrew the update with ResetStatus, which is not signalled
UPDATED_NEED_REBOOT    done, if the version is known: from now, from this follow, or from the caller
the name has no owner  the service restarts: ask again once it is back
====================== =============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from torcxd.dbus.errors import NO_REPLY, DBusError
from torcxd.dbus.signals import OwnerChange
from torcxd.dbus.update_engine import NAME, Operation, Status
from torcxd.errors import TransientError
from torcxd.sources.engine import Engine, EventSource

# Seconds without a signal after which the state is asked for: soon enough that a lost signal costs little beside a
# download of minutes, seldom enough not to show in update_engine's log.
POLL_INTERVAL: Final = 5.0

# Seconds after AttemptUpdate in which IDLE may mean "not begun". The real one starts within a second; three polls
# must agree before a node is told that there is no update.
IDLE_GRACE: Final = 15.0

# Restarts of the service during one follow before it is called an error. Each one changes the operation, so a crash
# loop would otherwise look like progress for ever.
RESTARTS_LIMIT: Final = 3

# Operations that are reached only after the update server has offered an update.
_INSTALLING: Final = frozenset(
    {Operation.UPDATE_AVAILABLE, Operation.DOWNLOADING, Operation.VERIFYING, Operation.FINALIZING}
)
# Operations that end a follow: a signal is not enough for them.
_FINAL: Final = frozenset({Operation.IDLE, Operation.UPDATED_NEED_REBOOT})

_JOURNAL: Final = "see `journalctl -u update-engine`; --upgrade-os=false goes on without an OS update"


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """What the next boot will run.

    :param next_version: the OS version that is installed and waits for the reboot; None when there is none.
    :param status: update_engine's last word, None when it is not there.
    :param note: why there is no next version, or where its version was taken from, in one clause.
    """

    next_version: str | None
    status: Status | None
    note: str


async def follow_update(
    engine: Engine,
    *,
    attempt: bool,
    progress_deadline: float,
    on_status: Callable[[Status], None],
    resolve_version: Callable[[Status], str | None],
    on_wait: Callable[[str], None] = lambda _reason: None,
) -> UpdateOutcome:
    """Find out the next OS version, with *attempt* by updating first.

    Without *attempt* the state is read once: a pending update counts, one in progress does not, and an absent
    update_engine means no update. With it, an update in progress is followed and otherwise one is asked for, until
    update_engine says that it is installed, that there is none, or that it failed.

    :param progress_deadline: seconds without a change of operation or progress before giving up. Checking the installed
        partition (FINALIZING) shows no progress and can take minutes.
    :param on_status: called for each change; a status whose ``version`` is known while it downloads lets the caller
        fetch for that version meanwhile.
    :param resolve_version: asked for the version of a pending update that update_engine cannot name any more: what was
        recorded of that installation; None when unknown.
    :param on_wait: called with a clause that says what is waited for, whenever that changes.
    :raises TorcxdError: transient: the update failed, made no progress, was withdrawn, has an unknown version, the
        service is absent or keeps restarting, or the connection to the bus was lost (then connect again and call this
        again: an update that goes on meanwhile is followed).

    Cancellation stops following; update_engine goes on.
    """
    follower = _Follower(engine, progress_deadline, on_status, resolve_version, on_wait)
    with follower.scope:
        if not attempt:
            return await follower.read_once()
        async with engine.events() as events:
            return await follower.follow(events)
    raise follower.stalled()


class _Follower:
    """One follow: what was seen so far, and what that makes of the next status."""

    def __init__(
        self,
        engine: Engine,
        progress_deadline: float,
        on_status: Callable[[Status], None],
        resolve_version: Callable[[Status], str | None],
        on_wait: Callable[[str], None],
    ) -> None:
        # Cancelled when nothing changes for too long, whatever is awaited then; each change moves its deadline.
        self.scope = trio.CancelScope(deadline=trio.current_time() + progress_deadline)
        self._engine = engine
        self._progress_deadline = progress_deadline
        self._on_status = on_status
        self._resolve_version = resolve_version
        self._on_wait = on_wait
        self._status: Status | None = None
        self._reason = ""
        self._absent = False
        self._restarts = 0
        self._forget_attempt()

    def _forget_attempt(self) -> None:
        self._attempted_at: float | None = None
        self._checked_before = 0
        # The last operation that was not IDLE.
        self._before: Operation | None = None
        self._version: str | None = None

    async def read_once(self) -> UpdateOutcome:
        try:
            status = await self._engine.status()
        except DBusError as error:
            if error.absent:
                return UpdateOutcome(None, None, f"{NAME} is not on the bus")
            raise
        self._observe(status)
        if status.operation is not Operation.UPDATED_NEED_REBOOT:
            return UpdateOutcome(None, status, f"no update is pending: update_engine is {status.operation}")
        pending = self._pending(status)
        if pending is None:
            raise TransientError(
                f"an OS update waits for the reboot, but {NAME} does not say its version", hint=_UNKNOWN_HINT
            )
        return pending

    async def follow(self, events: EventSource) -> UpdateOutcome:
        status = await self._engine.status()
        self._observe(status)
        while True:
            if status.operation is Operation.IDLE and self._attempted_at is None:
                await self._attempt(status, events)
            elif (outcome := self._judge(status)) is not None:
                return outcome
            status = await self._next(events)
            self._observe(status)

    async def _attempt(self, status: Status, events: EventSource) -> None:
        # GetStatus has just said IDLE, so the signals that are queued are older than that.
        events.discard()
        self._forget_attempt()
        self._wait_for("update_engine to begin the check for an update")
        self._checked_before = status.last_checked_time
        try:
            await self._engine.attempt_update()
        except DBusError as error:
            if not _passing(error):
                raise
            # It went away or hangs: the next status tells, and IDLE leads here again.
            return
        self._attempted_at = trio.current_time()

    def _observe(self, status: Status) -> None:
        """Take notice of a status: tell the caller, and count it as progress if it is."""
        last, self._status = self._status, status
        if last is None or (last.operation, last.progress) != (status.operation, status.progress):
            self.scope.deadline = trio.current_time() + self._progress_deadline
        if status != last:
            self._on_status(status)

    def _judge(self, status: Status) -> UpdateOutcome | None:
        """The end, if *status* is one; None to go on."""
        match status.operation:
            case Operation.UPDATED_NEED_REBOOT:
                outcome = self._pending(status)
                if outcome is not None:
                    return outcome
                self._wait_for(f"the version of the installed OS update, which {NAME} does not say")
            case Operation.IDLE if self._attempted_at is not None:
                return self._judge_idle(status, self._attempted_at)
            case Operation.REPORTING_ERROR_EVENT:
                self._wait_for("update_engine to report a failed OS update")
            case _:
                self._wait_for(f"the OS update: {status.operation}")
        self._before = status.operation
        self._version = status.version
        return None

    def _judge_idle(self, status: Status, attempted_at: float) -> UpdateOutcome | None:
        if self._before is Operation.UPDATED_NEED_REBOOT:
            raise TransientError("the OS update was withdrawn (ResetStatus) before its version was known")
        if self._before is Operation.REPORTING_ERROR_EVENT or self._before in _INSTALLING:
            version = f" to {self._version}" if self._version else ""
            raise TransientError(f"the OS update{version} failed: {NAME} is IDLE again", hint=_JOURNAL)
        if self._before is not None or status.last_checked_time != self._checked_before:
            return UpdateOutcome(None, status, "the OS is up to date")
        if trio.current_time() - attempted_at >= IDLE_GRACE:
            return UpdateOutcome(None, status, f"update_engine began no check within {IDLE_GRACE:g} s")
        return None

    def _pending(self, status: Status) -> UpdateOutcome | None:
        if status.version is not None:
            return UpdateOutcome(status.version, status, "update_engine says so")
        if self._version is not None:
            return UpdateOutcome(self._version, status, "update_engine said so before it was restarted")
        resolved = self._resolve_version(status)
        if resolved is not None:
            return UpdateOutcome(resolved, status, "update_engine does not say; from the record")
        return None

    async def _next(self, events: EventSource) -> Status:
        """The next status: a signal's, or GetStatus's where a signal is late or not enough."""
        while True:
            with trio.move_on_after(POLL_INTERVAL):
                event = await events.__anext__()
                if isinstance(event, OwnerChange):
                    if not event.new:
                        self._left()
                        continue
                elif event.operation not in _FINAL:
                    return event
            try:
                status = await self._engine.status()
            except DBusError as error:
                if not _passing(error):
                    raise
                if error.absent:
                    self._left()
                continue
            self._absent = False
            return status

    def _left(self) -> None:
        """The service left the bus: its successor knows nothing of our attempt."""
        if self._absent:
            return
        self._absent = True
        self._restarts += 1
        if self._restarts > RESTARTS_LIMIT:
            raise TransientError(f"{NAME} left the bus {self._restarts} times during one OS update", hint=_JOURNAL)
        self._attempted_at = None
        self._wait_for("update_engine to come back to the bus")

    def _wait_for(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._on_wait(reason)

    def stalled(self) -> TransientError:
        """The error for a follow that ran into its deadline."""
        if self._status is None:
            return TransientError(f"{NAME} gave no answer within {self._progress_deadline:g} s", hint=_JOURNAL)
        where = f"it is {self._status.operation} at {self._status.progress:.0%}"
        if self._absent:
            where = f"it left the bus; it was {self._status.operation} at {self._status.progress:.0%}"
        unknown = self._status.operation is Operation.UPDATED_NEED_REBOOT
        return TransientError(
            f"{NAME} made no progress for {self._progress_deadline:g} s: {where}",
            hint=_UNKNOWN_HINT if unknown else _JOURNAL,
        )


_UNKNOWN_HINT: Final = "reboot into it by hand, or withdraw it with `update_engine_client -reset_status`"


def _passing(error: DBusError) -> bool:
    """Whether the service may merely be restarting: it is absent, or went away or hung before it answered."""
    return error.absent or error.name == NO_REPLY
