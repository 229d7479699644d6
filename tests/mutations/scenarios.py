"""What happens to a node while a build runs on it: enough to let a mistake show, and no more."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from tests.integration.bootstrap.bench import QUIET, UPDATING, Bench, open_bench
from tests.integration.bootstrap.program import ForkServer
from tests.integration.daemon.bench import MANIFEST, open_service
from torcxd.dbus.service import ErrorReply
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS

_REFUSAL: Final = ErrorReply("org.freedesktop.login1.OperationInProgress", "not now")
# One failure ends a run.
_ONCE: Final = "--retry-for=0.01s"
# A bootstrap that comes to no end is ended; those that come to one take a tenth of it.
_PATIENCE: Final = 8.0


Scenario = Callable[[Path, ForkServer], Awaitable[list[str]]]


async def _run(node: Bench, *flags: str) -> None:
    with trio.move_on_after(_PATIENCE):
        await node.bootstrap(_ONCE, *flags)


async def _boots(node: Bench, number: int) -> list[str]:
    """Bootstrap through so many reboots at most."""
    for _ in range(number):
        reboots = node.box.reboots
        await _run(node)
        node.box.checker.check()
        if node.box.reboots == reboots:
            break
        await node.box.reboot()
    else:
        await _run(node)
    return node.box.checker.check()


async def an_update(root: Path, server: ForkServer) -> list[str]:
    """An OS update that brings another Docker."""
    async with open_bench(root, server, UPDATING) as node:
        node.judged = False
        for each in (OLD_OS, "1600.0.0"):
            node.box.node.write(f"/var/lib/torcx/store/{each}/note", "x")
        node.box.checker.booted()
        env = node.path("/etc/kubernetes/installer/kubelet.env")
        env.write_text(env.read_text() + 'KUBELET_REGISTRY="registry.example"\n')
        return await _boots(node, 1)


async def an_update_with_the_same_docker(root: Path, server: ForkServer) -> list[str]:
    """An OS update; the cluster wants the Docker that runs."""
    async with open_bench(root, server, UPDATING) as node:
        node.judged = False
        node.set_mappings("kind: VersionManifestV1\nversions:\n  k8s:\n    1.8:\n      docker: ['1.12']\n")
        return await _boots(node, 1)


async def rollbacks(root: Path, server: ForkServer) -> list[str]:
    """The boot loader falls back each time."""
    async with open_bench(root, server, UPDATING) as node:
        node.judged = False
        for _ in range(4):
            await _run(node)
            node.box.node.pending = None
            await node.box.reboot()
        return node.box.checker.check()


async def a_wrong_image(root: Path, server: ForkServer) -> list[str]:
    """The bucket gives something else than what the manifest names."""
    async with open_bench(root, server, QUIET) as node:
        node.judged = False
        node.box.login1.refuse("Reboot", _REFUSAL)
        node.box.bucket.fail("torcx.tgz", Fault.WRONG_CONTENT)
        await _run(node)
        return node.box.checker.check()


async def a_foreign_key(root: Path, server: ForkServer) -> list[str]:
    """Somebody else has signed the manifest."""
    async with open_bench(root, server, QUIET) as node:
        node.judged = False
        node.box.login1.refuse("Reboot", _REFUSAL)
        node.box.bucket.key = node.box.keys.make("stranger")
        await _run(node)
        return node.box.checker.check()


async def an_update_that_comes_late(root: Path, server: ForkServer) -> list[str]:
    """The reboot is refused for a while, and meanwhile an OS update is installed that nobody gathered."""
    async with open_bench(root, server, replace(QUIET, next_os=NEW_OS)) as node:
        node.judged = False
        node.box.login1.refuse("Reboot", _REFUSAL)
        await _run(node, "--upgrade-os=false")
        await node.pending_update()
        node.box.login1.heal("Reboot")
        await _run(node, "--upgrade-os=false")
        return node.box.checker.check()


async def a_set_that_is_damaged_late(root: Path, server: ForkServer) -> list[str]:
    """The reboot is refused for a while, and meanwhile an image is lost from the store."""
    async with open_bench(root, server, QUIET) as node:
        node.judged = False
        node.box.login1.refuse("Reboot", _REFUSAL)
        await _run(node)
        next(node.path("/var/lib/torcx/store").rglob("*.torcx.tgz")).unlink()
        node.box.login1.heal("Reboot")
        await _run(node)
        return node.box.checker.check()


async def an_update_without_a_name(root: Path, server: ForkServer) -> list[str]:
    """An OS update is pending, update_engine has forgotten which, and the operator asks."""
    async with open_service(root, server) as node:
        node.judged = False
        await node.forget()
        node.ask()
        async with node.daemon():
            await node.until(lambda: node.answered or "does not say" in node.annotations.get(node.reason, ""))
        return node.box.checker.check()


async def an_operator_that_asks(root: Path, server: ForkServer) -> list[str]:
    """An update is installed, the bucket mends after a while, and the operator asks."""
    async with open_service(root, server) as node:
        node.judged = False
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND, times=1)
        await node.install()
        node.ask()
        async with node.daemon():
            await node.until_answered()
        return node.box.checker.check()


async def a_process_that_is_started_again(root: Path, server: ForkServer) -> list[str]:
    """The reboot is granted, and the process starts again before it comes."""
    async with open_bench(root, server, QUIET) as node:
        node.judged = False
        for _ in range(2):
            async with node.start("bootstrap", *node.box.flags) as process:
                await process.says("Waiting for the reboot")
                process.send(signal.SIGTERM)
        return node.box.checker.check()


async def a_damaged_state(root: Path, server: ForkServer) -> list[str]:
    """A bit of the state file has changed between two runs."""
    async with open_bench(root, server, QUIET) as node:
        node.judged = False
        node.box.login1.refuse("Reboot", _REFUSAL)
        await _run(node)
        state = node.path("/var/lib/torcxd/state.json")
        state.write_bytes(state.read_bytes().replace(b'"transitions": ', b'"transitions": 1'))
        node.box.checker.state_damaged()
        await _run(node)
        return node.box.checker.check()


async def deaths(root: Path, server: ForkServer) -> list[str]:
    """The process is killed when it has made something durable: the first time, the second, …"""
    found: list[str] = []
    for number in range(1, 5):
        deadly = server.broken(f"tests.mutations.builds:dies_at_sync_{number}")
        async with open_bench(root, deadly, QUIET, folder=f"node-{number}") as node:
            node.judged = False
            await _run(node)
            found += node.box.checker.check()
    return found
