"""What a simulated year's node is supplied with: manifests and images from nowhere, and what counts as signed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import trio

from tests.simulation.pace import kubernetes
from torcxd.addons.staging import Staging
from torcxd.addons.store import Store
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.inspection import holds
from torcxd.errors import TorcxdError
from torcxd.host import files
from torcxd.lifecycle.catalog import Location, Package, PackageManifest, PackageVersion
from torcxd.lifecycle.effects import Fetch
from torcxd.lifecycle.events import Fetched, Resolved
from torcxd.lifecycle.plan import os_versions_to_stage, resolve
from torcxd.paths import Layout
from torcxd.sandbox.images import TorcxImage, docker_image


@dataclass(slots=True)
class Supplies:
    """The bucket of the node at *layout*, without a network.

    :ivar fault: what each fetch fails with, None for none.
    """

    layout: Layout
    images: dict[tuple[str, str], TorcxImage] = field(default_factory=dict)
    fault: TorcxdError | None = None

    def signed(self) -> list[tuple[str, bytes]]:
        """What counts as signed: the images that are published for the OS versions of which the node has any."""
        found = []
        for version in sorted(each.name for each in self.layout.user_store.iterdir()):
            images = [self.image(version, docker) for _, docker in map(kubernetes, range(3))]
            entries = [{"version": each.reference, "hash": str(each.digest)} for each in images]
            value = {"packages": [{"name": "docker", "versions": entries}]}
            found.append((version, json.dumps({"kind": "torcx-package-list-v0", "value": value}).encode()))
        return found

    def image(self, version: str, docker: str) -> TorcxImage:
        """What is published for an OS version: another build for each."""
        key = version, docker
        if key not in self.images:
            self.images[key] = docker_image(docker, 500 + sum(map(ord, version)))
        return self.images[key]

    async def fetch(self, ctx: Context, effect: Fetch, report: Report) -> None:
        """Stands for :func:`torcxd.daemon.addons.fetch`: the same files, from nowhere."""
        await trio.sleep(20)
        if self.fault is not None:
            raise self.fault
        plan = effect.plan
        if not plan.resolved:
            plan = resolve(plan, {each: self.manifest(each) for each in os_versions_to_stage(plan.target)})
            await report(Resolved(ctx.clock.now(), plan))
        store = Store(ctx.layout, plan.target.current_os, ctx.digests)
        for each in plan.images:
            if not await holds(ctx, store, each, plan.target.current_os):
                path = Staging(ctx.layout.staging, ctx.digests).path(each.digest)
                files.write_atomic(path, self.image(each.os_version, each.reference).data)
        await report(Fetched(ctx.clock.now()))

    def manifest(self, version: str) -> PackageManifest:
        offered = tuple(
            PackageVersion(docker, self.image(version, docker).digest, (Location(url="https://bucket.example/x"),))
            for _, docker in map(kubernetes, range(3))
        )
        return PackageManifest({"docker": Package("docker", "17.03", offered)})
