"""A stand-in for update_engine that plays scripted updates, with the real one's habits.

Right after AttemptUpdate it may still say IDLE; ResetStatus is silent; after a restart a finished update has the
version 0.0.0; AttemptUpdate is ignored unless it is IDLE; a failure passes through REPORTING_ERROR_EVENT back to IDLE.

In-process it is a :class:`StandIn`; on a real system bus it runs as a program that needs nothing but jeepney and trio::

    python -m torcxd.sandbox.update_engine --bus system --scenario update --version 1632.3.0 --seconds 3
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from torcxd.dbus.connection import system_bus_address
from torcxd.dbus.service import ErrorReply, Interface, Method
from torcxd.dbus.update_engine import INTERFACE, NAME, PATH, STATUS_PREFIX, STATUS_SIGNATURE, Operation
from torcxd.errors import TorcxdError
from torcxd.sandbox.scenarios import (
    NULL_VERSION,
    SCENARIOS,
    Scenario,
    Step,
    failure,
    load_scenario,
    no_update,
    stuck,
    update,
)
from torcxd.sandbox.service import StandIn

# Whoever takes the stand-in takes what it plays.
__all__ = ["POLICY", "Installed", "Scenario", "Step", "UpdateEngine", "failure", "no_update", "stuck", "update"]

# What a system bus needs before anyone can own the name; belongs into /etc/dbus-1/system.d/com.coreos.update1.conf.
POLICY: Final = f"""\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy user="root">
    <allow own="{NAME}"/>
    <allow send_destination="{NAME}"/>
  </policy>
  <policy context="default">
    <allow send_destination="{NAME}" send_interface="{INTERFACE}" send_member="GetStatus"/>
    <allow send_destination="{NAME}" send_interface="org.freedesktop.DBus.Introspectable"/>
  </policy>
</busconfig>
"""


@dataclass(slots=True)
class Installed:
    """The update that waits for the reboot, if any; with *marker* it survives the process, as the real one's does.

    :param marker: a file that does not survive a boot: :attr:`torcxd.paths.Layout.os_update_marker`.
    """

    marker: Path | None = None
    pending: bool = False

    def load(self) -> bool:
        if self.marker is not None:
            self.pending = self.marker.exists()
        return self.pending

    def store(self, pending: bool) -> None:
        self.pending = pending
        if self.marker is None:
            return
        if pending:
            self.marker.parent.mkdir(parents=True, exist_ok=True)
            # As the real one writes it: nothing, over what there is. There two of them are minutes apart; here they may
            # come within a tick of the clock that gives files their time.
            self.marker.write_bytes(b"")
            now = time.time_ns()
            os.utime(self.marker, ns=(now, now))
        else:
            self.marker.unlink(missing_ok=True)


@dataclass(slots=True)
class _State:
    """GetStatus's answer."""

    last_checked_time: int = 0
    progress: float = 0.0
    operation: str = Operation.IDLE
    version: str = NULL_VERSION
    size: int = 0

    def body(self) -> tuple[Any, ...]:
        return (self.last_checked_time, self.progress, STATUS_PREFIX + self.operation, self.version, self.size)


class UpdateEngine(StandIn):
    """``com.coreos.update1``.

    :param scenario: what each AttemptUpdate leads to; may be replaced at any time.
    :param installed: where a finished update is remembered.
    :param on_installed: called with the version once an update waits for the reboot.
    :param now: the time of day, for ``last_checked_time``.
    """

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        installed: Installed | None = None,
        on_installed: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(NAME)
        self.scenario = scenario or Scenario()
        self.attempts = 0
        """AttemptUpdate calls that had an effect."""
        self.ignored = 0
        """AttemptUpdate calls that had none, because something was in progress."""
        self._installed = installed or Installed()
        self._on_installed = on_installed
        self._now = now
        self._state = _State()
        self._playing = False
        methods = {
            "AttemptUpdate": Method("", "", self._attempt_update),
            "ResetStatus": Method("", "", self._reset_status),
            "GetStatus": Method("", STATUS_SIGNATURE, self._get_status),
        }
        self.export(PATH, Interface(INTERFACE, methods, signals={"StatusUpdate": STATUS_SIGNATURE}))

    async def started(self) -> None:
        """A new process knows that an update waits for the reboot, but not which."""
        self._playing = False
        self._state = _State()
        if self._installed.load():
            self._state.operation = Operation.UPDATED_NEED_REBOOT

    async def show(self, step: Step) -> None:
        """Take on a state, and send its signal unless it is silent."""
        state = self._state
        # The real one notes the time when the server has answered.
        if state.operation == Operation.CHECKING_FOR_UPDATE and step.operation != Operation.REPORTING_ERROR_EVENT:
            state.last_checked_time = int(self._now())
        state.operation, state.progress = step.operation, step.progress
        state.version, state.size = step.version, step.size
        if step.operation == Operation.UPDATED_NEED_REBOOT:
            self._installed.store(True)
            if self._on_installed is not None:
                self._on_installed(step.version)
        if not step.silent:
            await self.emit(PATH, INTERFACE, "StatusUpdate", *state.body())

    async def _attempt_update(self) -> tuple[Any, ...]:
        if self._playing or self._state.operation != Operation.IDLE:
            self.ignored += 1
            return ()
        self.attempts += 1
        self._playing = True
        self.start_soon(self._play, self.scenario)
        return ()

    async def _play(self, scenario: Scenario) -> None:
        await trio.sleep(scenario.stale_idle)
        for step in scenario.steps:
            await self.show(step)
            await trio.sleep(step.seconds)
        self._playing = False

    async def _reset_status(self) -> tuple[Any, ...]:
        if self._state.operation == Operation.UPDATED_NEED_REBOOT:
            self._installed.store(False)
            self._state = _State(self._state.last_checked_time)
        elif self._state.operation != Operation.IDLE:
            raise ErrorReply("org.chromium.UpdateEngine.Error.Failed", "Reset not allowed in this state.")
        return ()

    async def _get_status(self) -> tuple[Any, ...]:
        return self._state.body()


def _running_version(os_release: Path) -> str:
    for line in os_release.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_ID":
            return value.strip("\"'")
    return ""


async def _run(engine: UpdateEngine, address: str) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.serve, address)
        print(f"{NAME} is on {address}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; ends when the bus does. Exit 0, or 1 when it could not get onto the bus."""
    parser = argparse.ArgumentParser(prog="torcxd.sandbox.update_engine", description="A stand-in for update_engine.")
    parser.add_argument("--bus", default="system", help="'system', or an address like unix:path=/tmp/bus")
    parser.add_argument("--scenario", default="update", help=f"a JSON file, or one of {', '.join(SCENARIOS)}")
    parser.add_argument("--version", default="1632.3.0", help="the version that the update server offers")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a named scenario takes")
    parser.add_argument("--stale-idle", type=float, help="seconds after AttemptUpdate in which nothing changes yet")
    parser.add_argument("--marker", type=Path, help="file that remembers a finished update until the next boot")
    parser.add_argument(
        "--os-release", type=Path, help="file whose VERSION_ID runs now: if it is the offered one, there is no update"
    )
    parser.add_argument("--print-policy", action="store_true", help="print the bus policy that it needs, and end")
    options = parser.parse_args(arguments)
    if options.print_policy:
        print(POLICY, end="")
        return 0
    code = 0
    try:
        scenario = _choose(options)
        engine = UpdateEngine(scenario, installed=Installed(options.marker))
        address = system_bus_address() if options.bus == "system" else options.bus
        trio.run(_run, engine, address)
    except* (TorcxdError, RuntimeError, OSError, ValueError, TypeError) as group:
        print(f"torcxd.sandbox.update_engine: {group.exceptions[0]}", file=sys.stderr)
        code = 1
    return code


def _choose(options: argparse.Namespace) -> Scenario:
    name = options.scenario
    if name not in SCENARIOS:
        scenario = load_scenario(Path(name).read_text(encoding="utf-8"))
    elif options.os_release is not None and _running_version(options.os_release) == options.version:
        scenario = no_update(options.version, options.seconds)
    else:
        scenario = SCENARIOS[name](options.version, options.seconds)
    return scenario if options.stale_idle is None else Scenario(scenario.steps, options.stale_idle)


if __name__ == "__main__":
    raise SystemExit(main())
