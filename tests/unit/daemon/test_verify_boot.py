"""Docker's own word after a boot: compared where it may be asked, told where it differs, never held against a boot."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import pytest

from tests.unit.host.test_docker import daemon, http, says
from torcxd.daemon.context import Context
from torcxd.daemon.gathering import verify_boot
from torcxd.daemon.journal_observer import JournalObserver
from torcxd.lifecycle.effects import VerifyBoot
from torcxd.lifecycle.events import BootVerified, Event
from torcxd.lifecycle.facts import Plan, Target
from torcxd.lifecycle.machine import Step
from torcxd.lifecycle.snapshot import Snapshot
from torcxd.messages import FOREIGN_DOCKER
from torcxd.paths import Layout
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.node import Node, VendorDocker
from torcxd.settings import combine

OS = "1576.4.0"
TARGET = Target("amd64-usr", OS, None, "v1.8.4", "x", ("17.03",), "y")
PLAN = Plan(TARGET, OS, "17.03", (), resolved=True)


@pytest.fixture
def node() -> Iterator[Node]:
    """A node that has booted with Docker 17.03; its root is short enough for Docker's socket."""
    with tempfile.TemporaryDirectory(prefix="node.") as directory:
        vendor = VendorDocker("1.12", docker_image("1.12").data)
        node = Node(Path(directory), os_version=OS, board="amd64-usr", vendor={OS: vendor})
        node.install(kube_version="v1.8.4")
        node.write(f"/var/lib/torcx/store/{OS}/docker:17.03.torcx.tgz", docker_image("17.03").data)
        profile = '{"kind":"profile-manifest-v0","value":{"images":[{"name":"docker","reference":"17.03"}]}}'
        node.write("/etc/torcx/profiles/tectonic.json", profile)
        node.write("/etc/torcx/next-profile", "tectonic\n")
        assert not node.boot()
        node.layout.docker_socket.parent.mkdir(parents=True, exist_ok=True)
        yield node


def docker(node: Node, version: str | None) -> AbstractAsyncContextManager[object]:
    if version is None:
        return nullcontext()
    return daemon(node.layout.docker_socket, says(http(f'{{"Version": "{version}"}}'.encode())))


async def verified(node: Node, *, asks_docker: bool = True) -> BootVerified:
    found: list[Event] = []

    async def report(event: Event) -> None:
        found.append(event)

    ctx = Context(combine(), Layout(node.layout.root), {}, asks_docker=asks_docker)
    await verify_boot(ctx, VerifyBoot(PLAN), report)
    (event,) = found
    assert isinstance(event, BootVerified)
    return event


@pytest.mark.accepts("N4")
@pytest.mark.parametrize("version", ["17.03.2-ce", None], ids=["the staged one", "not started yet"])
async def test_a_boot_with_its_docker_or_none_yet_is_good(node: Node, version: str | None) -> None:
    async with docker(node, version):
        running = (await verified(node)).running
    assert running.matches(PLAN)
    assert running.detail == ""


@pytest.mark.accepts("N4", "I7")
async def test_another_docker_is_told_and_no_reason_for_another_boot(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    async with docker(node, "20.10.5"):
        event = await verified(node)
    assert event.running.matches(PLAN)
    assert event.running.detail == "the Docker daemon that answers is 20.10.5, though torcx applied docker:17.03"
    with caplog.at_level(logging.WARNING):
        JournalObserver().stepped(Step(Snapshot("done", 0, "boot-1", PLAN), None, ()), event)
    (record,) = caplog.records
    assert "20.10.5" in record.getMessage()
    assert record.__dict__["journal"]["MESSAGE_ID"] == FOREIGN_DOCKER.id


async def test_the_bootstrap_does_not_start_docker_by_asking(node: Node) -> None:
    async with daemon(node.layout.docker_socket, says(http(b'{"Version": "20.10.5"}'))) as asked:
        assert (await verified(node, asks_docker=False)).running.detail == ""
    assert asked == []
