"""The checker itself: on a node that is fine it finds nothing, and each damage that is done to one is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.integration.bootstrap.bench import UPDATING, Bench, OpenBench
from torcxd.sandbox.sandbox import NEW_OS, OLD_OS

IMAGE = f"/var/lib/torcx/store/{NEW_OS}/docker:17.03.torcx.tgz"
STATE = "/var/lib/torcxd"


def other_os(node: Bench) -> None:
    path = node.path("/usr/lib/os-release")
    path.write_text(path.read_text().replace(NEW_OS, OLD_OS))


def other_seal(node: Bench) -> None:
    path = node.path("/run/torcx/profile.json")
    text = path.read_text().replace("17.03", "1.12")
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
    for _ in range(4):
        node.box.checker.reboot_requested()


def data_kept(node: Bench) -> None:
    node.box.node.write("/var/lib/docker/image-store", "x")
    node.box.checker.booted()
    other_seal(node)
    node.box.checker.booted()


def data_lost(node: Bench) -> None:
    node.box.node.write("/var/lib/docker/image-store", "x")
    node.box.checker.booted()
    shutil.rmtree(node.path("/var/lib/docker"))
    node.box.checker.booted()


def write(path: str, data: bytes) -> Callable[[Bench], None]:
    def damage(node: Bench) -> None:
        node.path(path).write_bytes(data)

    return damage


DAMAGES: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "torn kubelet.env": ("I1", write("/etc/kubernetes/kubelet.env", b'KUBELET_IMAGE_TAG="v1.8.4_core')),
    "kubelet.env without a version": ("I1", write("/etc/kubernetes/kubelet.env", b'KUBELET_IMAGE_URL="x"\n')),
    "another OS runs": ("I1", other_os),
    "another Docker runs": ("I1", other_seal),
    "the store lost the image": ("I1", lambda node: node.path(IMAGE).unlink()),
    "another content": ("I2", write(IMAGE, b"something else")),
    "an unknown image": ("I2", write(IMAGE.replace("17.03", "18.06"), b"something else")),
    "a reboot without its image": ("I3", request_without_image),
    "a reboot without its profile": ("I3", request_without_profile),
    "a pending update that nobody planned": ("I4", lambda node: setattr(node.box.node, "pending", OLD_OS)),
    "a store that is needed is gone": ("I5", lambda node: shutil.rmtree(node.path(IMAGE).parent)),
    "Docker changed and its data stayed": ("I6", data_kept),
    "Docker stayed and its data went": ("I6", data_lost),
    "two requests in one boot": ("I7", second_request),
    "reboots without end": ("I7", requests_without_end),
    "torn state": ("I8", write(f"{STATE}/state.json", b'{"schema": 1, "sha')),
    "state with another checksum": ("I8", write(f"{STATE}/state.json", b'{"schema":1,"sha256":"00","snapshot":{}}')),
    "torn history": ("I8", write(f"{STATE}/history.jsonl", b'{"at": 1, "fr\n{"at": 2}\n')),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_each_damage_is_found(bench: OpenBench, damage: str) -> None:
    invariant, do = DAMAGES[damage]
    async with bench(UPDATING) as node:
        assert (await node.to_the_end()).code == 0
        assert node.box.checker.check() == []
        do(node)
        found = node.box.checker.check()
        # A node without its image or its Docker is not the one for which kubelet.env was published, either.
        assert {invariant} <= {each[:2] for each in found} <= {invariant, "I1"}, found
        # What was done is no verdict on the program.
        node.judged = False
