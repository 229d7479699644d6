"""The daemon's sources: each may be lost, alone or with others, and comes back; nobody is answered on old news."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.integration.daemon.bench import IMAGE, MANIFEST, MAPPINGS, NODE, OpenService, Service
from torcxd.daemon.statefile import StateFile
from torcxd.errors import TransientError
from torcxd.sandbox.apiserver_faults import Fault as ApiFault
from torcxd.sandbox.apiserver_watch import WatchFault
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.sandbox import BOARD, NEW_OS, WANTED_DOCKER

NEWER_OS = "1632.2.0"

REASON = f"the addons for OS version {NEW_OS} are not staged yet"
# Root's own reboot passes by the one in block mode, and is held up by the other for as long as logind allows.
INHIBITORS = {("shutdown", "torcxd", REASON, "block"), ("shutdown", "torcxd", REASON, "delay")}


def sources(node: Service) -> dict[str, Any]:
    """What the daemon says of its sources."""
    found: dict[str, Any] = json.loads(node.path("/run/torcxd/sources.json").read_bytes())
    return found


def down(node: Service) -> set[str]:
    return {name for name, each in sources(node).items() if not each["up"]}


# The inhibitor.


@pytest.mark.accepts("N1")
async def test_reboots_are_held_off_exactly_while_the_pending_update_is_not_staged(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
        await node.install()
        await daemon.says("Holding off reboots")
        assert set(node.box.login1.inhibitors) == INHIBITORS
        node.box.bucket.heal()
        await daemon.says("Reboots are let through again.")
        await daemon.says("→ reboot-pending")
        await node.box.login1.until_released()
        assert {tuple(each) for each in node.box.records.of("Inhibit")} == INHIBITORS


@pytest.mark.accepts("N1", "N9")
async def test_what_was_staged_ahead_needs_no_inhibitor(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        before = len(daemon.stderr)
        await node.announce()
        await daemon.says("verified → staged", since=before)
        await node.install()
        await daemon.says("→ reboot-pending")
        assert node.box.records.of("Inhibit") == []


@pytest.mark.accepts("N1")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_it_is_released_however_the_daemon_ends(service: OpenService, how: signal.Signals) -> None:
    async with service() as node:
        async with node.daemon() as daemon:
            node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
            await node.install()
            await daemon.says("Holding off reboots")
            daemon.send(how)
            await daemon.ended()
            await node.box.login1.until_released()
        assert daemon.code == (0 if how is signal.SIGTERM else -signal.SIGKILL)


@pytest.mark.accepts("N1")
async def test_it_is_given_up_after_the_configured_time(service: OpenService) -> None:
    async with service() as node, node.daemon("--inhibit-for=0.1s") as daemon:
        node.box.bucket.fail(MANIFEST, Fault.NOT_FOUND)
        await node.install()
        await daemon.says("Reboots are let through: after")


@pytest.mark.accepts("N1")
async def test_reboots_are_held_off_also_while_nothing_can_be_recorded(
    service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk nothing is staged either."""

    def full(*_: object) -> None:
        raise TransientError("cannot write the state: No space left on device")

    async with service() as node, node.in_process() as reached:
        await reached("done")
        with monkeypatch.context() as patch:
            patch.setattr(StateFile, "save", full)
            await node.install()
            await node.box.login1.until_held()
        await reached("reboot-pending")
        await node.box.login1.until_released()


# update_engine.


@pytest.mark.accepts("N3", "I3")
async def test_after_a_restart_of_the_bus_everything_goes_on(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        await node.box.end_peers()
        await node.box.bus.restart()
        await daemon.says("The source update_engine is not heard")
        node.ask()
        await node.until_reason("update_engine has not told yet")
        # The API server's sources were not touched.
        assert down(node) == {"update_engine"}
        await node.box.nursery.start(node.box.serve_peers)
        await daemon.says("The source update_engine is back.")
        await node.until_answered()
        assert down(node) == set()


@pytest.mark.accepts("N3", "I3")
async def test_after_a_restart_of_update_engine_the_version_is_known_from_the_record(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        await node.install()
        await daemon.says("→ reboot-pending")
        await node.box.restart(node.box.update_engine)
        await daemon.says("The source update_engine is not heard")
        await daemon.says("The source update_engine is back.")
        node.ask()
        await node.until_answered()
        assert not [reason for _, reason in node.told if reason and "does not say" in reason]


@pytest.mark.accepts("N8", "N9")
async def test_a_newer_version_supersedes_the_one_that_was_staged(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        node.box.node.offer(NEWER_OS, like=NEW_OS)
        node.box.bucket.publish(BOARD, NEWER_OS, docker_image(WANTED_DOCKER, 30_000))
        await node.install()
        await daemon.says("→ reboot-pending")
        node.ask()
        await node.until_answered()
        # The operator has not looked yet; what it was told is true no more.
        await node.install(NEWER_OS)
        await daemon.says(f"Target: OS {NEWER_OS}")
        await node.until(lambda: (node.annotation, None) in node.told)
        await node.until_answered()
        assert f"{NEWER_OS}/{IMAGE}" in node.stored()


# The API server.


@pytest.mark.accepts("N3")
async def test_an_api_server_that_goes_and_comes_back(service: OpenService) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.api.fault = ApiFault.UNAVAILABLE
        node.box.api.watches.end_all()
        await daemon.says("The source node is not heard")
        await daemon.says("The source mappings is not heard")
        assert "update_engine" not in down(node)
        # update_engine is followed meanwhile, and the node prepared.
        await node.install()
        await daemon.says("→ reboot-pending")
        node.ask()
        node.box.api.fault = None
        await node.until_answered()


@pytest.mark.accepts("N3")
async def test_the_mappings_lost_alone_stop_nobody_else(service: OpenService) -> None:
    """As by an RBAC rule for ConfigMaps that is gone."""
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.api.forbidden.add(("get", "configmaps"))
        node.box.api.watches.end_all()
        # Every watch has ended; the others begin anew, and this one is refused.
        await node.status_when(lambda report: "forbidden" in report["sources"]["mappings"]["detail"])
        await node.status_when(lambda report: report["sources"]["node"]["up"])
        assert down(node) == {"mappings"}
        # An update is staged by the node's own mappings, and the operator answered.
        await node.install()
        await daemon.says("→ reboot-pending")
        node.ask()
        await node.until_answered()
        assert down(node) == {"mappings"}
        node.box.api.forbidden.clear()
        await daemon.says("The source mappings is back.")
        node.set_mappings(MAPPINGS.format('["1.12"]'))
        await daemon.says("is cleaned in the boot that brings it")


@pytest.mark.parametrize(
    "fault",
    [
        WatchFault.GONE,
        WatchFault.EXPIRED,
        WatchFault.ERROR,
        WatchFault.END,
        WatchFault.CUT_MID_LINE,
        WatchFault.HALF_CLOSE,
        WatchFault.NOT_JSON,
    ],
)
async def test_a_watch_that_breaks_is_begun_anew(service: OpenService, fault: WatchFault) -> None:
    async with service() as node, node.daemon() as daemon:
        await daemon.says("→ done")
        node.box.api.watches.faults.extend([fault, fault])
        node.box.api.watches.end_all()
        node.box.api.patch_node(NODE, annotations={"x": "y"})
        node.ask()
        await node.until_answered()


async def test_a_token_that_changes_is_read_again(service: OpenService) -> None:
    async with service() as node:
        node.secrets += ["first-token", "second-token"]
        node.box.api.token = "first-token"
        async with node.box.api.serve() as server:
            node.box.node.write("/etc/kubernetes/token", "first-token")
            config = node.box.api.kubeconfig(server.url).replace(
                "token: first-token", "tokenFile: /etc/kubernetes/token"
            )
            node.box.node.write("/etc/kubernetes/kubeconfig", config)
            async with node.daemon() as daemon:
                await daemon.says("→ done")
                node.box.api.token = "second-token"
                node.box.node.write("/etc/kubernetes/token", "second-token")
                node.box.api.watches.end_all()
                node.ask()
                await node.until_answered()


# What cannot be waited for in real time: the daemon in this process, with a shorter poll.


@pytest.mark.accepts("N3", "N8")
async def test_an_update_that_is_withdrawn_in_silence_is_noticed(
    service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torcxd.sources.os_update.POLL_INTERVAL", 0.05)
    async with service() as node, node.in_process() as reached:
        await node.install()
        await reached("reboot-pending")
        await node.reset()
        # Docker is the running one, and no other OS version is coming: nothing needs a boot any more.
        await reached("done")
        report = await node.status_when(lambda each: each["plan"]["target"]["next_os"] is None)
        assert {name for name, each in report["sources"].items() if each["up"]} == {
            "update_engine",
            "node",
            "mappings",
            "version",
        }
