"""The checker itself: on a node that is fine it finds nothing, and each damage that is done to one is found."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable

import pytest

from tests.integration.bootstrap.bench import UPDATING, Bench, OpenBench
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS

IMAGE = f"/var/lib/torcx/store/{NEW_OS}/docker:17.03.torcx.tgz"
STATE = "/var/lib/torcxd"


def other_os(node: Bench) -> None:
    path = node.path("/usr/lib/os-release")
    path.write_text(path.read_text().replace(NEW_OS, OLD_OS))


def other_seal(node: Bench, before: str = "17.03", after: str = "1.12") -> None:
    path = node.path("/run/torcx/profile.json")
    text = path.read_text().replace(before, after)
    path.unlink()
    path.write_text(text)


def second_request(node: Bench) -> None:
    entry = next(each for each in node.box.records.entries if each["member"] == "Reboot")
    node.box.records.entries.append(entry)


def request_without_image(node: Bench) -> None:
    node.path(IMAGE).unlink()
    node.box.checker.reboot_requested()


def request_without_profile(node: Bench) -> None:
    node.path("/etc/torcx/profiles/tectonic.json").unlink()
    node.box.checker.reboot_requested()


def requests_without_end(node: Bench) -> None:
    other_os(node)
    for _ in range(4):
        node.box.checker.reboot_requested()
        node.box.node.write("/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
        node.box.checker.booted()


def second_target(node: Bench) -> None:
    for _ in range(2):
        node.box.checker.reboot_requested()


def data_kept(node: Bench) -> None:
    node.box.node.write("/var/lib/docker/image-store", "x")
    node.box.checker.booted()
    other_seal(node)
    node.box.checker.booted()


def data_kept_over_a_boot_without_docker(node: Bench) -> None:
    node.box.node.write("/var/lib/docker/image-store", "x")
    node.box.checker.booted()
    seal = node.path("/run/torcx/profile.json")
    sealed = seal.read_text()
    seal.unlink()
    node.box.checker.booted()
    seal.write_text(sealed)
    other_seal(node)
    node.box.checker.booted()


def data_lost_meanwhile(node: Bench) -> None:
    node.box.node.write("/var/lib/docker/image-store", "x")
    node.box.checker.booted()
    shutil.rmtree(node.path("/var/lib/docker"))


def request_without_pin(node: Bench) -> None:
    path = node.path("/etc/torcx/profiles/tectonic.json")
    path.write_text(path.read_text().replace("17.03", "1.12"))
    node.box.checker.reboot_requested()


def link_in_the_store(node: Bench) -> None:
    path = node.path(IMAGE)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def damaged_state_overwritten(node: Bench) -> None:
    path = node.path(f"{STATE}/state.json")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    node.box.checker.state_damaged()
    assert node.box.checker.check() == []
    path.write_bytes(whole)


def answered_though_another_os_comes(node: Bench) -> None:
    node.box.node.pending = "1632.2.0"
    node.box.node.offer("1632.2.0", like=OLD_OS)
    node.box.checker.reboot_allowed()


def appeared_before_the_boot(node: Bench) -> None:
    other_seal(node)
    node.box.checker.booted()
    env = node.path("/etc/kubernetes/kubelet.env")
    env.write_text(env.read_text())
    other_seal(node, "1.12", "17.03")
    node.box.checker.booted()


def data_lost(node: Bench) -> None:
    node.box.node.write("/var/lib/docker/image-store", "x")
    node.box.checker.booted()
    shutil.rmtree(node.path("/var/lib/docker"))
    node.box.checker.booted()


# What is written over a file of the node.
WRITTEN: dict[str, tuple[str, str, bytes]] = {
    "torn kubelet.env": ("I1", "/etc/kubernetes/kubelet.env", b'KUBELET_IMAGE_TAG="v1.8.4_core'),
    "kubelet.env without a version": ("I1", "/etc/kubernetes/kubelet.env", b'KUBELET_IMAGE_URL="x"\n'),
    "kubelet.env of another version": ("I1", "/etc/kubernetes/kubelet.env", b'KUBELET_IMAGE_TAG="v1.9.1"\n'),
    "another content": ("I2", IMAGE, b"something else"),
    "an unknown image": ("I2", IMAGE.replace("17.03", "18.06"), b"something else"),
    "an image for every OS": ("I2", "/var/lib/torcx/store/docker:18.06.torcx.tgz", b"something else"),
    "torn state": ("I8", f"{STATE}/state.json", b'{"schema": 1, "sha'),
    "state with another checksum": ("I8", f"{STATE}/state.json", b'{"schema":1,"sha256":"00","snapshot":{}}'),
    "an entry on a torn line": ("I8", f"{STATE}/history.jsonl", b'{"at": 1, "fr{"at": 2}\n'),
    "torn profile": ("N2", "/etc/torcx/profiles/tectonic.json", b'{"kind":"profile-man'),
    "a profile that is not there": ("N2", "/etc/torcx/next-profile", b"other\n"),
}
DAMAGES: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "kubelet.env before its boot": ("I1", appeared_before_the_boot),
    "another OS runs": ("I1", other_os),
    "another Docker runs": ("I1", other_seal),
    "the store lost the image": ("I5", lambda node: node.path(IMAGE).unlink()),
    "a link in the store": ("I2", link_in_the_store),
    "a reboot without its image": ("I3", request_without_image),
    "a reboot without its profile": ("I3", request_without_profile),
    "a reboot without its pin": ("I3", request_without_pin),
    "a pending update that nobody planned": ("I4", lambda node: setattr(node.box.node, "pending", OLD_OS)),
    "an answer for an update that nobody planned": ("I4", answered_though_another_os_comes),
    "a store that is needed is gone": ("I5", lambda node: shutil.rmtree(node.path(IMAGE).parent)),
    "Docker changed and its data stayed": ("I6", data_kept),
    "Docker changed over a boot without it": ("I6", data_kept_over_a_boot_without_docker),
    "Docker stayed and its data went": ("I6", data_lost),
    "Docker's data went without a boot": ("I6", data_lost_meanwhile),
    "two requests in one boot": ("I7", second_request),
    "two requests for one target": ("I7", second_target),
    "reboots without end": ("I7", requests_without_end),
    "a damaged state is not kept": ("I8", damaged_state_overwritten),
}
# What goes with it: a node that lost a file is not the one for which kubelet.env was published, nor complete.
ALSO = {
    "a reboot without its image": {"I1", "I5"},
    "a reboot without its profile": {"N2"},
    "a store that is needed is gone": {"I1"},
    "the store lost the image": {"I1"},
    "another content": {"I1"},
    "an answer for an update that nobody planned": {"I3"},
    "a pending update that nobody planned": set[str](),
    "a link in the store": set[str](),
    "reboots without end": {"I1"},
    "Docker changed and its data stayed": {"I1"},
    "Docker changed over a boot without it": {"I1"},
}


def assert_found(damage: str, invariant: str, found: list[str]) -> None:
    named = {each[:2] for each in found}
    assert {invariant} <= named <= {invariant} | ALSO.get(damage, set()), (damage, found)


async def test_each_damaged_file_is_found(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        assert (await node.to_the_end()).code == 0
        assert node.box.checker.check() == []
        for damage, (invariant, where, data) in WRITTEN.items():
            path, checker = node.path(where), node.box.checker.fork()
            before = path.read_bytes() if path.exists() else None
            path.write_bytes(data)
            assert_found(damage, invariant, checker.check())
            if before is None:
                path.unlink()
            else:
                path.write_bytes(before)


async def test_a_damaged_state_that_somebody_removes_is_not_missed(bench: OpenBench) -> None:
    async with bench(UPDATING) as node:
        assert (await node.to_the_end()).code == 0
        path, checker = node.path(f"{STATE}/state.json"), node.box.checker.fork()
        path.write_bytes(b"damaged")
        checker.state_damaged()
        path.unlink()
        checker.state_lost()
        assert checker.check() == []
        # What was kept aside before stays.
        path.write_bytes(b"damaged again")
        checker.state_damaged()
        aside = path.rename(path.with_name("state.json.damaged"))
        checker.state_lost()
        assert checker.check() == []
        aside.unlink()
        assert_found("a damaged state is not kept", "I8", checker.check())


@pytest.mark.parametrize("damage", DAMAGES)
async def test_each_damage_is_found(bench: OpenBench, damage: str) -> None:
    invariant, do = DAMAGES[damage]
    async with bench(UPDATING) as node:
        assert (await node.to_the_end()).code == 0
        assert node.box.checker.check() == []
        do(node)
        assert_found(damage, invariant, node.box.checker.check())
        # What was done is no verdict on the program.
        node.judged = False
