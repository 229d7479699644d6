"""A sandboxed node on the test bench: runs the program on it, and judges each run and the node."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tests.integration.bootstrap.program import Adversary, ForkServer, Process
from torcxd.dbus.bus import open_bus
from torcxd.dbus.update_engine import UpdateEngine
from torcxd.sandbox.sandbox import NEW_OS, Plot, Sandbox, open_sandbox
from torcxd.sandbox.update_engine import Step

# A fail-safe only: nothing in a test waits for it.
TOO_LONG: Final = 20.0
# How often the disk is looked at where no event tells of a change.
_LOOK: Final = 0.01
KUBELET_ENV: Final = "/etc/kubernetes/kubelet.env"
# An update-less node with quick peers: what most tests of failures start from.
QUIET: Final = Plot(next_os=None, update_seconds=0, image_bytes=20_000)
# With an OS update, as quick as it can be seen.
UPDATING: Final = Plot(update_seconds=0.05, image_bytes=20_000)


@dataclass(slots=True)
class Bench:
    """One node and the runs on it.

    :ivar processes: every run so far.
    :ivar secrets: what no run may ever print, and no state file hold.
    :ivar judged: whether the node is judged at the end of its test.
    """

    box: Sandbox
    server: ForkServer
    processes: list[Process] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    judged: bool = True

    @property
    def root(self) -> Path:
        return self.box.root

    def path(self, absolute: str) -> Path:
        return self.box.node.layout.at(absolute)

    @property
    def bootstrapped(self) -> bool:
        return self.path(KUBELET_ENV).exists()

    @property
    def kubelet_env(self) -> dict[str, str]:
        lines = self.path(KUBELET_ENV).read_text().splitlines()
        return {key: value.strip('"') for key, value in (line.split("=", 1) for line in lines)}

    def stored(self) -> set[str]:
        """What the user store holds: ``<os>/<file>``, temporary files included."""
        store = self.path("/var/lib/torcx/store")
        return {str(each.relative_to(store)) for each in store.rglob("*") if each.is_file()}

    def bucket_paths(self) -> list[str]:
        """What was asked of the bucket, in order."""
        return [each.path for each in self.box.bucket_server.requests]

    def set_mappings(self, text: str, *, namespace: str = "tectonic-system") -> None:
        """Put the ConfigMap with the runtime mappings into the cluster."""
        data = {"runtime-mappings.yaml": text}
        self.box.api.put_config_map(namespace, "tectonic-torcx-runtime-mappings", data)

    async def pending_update(self, *, version: str = NEW_OS) -> None:
        """The OS update is installed and waits for the reboot, whoever asked for it; update_engine says *version*."""
        await self.box.update_engine.show(Step("UPDATED_NEED_REBOOT", version=version))
        self.box.node.pending = NEW_OS

    def trust_everything(self) -> None:
        """Tell the checker that unsigned manifests count: the node was told so."""
        published = self.box.bucket.manifests
        self.box.checker.signed = published

    async def holds_partial(self, size: int) -> None:
        """Wait until a download has come to *size* bytes on the disk."""
        staging = self.path("/var/lib/torcx/torcxd-staging")
        while not any(each.stat().st_size >= size for each in staging.glob("*.part")):
            await trio.sleep(_LOOK)

    async def staged(self, count: int) -> None:
        """Wait until *count* whole downloads lie in staging."""
        staging = self.path("/var/lib/torcx/torcxd-staging")
        while len([each for each in staging.glob("sha512-*") if not each.suffix]) < count:
            await trio.sleep(_LOOK)

    @contextmanager
    def small_disk(self, absolute: str, size: int) -> Iterator[Path]:
        """A file system of *size* bytes on the node's folder *absolute*; what is in the folder moves there and back."""
        path = self.path(absolute)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as kept:
            _move(path, Path(kept))
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
            try:
                _move(Path(kept), path)
                yield path
                _move(path, Path(kept))
            finally:
                subprocess.run(["umount", path], check=True)
            _move(Path(kept), path)

    @contextmanager
    def read_only(self, absolute: str) -> Iterator[None]:
        """The node's folder *absolute* cannot be written, not even by root, for the length of the block."""
        path = self.path(absolute)
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", path, path], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
            yield
        finally:
            subprocess.run(["umount", path], check=True)

    @asynccontextmanager
    async def start(
        self,
        command: str,
        *flags: str,
        adversary: Adversary | None = None,
        entry: str = "torcxd",
        environment: dict[str, str] | None = None,
    ) -> AsyncIterator[Process]:
        """Run ``torcxd COMMAND`` on this node for the length of the block; leaving it waits for its end."""
        arguments = [*([command] if entry == "torcxd" else []), f"--root={self.root}", *flags]
        variables = {**self.box.process_environment, **(environment or {})}
        async with self.server.start(arguments, variables, entry=entry, adversary=adversary) as process:
            self.processes.append(process)
            yield process

    async def torcxd(self, command: str, *flags: str) -> Process:
        """Run ``torcxd COMMAND`` to its end."""
        async with self.start(command, *flags) as process:
            pass
        return process

    async def bootstrap(
        self,
        *flags: str,
        adversary: Adversary | None = None,
        entry: str = "torcxd",
        environment: dict[str, str] | None = None,
    ) -> Process:
        """Run ``torcxd bootstrap`` until it ends, or until its request to reboot has been accepted and noted: then it
        is ended as systemd does on the way down.
        """
        asked = self.box.reboot_asked
        every = ("--api-retry-for=0.5s", *self.box.flags, *flags)
        async with (
            self.start("bootstrap", *every, adversary=adversary, entry=entry, environment=environment) as process,
            trio.open_nursery() as nursery,
        ):

            async def stop_when_rebooting() -> None:
                await asked.wait()
                process.send(signal.SIGTERM)

            nursery.start_soon(stop_when_rebooting)
            await process.ended()
            nursery.cancel_scope.cancel()
        return process

    async def to_the_end(self, *flags: str, most_boots: int = 5) -> Process:
        """Run ``torcxd bootstrap`` through its reboots until it ends by itself."""
        for _ in range(most_boots):
            reboots = self.box.reboots
            process = await self.bootstrap(*flags)
            if self.box.reboots == reboots:
                return process
            await self.box.reboot()
        raise AssertionError(f"{most_boots} reboots were asked for:\n{process.stderr}")

    async def status(self) -> dict[str, Any]:
        """What ``torcxd status --json`` says."""
        process = await self.torcxd("status", "--json")
        assert process.code == 0, process.stderr
        report: dict[str, Any] = json.loads(process.stdout)
        return report

    async def status_when(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What ``torcxd status --json`` says as soon as *condition* holds for it."""
        while not condition(report := await self.status()):
            pass
        return report

    async def reset(self) -> None:
        """Somebody withdraws the update that waits for the reboot; update_engine says nothing."""
        async with open_bus(self.box.bus.address) as bus:
            await UpdateEngine(bus).reset_status()
        self.box.node.pending = None

    async def recorded(self, what: str) -> None:
        """Wait until the state file has something to say about *what*."""
        while not (await self.status())[what]:
            await trio.sleep(_LOOK)

    async def assert_told(self, words: str, *, attempts: int = 1) -> None:
        """``status`` and ``history`` tell of the failure: what, how often, and when it is tried again."""
        report = await self.status()
        assert report["last_error"], report
        assert words in report["last_error"]["message"]
        assert report["attempts"] >= attempts
        assert report["next_try"] >= report["last_error"]["last_at"]
        history = await self.torcxd("history")
        assert words in history.stdout
        assert f"failed (attempt {attempts})" in history.stdout

    async def assert_tried_again(self, *flags: str, words: str) -> Process:
        """The run fails, shows it and means to try again, and is ended then; no kubelet is released."""
        async with self.start("bootstrap", *self.box.flags, *flags) as process:
            await process.says("failed (attempt 1)")
            await self.assert_told(words)
            assert (await self.status())["last_error"]["hint"]
            process.send(signal.SIGTERM)
        assert process.code == 128 + signal.SIGTERM
        assert not self.bootstrapped
        return process

    def assert_failed(self, process: Process, code: int, *words: str) -> None:
        """It ended with *code*, said these words and a hint, and released no kubelet."""
        assert process.code == code, process.stderr
        error = process.stderr[process.stderr.find("torcxd: error:") :]
        for each in words:
            assert each in error, f"{each!r} is not in:\n{process.stderr}"
        assert "hint:" in error, process.stderr
        assert not self.bootstrapped

    def judge(self) -> None:
        """What must hold after every run: no invariant is broken, nobody printed a traceback or a secret."""
        violations = self.box.checker.check()
        assert not violations, "\n".join(violations)
        told = [each.stdout + each.stderr for each in self.processes]
        state = self.path("/var/lib/torcxd")
        told += [each.read_text() for each in (state / "state.json", state / "history.jsonl") if each.exists()]
        for each in told:
            assert "Traceback" not in each, each
            assert "internal error" not in each, each
            assert not [secret for secret in self.secrets if secret in each]

    def end_state(self) -> dict[str, str]:
        """Everything that a bootstrap leaves behind, comparable between nodes: files by digest."""
        kept: dict[str, str] = {}
        for folder in ("/etc/torcx", "/etc/kubernetes", "/var/lib/torcx", "/var/lib/docker", "/run/torcx"):
            for each in sorted(self.path(folder).rglob("*")):
                name = str(each.relative_to(self.root))
                if each.is_file() and not name.endswith("kubeconfig"):
                    kept[name] = hashlib.sha256(each.read_bytes()).hexdigest()
        return kept


OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def open_bench(
    parent: Path, server: ForkServer, plot: Plot = QUIET, *, folder: str = "node", seconds: float = TOO_LONG
) -> AsyncIterator[Bench]:
    """A node in *parent*/*folder* for the length of the block, judged at its end."""
    bench: Bench | None = None
    try:
        with trio.fail_after(seconds):
            async with open_sandbox(parent / folder, plot) as box:
                bench = Bench(box, server)
                yield bench
                if bench.judged:
                    bench.judge()
    except trio.TooSlowError:
        said = bench.processes[-1].stderr if bench and bench.processes else "(nothing ran)"
        raise AssertionError(f"the test took more than {seconds:g} s; last was said:\n{said}") from None
    except BaseExceptionGroup as group:
        # The sandbox's nurseries wrap what a test raises: pytest shows the bare error better.
        raise _only(group) from None


def _move(source: Path, target: Path) -> None:
    for each in list(source.iterdir()):
        shutil.move(each, target)


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
