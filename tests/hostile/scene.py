"""A node and its bucket with an attacker between them: the program's own parts fetch, verify and place in this process.

The attacker answers in the bucket's stead wherever it likes (:attr:`Scene.forged`), and it may have a certificate that
the node trusts: what is tested here is what holds when TLS does not. What it got is judged from the outside, by the
checker that judges every node.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.hostile.attack import anything
from tests.hostile.signing import sign
from torcxd.daemon.addons import download, place, resolve_plan
from torcxd.daemon.context import Context
from torcxd.errors import TorcxdError
from torcxd.lifecycle.effects import Place
from torcxd.lifecycle.facts import Plan, Target
from torcxd.sandbox.bucket import Bucket
from torcxd.sandbox.checker import Checker
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server
from torcxd.sandbox.images import TorcxImage, docker_image
from torcxd.sandbox.keys import SigningKey
from torcxd.sandbox.node import Node
from torcxd.settings import combine

BOARD: Final = "amd64-usr"
OS: Final = "1576.4.0"
OTHER_OS: Final = "1520.8.0"
DOCKER: Final = "17.03"
IMAGE: Final = docker_image(DOCKER, 20_000)
# Signed for another OS version.
OTHER_IMAGE: Final = docker_image(DOCKER, 30_000)

Answer = Response | RawBehaviour
Forgery = Callable[[Request], Awaitable[Answer]] | Response


def manifest_path(os_version: str, board: str = BOARD) -> str:
    return f"/manifests/{board}/{os_version}/torcx_manifest.json"


@dataclass(slots=True)
class Scene:
    """One node, its bucket, and what the attacker answers instead.

    :ivar forged: answers by path, unquoted: they win over the bucket's.
    :ivar error: what the program said at the last attempt.
    """

    node: Node
    bucket: Bucket
    server: Server
    key: SigningKey
    forged: dict[str, Forgery]
    error: TorcxdError | None = None
    preferences: tuple[str, ...] = (DOCKER,)
    flags: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.node.layout.root

    @property
    def staging(self) -> Path:
        return self.node.layout.staging

    @property
    def context(self) -> Context:
        values = {"torcx_manifest_url": self.bucket.manifest_template, "keyring": "/etc/torcxd/pubring.gpg"}
        return Context(combine({**values, **self.flags}), self.node.layout, {})

    def plan(self, os_version: str = OS, board: str = BOARD) -> Plan:
        """What the node wants: Docker for *os_version*, which runs."""
        target = Target(
            board=board,
            current_os=os_version,
            next_os=None,
            kube_version="v1.8.4",
            kube_source="a test",
            docker_preferences=self.preferences,
            mappings_source="a test",
            stage=True,
        )
        return Plan(target, os_version)

    async def fetch(self, os_version: str = OS, board: str = BOARD) -> Plan | None:
        """Resolve the plan and download its images, as the state fetching does; None where that fails."""
        context = self.context
        try:
            async with context.bucket() as http:
                plan = await resolve_plan(context, http, self.plan(os_version, board))
                await download(context, http, plan)
        except (TorcxdError, BaseExceptionGroup) as raised:
            self.error = leaf(raised)
            return None
        return plan

    async def place(self, plan: Plan) -> None:
        """Place what was downloaded, as the state verified does."""
        await place(self.context, Place(plan), anything)

    async def stage(self, os_version: str = OS, board: str = BOARD) -> str:
        """Fetch and place; returns what is wrong with the stores then, empty when nothing is."""
        plan = await self.fetch(os_version, board)
        if plan is not None:
            try:
                await self.place(plan)
            except TorcxdError as error:
                self.error = error
        return self.judge()

    def judge(self) -> str:
        """What is in the stores that should not be, by the checker's word; and what lies outside of them."""
        return "; ".join([*self.checker().check(), *self.strays()])

    def checker(self) -> Checker:
        return Checker(
            self.root,
            signed=lambda: [(version, data) for by, version, data in self.bucket.signed if by == self.key.fingerprint],
            vendored=self.node.vendored,
            pending=lambda: None,
            requests=list,
        )

    def strays(self) -> list[str]:
        """Files named like images that lie where no image belongs."""
        store = self.node.layout.user_store
        found = [each for each in self.root.rglob("*.torcx.*") if each.is_file()]
        vendor = self.root / "usr"
        return [
            f"{each} is no place for an image"
            for each in found
            if not each.is_relative_to(vendor) and (not each.is_relative_to(store) or each.parent.parent != store)
        ]

    # What the attacker does.

    def forge_manifest(self, document: Any, *, signer: SigningKey | None = None, os_version: str = OS) -> bytes:
        """Answer with this manifest, signed by *signer*, the trusted key unless said otherwise."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.forge_signed(data, sign(signer or self.key, data), os_version=os_version)
        return data

    def forge_signed(self, data: bytes, signature: bytes, *, os_version: str = OS, board: str = BOARD) -> None:
        """Answer with this manifest and this signature, whatever they are."""
        path = manifest_path(os_version, board)
        self.forged[path] = Response(200, {}, data)
        self.forged[path + ".asc"] = Response(200, {}, signature)

    def offer(self, content: bytes, path: str = "/evil.torcx.tgz") -> str:
        """Serve *content*; returns its URL."""
        self.forged[path] = Response(200, {"ETag": '"evil"'}, content)
        return self.server.url + path


def document(*versions: dict[str, Any], name: Any = "docker", default: Any = DOCKER) -> dict[str, Any]:
    """A package manifest of one package."""
    package = {"name": name, "defaultVersion": default, "versions": list(versions)}
    return {"kind": "torcx-package-list-v0", "value": {"packages": [package]}}


def version(image: TorcxImage, url: str, **other: Any) -> dict[str, Any]:
    """One version of a package manifest."""
    return {"version": image.reference, "hash": str(image.digest), "locations": [{"url": url}], **other}


def leaf(raised: BaseException) -> TorcxdError:
    """The typed error in a group of groups; anything else is a defect, and raised."""
    while isinstance(raised, BaseExceptionGroup):
        raised = raised.exceptions[0]
    if not isinstance(raised, TorcxdError):
        raise raised
    return raised
