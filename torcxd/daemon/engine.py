"""The event loop: events go to the core one at a time; what it answers is made durable, told, and carried out.

Each state's effects run in tasks of their own, which are cancelled when the state is left or the effects are replaced.
An effect talks back by reporting events, and goes on only once its event is on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from torcxd.clock import Clock
from torcxd.daemon.failures import as_single
from torcxd.daemon.statefile import StateFile
from torcxd.errors import Kind, TransientError
from torcxd.lifecycle import retry
from torcxd.lifecycle.effects import Effect, End, RetryAt
from torcxd.lifecycle.events import BootVerified, Event, Failed, RetryDue, Started
from torcxd.lifecycle.machine import Lifecycle, Step
from torcxd.lifecycle.snapshot import Snapshot

log = logging.getLogger(__name__)

Report = Callable[[Event], Awaitable[None]]
Perform = Callable[[Effect, Report], Awaitable[None]]


class Observer(Protocol):
    """Told of each step once it is durable: the journal, the terminal."""

    def stepped(self, step: Step, event: Event) -> None: ...


class Engine:
    """Runs one lifecycle until an ``End`` effect.

    :param perform: carries out one effect and reports what came of it; raises ``TorcxdError``.
    :param random: gives numbers in [0, 1) for jitter.
    :param decided: told of each snapshot before it is durable: for what must not wait while the disk is full.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        state: StateFile,
        perform: Perform,
        *,
        boot_id: str,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer,
        decided: Callable[[Snapshot], None] | None = None,
    ) -> None:
        self._lifecycle = lifecycle
        self._state = state
        self._perform = perform
        self._boot_id = boot_id
        self._clock = clock
        self._random = random
        self._observer = observer
        self._decided = decided
        self._waits_for_disk = False
        self._scope = trio.CancelScope()
        self._idle = trio.Event()
        self._idle.set()
        # No buffer: an effect that is cancelled before its event was taken has reported nothing.
        self._inbox, self._outbox = trio.open_memory_channel[tuple[Event | None, trio.Event]](0)

    async def run(self) -> End:
        """Run to the end.

        Cancelling it cancels the effects; what was reported until then is on disk.

        :raises TransientError: when the state cannot be made durable for as long as the policy retries.
        """
        started = Started(self._clock.now(), self._boot_id)
        step = self._lifecycle.start(await trio.to_thread.run_sync(self._state.load), started)
        event: Event = started
        handled = trio.Event()
        async with trio.open_nursery() as nursery:
            while True:
                if self._decided is not None:
                    self._decided(step.snapshot)
                # Durable first: a crash between the two repeats an effect, and effects are idempotent.
                await self._save(step.snapshot)
                self._tell(step, event)
                handled.set()
                end = next((each for each in step.effects if isinstance(each, End)), None)
                if end is not None:
                    nursery.cancel_scope.cancel()
                    return end
                if step.effects or step.move is not None:
                    await self._stop_effects()
                    self._start_effects(nursery, step.effects)
                event, handled = await self._next_event()
                step = self._lifecycle.step(step.snapshot, event)
        raise AssertionError("the loop ends with End only")

    async def report(self, event: Event) -> None:
        """Hand over an event; returns once it is handled and durable. Sources and effects call this."""
        handled = trio.Event()
        await self._inbox.send((event, handled))
        await handled.wait()

    async def ping(self) -> None:
        """Return once the loop has come round: the proof, for a watchdog, that it handles events."""
        if self._waits_for_disk:
            # It handles nothing until its state is on disk, on purpose: no reason to restart it.
            await trio.lowlevel.checkpoint()
            return
        handled = trio.Event()
        await self._inbox.send((None, handled))
        await handled.wait()

    async def _next_event(self) -> tuple[Event, trio.Event]:
        while True:
            event, handled = await self._outbox.receive()
            if event is not None:
                return event, handled
            handled.set()

    def _start_effects(self, nursery: trio.Nursery, effects: tuple[Effect, ...]) -> None:
        self._scope, self._idle = trio.CancelScope(), trio.Event()
        nursery.start_soon(self._run_effects, effects, self._scope, self._idle)

    async def _stop_effects(self) -> None:
        self._scope.cancel()
        await self._idle.wait()

    async def _run_effects(self, effects: tuple[Effect, ...], scope: trio.CancelScope, idle: trio.Event) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    for each in effects:
                        nursery.start_soon(self._run_effect, each)
        finally:
            idle.set()

    async def _run_effect(self, effect: Effect) -> None:
        if isinstance(effect, RetryAt):
            # The clock may have been set back since: a node whose clock was wrong at boot must not wait for years.
            await trio.sleep(min(max(0.0, effect.when - self._clock.now()), retry.LONGEST))
            await self.report(RetryDue(self._clock.now()))
            return
        try:
            await self._perform(effect, self.report)
        except* Exception as raised:
            # Also of an effect that is cut off at the same moment: what is left of the group is its cancellation, and
            # ends the report, too.
            error = as_single(raised)
            await self.report(
                Failed(
                    self._clock.now(),
                    message=error.message,
                    hint=error.hint,
                    kind=error.kind,
                    exit_code=error.exit_code,
                    jitter=self._random(),
                    retry_after=error.retry_after,
                )
            )

    async def _save(self, snapshot: Snapshot) -> None:
        """Make the snapshot durable, trying again while the disk is full."""
        first = self._clock.now()
        attempt = 0
        while True:
            try:
                await trio.to_thread.run_sync(self._state.save, snapshot)
                return
            except TransientError as error:
                attempt += 1
                allowed = self._lifecycle.policy.retry_for
                if allowed is not None and self._clock.now() - first >= allowed:
                    raise
                pause = retry.delay(attempt, self._random())
                log.warning("%s. Nothing goes on before the state is recorded; next try in %.0f s.", error, pause)
                self._waits_for_disk = True
                await trio.sleep(pause)
                self._waits_for_disk = False

    def _tell(self, step: Step, event: Event) -> None:
        if step.move is not None:
            self._state.record(
                {
                    "at": event.at,
                    "boot_id": self._boot_id,
                    "from": step.move.source,
                    "to": step.move.dest,
                    "event": step.move.trigger,
                    "because": step.move.because,
                    **({"detail": event.running.detail} if isinstance(event, BootVerified) else {}),
                }
            )
        elif isinstance(event, Failed):
            self._state.record(
                {
                    "at": event.at,
                    "boot_id": self._boot_id,
                    "from": step.snapshot.state,
                    "to": step.snapshot.state,
                    "event": event.trigger,
                    "because": event.message,
                    "attempt": step.snapshot.failure.attempts if step.snapshot.failure else 0,
                    "final": event.kind is not Kind.TRANSIENT,
                }
            )
        self._observer.stepped(step, event)
