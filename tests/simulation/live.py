"""Lets a node live for a year: what stands for the world beyond the process is put in place, and boot follows boot."""

from __future__ import annotations

import base64
import logging
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.simulation.pace import (
    DAY,
    FORTNIGHTS,
    KEPT_ENTRIES,
    LARGEST_HISTORY,
    POLL,
    WATCH,
    kubernetes,
    os_version,
)
from tests.simulation.peers import Cluster, Machine
from tests.simulation.year import NODE, Year, inline
from torcxd.daemon import addons, attending, cluster, context, perform, process, statefile, watching
from torcxd.dbus.update_engine import Operation
from torcxd.kube.operators import FLATCAR
from torcxd.kube.reflector import follow
from torcxd.lifecycle.events import Event
from torcxd.lifecycle.machine import Step
from torcxd.paths import Layout
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.node import Node, VendorDocker
from torcxd.sources import os_update


class Unseen:
    """Stands for the object on D-Bus, which nobody looks at."""

    def __init__(self, *_: object) -> None:
        pass

    def stepped(self, step: Step, event: Event) -> None:
        pass

    async def run(self) -> None:
        await trio.sleep_forever()


async def live(root: Path, patch: pytest.MonkeyPatch, *, fortnights: int = FORTNIGHTS) -> Year:
    """Let a node live, on the virtual clock of the caller; returns what became of it."""
    vendor = VendorDocker("1.12", docker_image("1.12", 1000).data)
    vendors = {os_version(each): vendor for each in range(fortnights + 1)}
    node = Node(root, os_version=os_version(0), board="amd64-usr", vendor=vendors)
    version, docker = kubernetes(0)
    node.install(kube_version=version)
    node.write("/etc/kubernetes/kubelet.env", f'KUBELET_IMAGE_TAG="{version}"\nKUBELET_IMAGE_URL="quay.io/x"\n')
    api = Cluster(Layout(root).at("/etc/kubernetes/token"))
    authority = base64.b64encode(api.api.authority.pem).decode()
    node.write("/etc/kubernetes/kubeconfig", _KUBECONFIG.replace("AUTHORITY", authority))
    api.api.version = version
    api.api.put_node(NODE, labels={FLATCAR.id: "coreos"}, annotations={FLATCAR.reboot_needed: "false"})
    # Bookmarks keep a watch that is this long from counting as dead.
    api.api.watches.bookmark_seconds = DAY
    async with trio.open_nursery() as nursery:
        year = Year(node, api, Machine(nursery), nursery)
        year.put_mappings(docker)
        image = year.supplies.image(os_version(0), docker)
        node.write(f"/var/lib/torcx/store/{os_version(0)}/{image.file_name}", image.data)
        node.write("/etc/torcx/profiles/tectonic.json", _PROFILE.replace("REFERENCE", docker))
        node.write("/etc/torcx/next-profile", "tectonic\n")

        # pytest would keep every record.
        patch.setattr(logging.getLogger("torcxd"), "propagate", False)
        patch.setattr(logging.getLogger("torcxd"), "handlers", [logging.NullHandler()])
        patch.setattr(trio.to_thread, "run_sync", inline)
        patch.setattr(statefile, "KEPT_ENTRIES", KEPT_ENTRIES)
        patch.setattr(statefile, "LARGEST_HISTORY", LARGEST_HISTORY)
        patch.setattr(os_update, "POLL_INTERVAL", POLL)
        patch.setattr(watching, "follow", partial(follow, pace=WATCH))
        patch.setattr(context, "UpdateEngine", lambda bus, _: bus.machine.update_engine)
        patch.setattr(cluster, "open_client", api.open_client)
        patch.setattr(perform, "fetch", year.supplies.fetch)
        for module in (addons, attending):
            patch.setattr(module, "docker_cleanup", year)
        patch.setattr(process, "open_bus", year.bus)
        patch.setattr(process, "BusObject", Unseen)

        for number in range(fortnights):
            async with year.boot():
                await year.fortnight(number)
            if node.pending is None:
                # Back in the old version, and then the same update once more.
                async with year.boot():
                    await year.until(lambda now: now.state in ("done", "staged"))
                    year.rolled_back += 1
                    year.machine.update_engine.go(Operation.UPDATED_NEED_REBOOT, os_version(number + 1))
                    node.pending = os_version(number + 1)
                    await year.until(lambda now: now.state == "reboot-pending")
        nursery.cancel_scope.cancel()
    return year


_PROFILE: Final = '{"kind":"profile-manifest-v0","value":{"images":[{"name":"docker","reference":"REFERENCE"}]}}'
_KUBECONFIG: Final = """\
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://api.example:6443", certificate-authority-data: AUTHORITY}}]
users: [{name: node, user: {tokenFile: /etc/kubernetes/token}}]
contexts: [{name: local, context: {cluster: local, user: node}}]
current-context: local
"""
