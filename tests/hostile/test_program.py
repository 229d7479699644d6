"""The real program on a whole node, with its real gpg, HTTPS and D-Bus, and an attacker among its peers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.hostile.attack import attack, removed_in_program
from tests.integration.bootstrap.bench import QUIET, Bench, open_bench
from tests.integration.bootstrap.program import ForkServer, fork_server
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.sandbox import OLD_OS

IMAGE = "docker:17.03.torcx.tgz"
SECRET = "hunter2"
ATTACKER = 1000

OpenNode = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture(scope="module")
def programs() -> Iterator[ForkServer]:
    with tempfile.TemporaryDirectory(prefix="torcxd-fork-") as directory, fork_server(Path(directory)) as server:
        yield server


@pytest.fixture
def node(programs: ForkServer, folder: Path) -> OpenNode:
    """Opens a node: ``async with node(disarmed, "no_judgement") as bench``. Nobody but the attack judges it."""

    @asynccontextmanager
    async def opened(disarmed: bool, without: str) -> AsyncIterator[Bench]:
        server = programs.broken(f"tests.hostile.disarmed:{without}") if disarmed else programs
        async with open_bench(folder, server, QUIET) as bench:
            bench.judged = False
            yield bench

    return opened


def judged(bench: Bench) -> str:
    """What the checker names; and if nothing was placed, the program must have said why in its own words."""
    wrong = "; ".join(bench.box.checker.check())
    said = bench.processes[-1].stderr
    assert wrong or "torcxd: error:" in said or bench.stored(), said
    assert "Traceback" not in said
    return wrong


@pytest.mark.accepts("A6")
@attack(removed_in_program("no_judgement"))
async def test_a_bucket_whose_key_is_another(node: OpenNode, disarmed: bool) -> str:
    async with node(disarmed, "no_judgement") as bench:
        bench.box.bucket.key = bench.box.keys.make("Somebody Else")
        await bench.bootstrap()
        return judged(bench)


@pytest.mark.accepts("N2")
@attack(removed_in_program("no_digests"))
async def test_an_image_of_another_content(node: OpenNode, disarmed: bool) -> str:
    async with node(disarmed, "no_digests") as bench:
        bench.box.bucket.fail(IMAGE, Fault.WRONG_CONTENT)
        await bench.bootstrap()
        return judged(bench)


@pytest.mark.accepts("A6")
@attack(removed_in_program("no_owners"))
async def test_a_keyring_that_everybody_can_write(node: OpenNode, disarmed: bool) -> str:
    async with node(disarmed, "no_owners") as bench:
        evil = bench.box.keys.make("Somebody Else")
        keyring = bench.path("/etc/torcxd/pubring.gpg")
        keyring.write_bytes(bench.box.key.public + evil.public)
        keyring.chmod(0o666)
        bench.box.bucket.key = evil
        ended = await bench.bootstrap()
        assert disarmed or ended.code == 78
        return judged(bench)


@pytest.mark.accepts("N2")
@attack(removed_in_program("no_owners"))
async def test_a_download_that_the_attacker_keeps_open(node: OpenNode, disarmed: bool) -> str:
    async with node(disarmed, "no_owners") as bench:
        staging = bench.path("/var/lib/torcx/torcxd-staging")
        staging.mkdir(parents=True, mode=0o700)
        digest = docker_image("17.03", QUIET.image_bytes).digest
        part = staging / f"{digest}.part"
        part.touch()
        os.chown(part, ATTACKER, ATTACKER)
        with part.open("r+b") as kept:
            # It is a node that has to reboot: the image is placed by then.
            await bench.bootstrap()
            assert bench.stored() == {f"{OLD_OS}/{IMAGE}"}
            kept.write(b"evil")
        return judged(bench)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@attack(removed_in_program("no_redaction"))
async def test_the_bucket_s_password_is_told_nowhere(node: OpenNode, disarmed: bool, signed: bool) -> str:
    async with node(disarmed, "no_redaction") as bench:
        if not signed:
            bench.box.bucket.fail(".asc", Fault.OTHER_DATA)
        url = bench.box.bucket.manifest_template.replace("://", f"://user:{SECRET}@")
        environment = {"HTTPS_PROXY": "", "HTTP_PROXY": f"http://u:{SECRET}@127.0.0.1:1"}
        await bench.bootstrap(f"--torcx-manifest-url={url}", "--verbose=debug", environment=environment)
        assert bench.bucket_paths()
        told = [each.stdout + each.stderr for each in bench.processes]
        told += [(await bench.torcxd(*command)).stdout for command in (("status",), ("status", "--json"), ("history",))]
        state = bench.path("/var/lib/torcxd")
        told += [each.read_text() for each in state.iterdir() if each.is_file()]
        return next((line for each in told for line in each.splitlines() if SECRET in line), "")


async def test_an_unharmed_node_is_judged_well(node: OpenNode) -> None:
    """The stage itself: without an attacker the same node gets its image."""
    async with node(False, "") as bench:
        await bench.bootstrap()
        assert judged(bench) == ""
        assert bench.stored() == {f"{OLD_OS}/{IMAGE}"}
