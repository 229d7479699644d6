"""``torcxd plan``: says what would be done and why, and changes nothing, whatever it finds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.integration.bootstrap.bench import QUIET, UPDATING, Bench, OpenBench
from torcxd.errors import EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below *root*: kind, mode, times and content."""
    found: dict[str, tuple[object, ...]] = {}
    for each in sorted(root.rglob("*")):
        stat = each.lstat()
        content = hashlib.sha256(each.read_bytes()).hexdigest() if each.is_file() else ""
        found[str(each.relative_to(root))] = (stat.st_mode, stat.st_ino, stat.st_mtime_ns, content)
    return found


async def plan(node: Bench, *flags: str, code: int = 0) -> str:
    """What it says; nothing changed meanwhile, and nobody was asked to do anything."""
    before = tree(node.root)
    attempts, asked = node.box.update_engine.attempts, len(node.box.records.entries)
    process = await node.torcxd("plan", "--api-retry-for=0.5s", *node.box.flags, *flags)
    assert process.code == code, process.stderr
    assert tree(node.root) == before
    assert (node.box.update_engine.attempts, len(node.box.records.entries)) == (attempts, asked)
    return process.stdout if code == 0 else process.stderr


@pytest.mark.accepts("N6")
async def test_a_plan_of_a_new_node_says_what_and_why(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        said = await plan(node)
        for each in (
            f"OS version {OLD_OS} runs on board amd64-usr; no OS update is pending.",
            "Kubernetes is v1.8.4+coreos.0, says the API server.",
            "It accepts Docker 17.03, 1.12 (best first), says the ConfigMap tectonic-system/",
            "Docker 1.12 is applied now.",
            "Let update_engine look for a newer OS version",
            "Choose Docker 17.03",
            f"Download docker:17.03 for {OLD_OS}",
            "clean /var/lib/docker on the way",
            "Reboot into",
            "kubelet.env with Kubernetes v1.8.4+coreos.0",
        ):
            assert each in said
        assert not node.path("/var/lib/torcxd").exists()


@pytest.mark.accepts("A4", "N6")
async def test_a_plan_counts_a_pending_update(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        await node.pending_update()
        said = await plan(node, "--upgrade-os=false")
        assert f"OS version {NEW_OS} is pending." in said
        assert f"Download docker:17.03 for {NEW_OS}" in said
        assert f"Download docker:17.03 for {OLD_OS}" in said
        assert "look for a newer OS version" not in said


@pytest.mark.accepts("N6")
async def test_plans_along_the_way(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        await node.bootstrap()
        staged = await plan(node)
        assert f"Keep docker:17.03 for {OLD_OS}" in staged
        assert "Reboot into" in staged
        await node.box.reboot()
        booted = await plan(node)
        assert "Docker 17.03 is applied now." in booted
        assert "Need no reboot" in booted
        assert (await node.bootstrap()).code == 0
        assert "Nothing: " in await plan(node)


@pytest.mark.accepts("A5", "N6")
async def test_a_plan_without_setup_says_so(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        said = await plan(node, "--torcx-skip-setup=true")
        assert "Stage no addons: --torcx-skip-setup." in said
        assert "Need no reboot but for an update: " in said
        assert "Need no reboot: " in await plan(node, "--torcx-skip-setup=true", "--upgrade-os=false")
        assert node.bucket_paths() == []


@pytest.mark.accepts("N6")
async def test_a_plan_for_programs_is_json(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        document = json.loads(await plan(node, "--json"))
        assert document["plan"]["docker"] == "17.03"
        assert [each["os_version"] for each in document["missing"]] == [OLD_OS]


@pytest.mark.accepts("N6")
@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        ("os-release", EX_NOINPUT, "os-release"),
        ("manifest", EX_UNAVAILABLE, "404"),
        ("signature", EX_DATAERR, "not in the keyring"),
    ],
)
async def test_a_plan_that_cannot_be_made_says_why_and_changes_nothing(
    bench: OpenBench, trouble: str, code: int, words: str
) -> None:
    async with bench(QUIET) as node:
        if trouble == "os-release":
            release = node.path("/usr/lib/os-release")
            release.rename(aside := release.with_name("aside"))
        elif trouble == "manifest":
            node.box.bucket.fail("torcx_manifest.json", Fault.NOT_FOUND)
        else:
            node.box.bucket.key = node.box.keys.make()
        assert words in await plan(node, code=code)
        if trouble == "os-release":
            aside.rename(release)


@pytest.mark.accepts("N5", "N6")
async def test_status_and_history_of_a_node_on_which_nothing_ran(bench: OpenBench) -> None:
    async with bench(QUIET) as node:
        before = tree(node.root)
        for command in ("status", "history"):
            process = await node.torcxd(command)
            assert (process.code, process.stderr) == (0, "")
            assert "othing was run on this node yet" in process.stdout
        assert tree(node.root) == before
