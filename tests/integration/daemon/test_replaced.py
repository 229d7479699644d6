"""An upgrade replaces the program's files under the running daemon: it goes on with what it has loaded."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import pytest
import trio

import torcxd
from tests.integration.daemon.bench import MANIFEST, NODE, OpenService, Service
from torcxd.charts import chart_file
from torcxd.daemon.cluster import CONFIG_MAP
from torcxd.sandbox.apiserver import ObjectKey
from torcxd.sandbox.bucket_faults import Fault


def install(folder: Path) -> None:
    """A copy of the program and of all that it needs, without its tests' and the sandbox's."""
    shutil.copytree(Path(torcxd.__file__).parent, folder / "torcxd", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "torcxd/states").mkdir(exist_ok=True)
    shutil.copy(chart_file("lifecycle"), folder / "torcxd/states")
    for name in needed("torcxd"):
        found = distribution(name)
        for top in {each.parts[0] for each in found.files or () if ".." not in each.parts}:
            source, copy = Path(str(found.locate_file(top))), folder / top
            if source.is_dir():
                shutil.copytree(source, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)


def needed(name: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """The names of the distributions that *name* needs, directly or not, without extras."""
    for each in distribution(name).requires or ():
        requirement, _, marker = each.partition(";")
        dependency = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
        if not re.search("extra|win|implementation|python", marker) and dependency not in known:
            known = needed(dependency, known | {dependency})
    return known


@asynccontextmanager
async def daemon_of(folder: Path, node: Service, log: list[str]) -> AsyncIterator[trio.Process]:
    """``torcxd run`` of the copy in *folder*, up and running; its lines go to *log*."""
    path = folder.parent / "notify"
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as manager:
        await manager.bind(str(path))
        flags = [f"--root={node.root}", f"--node-name={NODE}", "--api-retry-for=0.5s", *node.box.flags]
        variables = {**node.box.process_environment, "PYTHONPATH": str(folder), "NOTIFY_SOCKET": str(path)}
        async with trio.open_nursery() as nursery:
            # Without the interpreter's own packages: the copy has to do.
            command = [sys.executable, "-S", "-P", "-B", "-m", "torcxd", "run", *flags]
            start = partial(trio.run_process, command, env=variables, stderr=subprocess.PIPE, check=False)
            process: trio.Process = await nursery.start(start)
            assert process.stderr is not None
            nursery.start_soon(read, process.stderr, log)
            while b"READY=1" not in await manager.recv(4096):
                pass
            yield process
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def read(stream: trio.abc.ReceiveStream, log: list[str]) -> None:
    async for piece in stream:
        # As of the other daemons: for whoever reads why the test failed.
        sys.stderr.write(text := piece.decode())
        log.append(text)


@pytest.mark.accepts("N2")
async def test_it_serves_a_whole_update_without_its_files(service: OpenService, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    install(folder)
    log: list[str] = []
    async with service() as node:
        # The mappings that come with the program, for want of others.
        node.box.api.store.delete(ObjectKey("configmaps", "tectonic-system", CONFIG_MAP))
        async with daemon_of(folder, node, log) as process:
            shutil.rmtree(folder)
            # By way of a failure, whose telling loads nothing either.
            node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
            await node.install()
            node.ask()
            await node.until_reason("404")
            node.box.bucket.heal()
            await node.until_answered()
            node.withdraw()
            process.send_signal(signal.SIGHUP)
            node.ask()
            await node.until_answered()
        told = "".join(log)
        assert process.returncode == 0, told
        assert "The configuration was reloaded." in told
        assert "Docker 17.03, 1.13, 1.12 accepted" in told
        assert "No module" not in told
        assert "internal error" not in told
