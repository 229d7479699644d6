"""Makes a node as its installer leaves it, and everybody around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import yaml

from tests.simulation.world.bus import Bus
from tests.simulation.world.faults import Counted
from tests.simulation.world.network import Network
from tests.simulation.world.peers import (
    API_PORT,
    BOARD,
    BUCKET_PORT,
    BUS_PATH,
    EVIL_SIZE,
    HOST,
    KEYRING,
    NODE,
    TOKEN_FILE,
    VENDOR_DOCKER,
    WANTED,
    CountedBucket,
    Hangs,
    Peers,
    authority,
    mappings,
)
from tests.simulation.world.story import KUBE_VERSIONS, LAST_OS, OS_VERSIONS, Story
from tests.simulation.world.trust import Key
from torcxd.kube.operators import CONTAINER_LINUX, FLATCAR, HOOK_ANNOTATION
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.login1 import Login1
from torcxd.sandbox.node import Node, VendorDocker
from torcxd.sandbox.operator import UpdateOperator
from torcxd.sandbox.records import Records
from torcxd.sandbox.service import StandIn
from torcxd.sandbox.systemd1 import Systemd1
from torcxd.sandbox.update_engine import Installed, UpdateEngine


def make_peers(
    root: Path,
    story: Story,
    fired: Counter[str],
    *,
    now: Callable[[], float],
    reboot_asked: Callable[[], Awaitable[None]],
    operator_reboots: Callable[[], Awaitable[None]],
) -> Peers:
    """A node as its installer leaves it, and its surroundings; nobody serves yet.

    :param reboot_asked: called when login1 or systemd is asked for a reboot.
    :param operator_reboots: called when the operator's agent reboots the node.
    """
    network = Network(root.name, fired)
    network.peers = {(HOST, BUCKET_PORT): "bucket", (HOST, API_PORT): "api", BUS_PATH: "bus"}
    network.names = {"bucket.example": HOST, "api.example": HOST}
    vendor = VendorDocker(VENDOR_DOCKER, docker_image(VENDOR_DOCKER).data)
    node = Node(root, os_version=OS_VERSIONS[0], board=BOARD, vendor=dict.fromkeys((*OS_VERSIONS, LAST_OS), vendor))
    node.install(kube_version=KUBE_VERSIONS[0])
    keys = (Key("A" * 40), Key("B" * 40))
    node.write(KEYRING, keys[0].public)
    bucket = CountedBucket(keys[0], authority=authority(), url=f"http://bucket.example:{BUCKET_PORT}")  # type: ignore[arg-type]
    bucket.fired = fired
    api = ApiServer(version=KUBE_VERSIONS[0], token="token-0")
    api.faults = Counted("api", fired)
    api.watches.faults = Counted("watch", fired)
    names = FLATCAR if story.operator == "fluo" else CONTAINER_LINUX
    api.put_node(NODE)
    records = Records(context=lambda: {"boot_id": node.layout.boot_id.read_text().strip()})
    installed = Installed(node.layout.os_update_marker)

    def finished(version: str) -> None:
        node.pending = version

    peers = Peers(
        network,
        node,
        Bus(network, BUS_PATH, fired),
        bucket,
        api,
        records,
        UpdateEngine(installed=installed, on_installed=finished, now=now),
        Login1(records, reboot_asked),
        Systemd1(records, reboot_asked, units=node.layout.at("/etc/systemd/system")),
        UpdateOperator(
            api,
            NODE,
            names=names,
            before_reboot_annotations=(names.prefix + HOOK_ANNOTATION,),
            reboot=operator_reboots,
        ),
        installed,
        keys,
        fired,
    )
    for name in ("update_engine", "login1", "systemd1"):
        service = peers.service(name)
        assert isinstance(service, StandIn)
        service._faults = Hangs(name, fired)
    # Whoever made them put them into the bucket, too.
    peers.bucket.publish("evil", "0.0.1", *(docker_image(each, EVIL_SIZE) for each in WANTED.values()))
    for each in (*OS_VERSIONS, LAST_OS):
        peers.publish(each)
    peers.put_mappings(mappings())
    peers.renew_token()
    node.write("/etc/kubernetes/kubeconfig", _kubeconfig())
    return peers


def _kubeconfig() -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": f"http://api.example:{API_PORT}"}}],
        "users": [{"name": "node", "user": {"tokenFile": TOKEN_FILE}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "node"}}],
        "current-context": "local",
    }
    return yaml.safe_dump(document)
