"""torcxd as a process of the simulated node: started, signalled, killed between two steps, looked after.

It is the program's own code, from the command's coroutine on. What a process gets from the kernel is simulated:
signals, threads (whose work is done at once), and the end in which nothing of it has an effect any more.
"""

from __future__ import annotations

import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import trio

from tests.simulation.world.disk import Disk
from tests.simulation.world.image import Image
from tests.simulation.world.network import Network
from tests.simulation.world.sockets import OWNER
from torcxd.cli import bootstrap, hook, run
from torcxd.cli.signals import SIGNALLED, until_signal
from torcxd.daemon.context import Context
from torcxd.daemon.failures import as_single
from torcxd.daemon.lock import only_instance
from torcxd.errors import EX_OK
from torcxd.host.notify import ServiceManager
from torcxd.lifecycle.effects import End
from torcxd.settings import Settings

T = TypeVar("T")

KILLED: Final = SIGNALLED + signal.SIGKILL


async def inline(work: Callable[..., T], *arguments: object, **_options: object) -> T:
    """Stands for ``trio.to_thread.run_sync``: a thread takes real time, in which the virtual clock would run ahead.

    Others get their turn before the work and after it, so that the process may die, or be told to stop, in between.
    """
    await trio.lowlevel.checkpoint()
    done = work(*arguments)
    await trio.lowlevel.cancel_shielded_checkpoint()
    return done


@dataclass(eq=False, slots=True)
class Process:
    """One run of the program.

    :ivar over: set when nothing of it is left.
    :ivar image: what was on the disk when it was killed.
    """

    command: str
    owner: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    image: Image | None = None
    mailboxes: list[tuple[tuple[int, ...], trio.MemorySendChannel[int]]] = field(default_factory=list)

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; whether it listens. One that does not would be ended by it."""
        heard = False
        for numbers, mailbox in self.mailboxes:
            if number in numbers:
                mailbox.send_nowait(number)
                heard = True
        return heard


class _Executioner(trio.abc.Instrument):
    """Calls *kill* after so many steps of the tasks of *process*."""

    def __init__(self, process: Process, steps: int, kill: Callable[[], None]) -> None:
        self._owner = process.owner
        self._left = steps
        self._kill = kill

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.context.get(OWNER) == self._owner:
            self._left -= 1
            if self._left == 0:
                self._kill()


class Programs:
    """All runs of the program on one node, one at a time.

    :param context: gives what a run starts with.
    :param reload: what SIGHUP reads.
    :ivar crashes: how many were killed.
    """

    def __init__(self, network: Network, disk: Disk, context: Callable[[], Context], reload: Callable[[], Settings]):
        self._network = network
        self._disk = disk
        self._context = context
        self._reload = reload
        self._numbers = 0
        self._executioner: _Executioner | None = None
        self.current: Process | None = None
        self.starts = 0
        self.crashes = 0
        self.dead: set[str] = set()

    async def run(self, command: str) -> int:
        """Run a command to its end, whatever ends it; returns the exit code."""
        self._numbers += 1
        self.starts += 1
        process = self.current = Process(command, f"{command}-{self._numbers}")
        codes: list[int] = []

        async def work() -> None:
            OWNER.set(process.owner)
            try:
                with process.scope:
                    codes.append(await self._outcome(command))
            except Exception:
                # What the clean-up of a process runs into that was killed, nobody sees.
                if process.image is None:
                    raise

        try:
            # A task of its own: what it starts inherits its name.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
        finally:
            self.pardon()
            if process.image is not None:
                self._disk.restore(process.image)
            self.current = None
            process.over.set()
        return codes[0] if codes and process.image is None else KILLED

    def kill(self, image: Image | None = None) -> bool:
        """End it as power cuts and the kernel do: from now on nothing of it has an effect.

        :param image: what is on the disk then; None for what is there now.
        :returns: whether there was anything to end.
        """
        process = self.current
        if process is None or process.image is not None:
            return False
        self.crashes += 1
        process.image = image or self._disk.freeze()
        self._network.dead.add(process.owner)
        self._network.cut(lambda each: each.owner == process.owner, gently=True)
        process.scope.cancel()
        return True

    async def wait(self) -> None:
        """Until nothing is left of a process."""
        if self.current is not None:
            await self.current.over.wait()

    @property
    def dying(self) -> bool:
        """Whether what is left of a process has no effect any more."""
        return self.current is not None and self.current.image is not None

    def kill_after(self, steps: int) -> None:
        """Kill it so many of its own steps from now, if it comes to that."""
        self.pardon()
        if self.current is not None:
            self._executioner = _Executioner(self.current, steps, self._execute)
            trio.lowlevel.add_instrument(self._executioner)

    def _execute(self) -> None:
        self._disk.fired["crash: at a step"] += self.kill()

    def pardon(self) -> None:
        """Take :meth:`kill_after` back."""
        if self._executioner is not None:
            trio.lowlevel.remove_instrument(self._executioner)
            self._executioner = None

    async def stop(self, patience: float) -> None:
        """End it as systemd does: politely, and after *patience* seconds for good."""
        process = self.current
        if process is None:
            return
        if process.signal(signal.SIGTERM):
            with trio.move_on_after(patience):
                await process.over.wait()
                return
        self.kill()
        await process.over.wait()

    @contextmanager
    def signals(self, *numbers: int) -> Iterator[AsyncIterator[int]]:
        """Stands for ``trio.open_signal_receiver``."""
        process = self.current
        assert process is not None
        send, receive = trio.open_memory_channel[int](math.inf)
        mailbox = (numbers, send)
        process.mailboxes.append(mailbox)
        try:
            yield receive
        finally:
            process.mailboxes.remove(mailbox)

    # The commands, as cli/dispatch.py begins and ends them.

    async def _outcome(self, command: str) -> int:
        commands: dict[str, Callable[[Context], Awaitable[int]]] = {
            "bootstrap": self._bootstrap,
            "run": self._run,
            "hook": self._hook,
        }
        try:
            return await commands[command](self._context())
        except Exception as raised:
            return as_single(raised).exit_code

    async def _bootstrap(self, ctx: Context) -> int:
        if ctx.kubelet_env.exists():
            return EX_OK
        engine = bootstrap.engine_for(ctx)
        with only_instance(ctx.layout):
            return _code(await until_signal(engine.run, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))

    async def _run(self, ctx: Context) -> int:
        with only_instance(ctx.layout):
            outcome = await run._serve(ctx, ServiceManager(ctx.environment), self._reload)
        return EX_OK if isinstance(outcome, signal.Signals) else _code(outcome)

    async def _hook(self, ctx: Context) -> int:
        with only_instance(ctx.layout):
            return _code(await hook._answer(ctx, sleep=True))


def _code(outcome: Any) -> int:
    return outcome.exit_code if isinstance(outcome, End) else SIGNALLED + outcome
