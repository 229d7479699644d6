"""A machine with a real systemd, booted in systemd-nspawn, that can reboot: what an end-to-end test runs on.

    machine = Machine([torcxd, debian], tmp_path)
    machine.write("/etc/systemd/system/hello.service", "…")
    async with machine.running():
        hello = await machine.event("hello", boot=1)
        await machine.power_off()
    machine.journal(unit="hello.service")

Nothing in here sleeps or polls. Whatever runs in the machine tells the test what happened by ``/e2e/report NAME
[KEY=VALUE …]``, which returns once the test knows. A machine that asks for a reboot is booted again, with a new boot
id, as a real one; one that powers off is at its end. It shares the test's network, so that a server on the loopback
address is reachable; it can change neither interfaces nor routes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from tests.e2e.tree import OVERLAY_SCRIPT

# systemd-nspawn's exit status when the machine asks to be rebooted and a supervisor is expected to do so.
REBOOT_STATUS: Final = 133
# No test needs more; a machine that reboots for ever is ended by this.
MAX_BOOTS: Final = 6
# Fail-safes only, no test waits for them: several times what a slow machine took.
DEADLINE: Final = 180.0
POWER_OFF_DEADLINE: Final = 60.0

# Where the host's control groups are: version 2, or version 1 with systemd's own hierarchies.
_HIERARCHIES: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
# Numbers each start of a machine in this process.
_STARTS: Final = itertools.count(1)
# Run systemd-nspawn with the arguments after the fifth in the control groups "$5", on the overlay of "$1" to "$4".
_NSPAWN_SCRIPT: Final = (
    OVERLAY_SCRIPT + 'for each in $5; do mkdir -p "$each"; echo $$ >"$each/cgroup.procs"; done\n'
    'root=$4; shift 5; exec systemd-nspawn --directory="$root" "$@"'
)

_REPORT: Final = '''\
#!/usr/bin/python3
"""Tell the test what happened; return once it knows."""
import json, socket, sys

report = {"event": sys.argv[1], "fields": dict(each.split("=", 1) for each in sys.argv[2:])}
with open("/proc/sys/kernel/random/boot_id") as stream:
    report["boot_id"] = stream.read().strip()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/e2e/socket")
    connection.sendall(json.dumps(report).encode() + b"\\n")
    connection.recv(1)
'''

_BOOT_UNIT: Final = """\
[Unit]
Description=Tell the test that the system bus and the service manager can be used
DefaultDependencies=no
Requires=dbus.socket
After=dbus.socket
Before=basic.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/e2e/report boot
"""


def _members(group: Path) -> list[int]:
    """The processes in a control group; none in one that the machine, still going down, has removed meanwhile."""
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text("ascii").split()]
    except OSError:
        # ENODEV, too: the file was open when its group went.
        return []


class MachineStoppedError(Exception):
    """The machine ended without the event that the test was waiting for."""


@dataclass(frozen=True, slots=True)
class Event:
    """What the machine reported.

    :param boot: 1 for the machine's first boot, and so on.
    """

    name: str
    boot: int
    boot_id: str
    fields: Mapping[str, str]


class Machine:
    """A machine on an overlay over *layers*; it is not running yet, so that files can be put into it.

    :param layers: directories, the uppermost first.
    :param folder: an empty directory for the overlay, the console's output and the journal.
    """

    def __init__(self, layers: Sequence[Path], folder: Path) -> None:
        self.layers = tuple(layers)
        self.folder = folder
        self.upper = folder / "upper"
        self._cgroups: list[Path] = []
        self._binds: list[str] = []
        self.events: list[Event] = []
        self.boots = 0
        self._boot_ids: list[str] = []
        self._changed = trio.Condition()
        self._ended = False
        self._process: trio.Process | None = None
        for each in ("upper", "work", "root"):
            (folder / each).mkdir(parents=True)
        self.write("/etc/systemd/system/e2e-boot.service", _BOOT_UNIT)
        self.enable("e2e-boot.service", "sysinit.target")

    # Before it runs.

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Put a file into the machine."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def enable(self, unit: str, wanted_by: str) -> None:
        """Make *wanted_by* pull in *unit*, as its symbolic link in ``/etc`` does."""
        link = self.path(f"/etc/systemd/system/{wanted_by}.wants/{unit}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/etc/systemd/system/{unit}")

    def bind(self, host: Path, inside: str) -> None:
        """Show a directory of the host in the machine, read-only."""
        self._binds.append(f"--bind-ro={host}:{inside}")

    def path(self, absolute: str) -> Path:
        """Where on the host a file lies that was written for, or by, this machine."""
        return self.upper / absolute.lstrip("/")

    def execute(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine's files without booting it; its changes stay.

        :raises subprocess.CalledProcessError: when *check* is set and it fails; its output is in the exception.
        """
        try:
            return subprocess.run(
                self._nspawn("--as-pid2", "--pipe", *command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=check,
            )
        finally:
            self._clear_cgroups()

    # While it runs.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Boot the machine, and boot it again whenever it asks; end it on leaving.

        :raises trio.TooSlowError: when the whole takes longer than DEADLINE; the journal's last lines say where it was.
        """
        # A socket's path must be short, and pytest's folders are long.
        exchange = Path(tempfile.mkdtemp(prefix="e2e-"))
        try:
            report = exchange / "report"
            report.write_text(_REPORT, encoding="utf-8")
            report.chmod(0o755)
            listener = trio.socket.socket(trio.socket.AF_UNIX)
            await listener.bind(os.fspath(exchange / "socket"))
            listener.listen()
            with trio.fail_after(DEADLINE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.serve_listeners, self._receive, [trio.SocketListener(listener)])
                    nursery.start_soon(self._keep_booting, exchange)
                    yield
                    nursery.cancel_scope.cancel()
        except trio.TooSlowError as error:
            error.add_note(self.last_words())
            raise
        finally:
            shutil.rmtree(exchange)
            self._clear_cgroups()

    async def event(self, name: str, *, boot: int | None = None) -> Event:
        """Wait until the machine has reported *name* (in its boot number *boot*); at once if it has already.

        :raises MachineStoppedError: when it powers off without.
        """
        async with self._changed:
            while True:
                for each in self.events:
                    if each.name == name and boot in {None, each.boot}:
                        return each
                if self._ended:
                    seen = ", ".join(f"{each.name}@{each.boot}" for each in self.events)
                    raise MachineStoppedError(f"no {name}; events: {seen or 'none'}\n{self.last_words()}")
                await self._changed.wait()

    async def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run *command* in the running machine; wait for its boot event first.

        :raises subprocess.CalledProcessError: when *check* is set and it fails.
        """
        enter = ["nsenter", f"--target={self._leader()}", "--all", "--root", "--wd", "--", *command]
        try:
            return await trio.run_process(enter, capture_stdout=True, capture_stderr=True, check=check)
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr.decode(errors="replace"))
            raise

    async def journal_line(self, unit: str, pattern: str, *, count: int = 1) -> None:
        """Wait until the unit's journal of this boot has *count* lines that match *pattern* (grep -E)."""
        follow = f"journalctl --follow --lines=all --boot --output=cat --unit={unit} 2>/dev/null"
        await self.run(
            "bash", "-c", f'grep --extended-regexp --max-count={count} -e "$1" < <({follow})', "bash", pattern
        )

    async def journal_entries(self, *matches: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until *count* entries of this boot's journal match each ``FIELD=value``; returns them, oldest first."""
        follow = f"journalctl --follow --lines=all --boot --output=json {shlex.join(matches)} 2>/dev/null"
        found = await self.run("bash", "-c", f"head --lines={count} < <({follow})")
        return [json.loads(line) for line in found.stdout.splitlines()]

    def inside(self, absolute: str) -> Path:
        """A file as the running machine sees it, with what is mounted there; :meth:`path` is what lies on disk."""
        return Path(f"/proc/{self._leader()}/root") / absolute.lstrip("/")

    async def power_off(self) -> None:
        """Shut the machine down in order, and wait until it is."""
        await self.run("systemctl", "poweroff", "--no-block")
        await self.ended()

    async def ended(self) -> None:
        """Wait until the machine has powered off by itself.

        :raises trio.TooSlowError: after POWER_OFF_DEADLINE.
        """
        with trio.fail_after(POWER_OFF_DEADLINE):
            async with self._changed:
                while not self._ended:
                    await self._changed.wait()

    # Afterwards.

    def journal(self, *, unit: str | None = None, boot: int | None = None) -> list[dict[str, Any]]:
        """The machine's journal, oldest entry first, of one unit and of one boot where given."""
        matches = [f"_SYSTEMD_UNIT={unit}", "+", f"UNIT={unit}"] if unit else []
        output = subprocess.run(
            ["journalctl", f"--directory={self.path('/var/log/journal')}", "--output=json", "--no-pager", *matches],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        entries: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
        if boot is None:
            return entries
        boot_id = self._boot_ids[boot - 1].replace("-", "")
        return [each for each in entries if each["_BOOT_ID"] == boot_id]

    def messages(self, *, unit: str | None = None, boot: int | None = None) -> str:
        """The journal's messages, one a line."""
        return "\n".join(str(each.get("MESSAGE", "")) for each in self.journal(unit=unit, boot=boot))

    def last_words(self, lines: int = 80) -> str:
        """The end of the journal, and of the console, which tells what the journal could not."""
        console = self.folder / "console"
        shown = console.read_text(errors="replace").splitlines()[-lines:] if console.exists() else []
        told = self.messages().splitlines()[-lines:] if self.path("/var/log/journal").exists() else []
        return "\n".join(["Console:", *shown, "Journal:", *told])

    # How it works.

    def _nspawn(self, *arguments: str) -> list[str]:
        lower = ":".join(map(str, self.layers))
        paths = (lower, self.upper, self.folder / "work", self.folder / "root")
        # A control group of its own for each start: two systemds in one would end each other's processes, and of one
        # that was used before the kernel may have let go in some hierarchies only: systemd-nspawn gives up there.
        name = f"e2e-{os.getpid()}-{next(_STARTS)}"
        groups = [Path(each, name) for each in _HIERARCHIES if Path(each, "cgroup.procs").exists()]
        self._cgroups += groups
        return [
            *("unshare", "--mount", "--propagation=private", "sh", "-euc", _NSPAWN_SCRIPT, "sh", *map(str, paths)),
            " ".join(map(str, groups)),
            "--quiet",
            # There is no systemd on the host to register with; its own unit is none of the machine's business either.
            "--register=no",
            "--keep-unit",
            f"--machine={name}",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            *arguments,
        ]

    def _clear_cgroups(self) -> None:
        """End what is left of the machine: its systemd outlives a systemd-nspawn that was killed."""
        groups = [Path(directory) for top in self._cgroups for directory, _, _ in os.walk(top, topdown=False)]
        for pid in {pid for group in groups for pid in _members(group)}:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                # Readable once the process has ended; a machine's first one ends after all others.
                select.select([descriptor], [], [])
                os.close(descriptor)
        for group in groups:
            # The kernel may not have let go of the last one yet; an empty group that stays harms nobody.
            with contextlib.suppress(OSError):
                group.rmdir()
        self._cgroups = [each for each in self._cgroups if each.exists()]

    async def _keep_booting(self, exchange: Path) -> None:
        try:
            while self.boots < MAX_BOOTS:
                self.boots += 1
                if await self._boot(exchange) != REBOOT_STATUS:
                    return
        finally:
            self._ended = True
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._changed.notify_all()

    async def _boot(self, exchange: Path) -> int:
        command = self._nspawn("--boot", "--console=pipe", f"--bind={exchange}:/e2e", *self._binds)
        async with trio.open_nursery() as nursery:
            with (self.folder / "console").open("ab") as console:
                # Killed rather than asked when the test is over: nothing in the machine is worth a shutdown then.
                run = partial(
                    trio.run_process,
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    check=False,
                    deliver_cancel=_kill,
                )
                self._process = await nursery.start(run)
        return self._process.returncode or 0

    async def _receive(self, stream: trio.SocketStream) -> None:
        """Take one report: a JSON object and a newline; the end of the connection is the acknowledgement."""
        data = bytearray()
        async with stream:
            async for chunk in stream:
                data += chunk
                if data.endswith(b"\n"):
                    break
            report = json.loads(data)
            if report["boot_id"] not in self._boot_ids:
                self._boot_ids.append(report["boot_id"])
            boot = self._boot_ids.index(report["boot_id"]) + 1
            async with self._changed:
                self.events.append(Event(report["event"], boot, report["boot_id"], report["fields"]))
                self._changed.notify_all()

    def _leader(self) -> int:
        """The machine's first process, as the host numbers it: the only child of systemd-nspawn once it boots."""
        assert self._process is not None, "the machine does not run"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        return int(children.split()[0])


async def _kill(process: trio.Process) -> None:
    process.kill()
