"""The effects of fetching and verified: manifests, images, stores, profile."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from torcxd.addons.fetch import Download, Fetcher
from torcxd.addons.manifest import parse_manifest, signature_url
from torcxd.addons.profile import ensure_pinned
from torcxd.addons.signature import BOARD, OS_VERSION, Verifier
from torcxd.addons.staging import Staging
from torcxd.addons.store import Store
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Report
from torcxd.daemon.inspection import holds
from torcxd.errors import EX_NOINPUT, PermanentError
from torcxd.host import docker_cleanup
from torcxd.host.os_release import read_os_release
from torcxd.http import HttpClient, raise_for_status, redact
from torcxd.lifecycle.catalog import PackageManifest
from torcxd.lifecycle.effects import Fetch, Place
from torcxd.lifecycle.events import Fetched, Placed, Resolved, StagingLost
from torcxd.lifecycle.facts import Image, Plan
from torcxd.lifecycle.plan import DOCKER, os_versions_to_stage, resolve
from torcxd.manifest_url import render_url

log = logging.getLogger(__name__)

# The published manifests are some kilobytes; ten thousand versions would fit.
_LARGEST_MANIFEST = 8 << 20
# An armored signature is under a kilobyte; several of them still fit.
_LARGEST_SIGNATURE = 64 << 10


async def fetch(ctx: Context, effect: Fetch, report: Report) -> None:
    """Resolve the plan unless that was done, bring each image into staging, and report ``Fetched``."""
    plan = effect.plan
    async with ctx.bucket() as http:
        if not plan.resolved:
            plan = ctx.ahead.take(plan) or await resolve_plan(ctx, http, plan)
            await report(Resolved(ctx.clock.now(), plan))
        await download(ctx, http, plan)
    await report(Fetched(ctx.clock.now()))


async def place(ctx: Context, effect: Place, report: Report) -> None:
    """Give the staged images their final names, pin the profile, remove what is not needed; report ``Placed``."""
    plan = effect.plan
    store, running_os = _stores(ctx)
    staging = Staging(ctx.layout.staging, ctx.digests)
    for image in plan.images:
        if await holds(ctx, store, image, running_os):
            continue
        source = await store.find_digest(image.name, image.reference, image.digest)
        if source is None:
            # Checked again: since it was fetched, the process may have been killed and the disk cleaned.
            if not await staging.holds(image.digest):
                await report(StagingLost(ctx.clock.now()))
                return
            source = staging.path(image.digest)
        await trio.to_thread.run_sync(store.place, source, image.os_version, image.name, image.reference)
        log.info("Placed %s in the store.", image.label)
    if plan.docker is not None:
        if effect.clean_docker:
            # First: once the profile pins another Docker, any boot brings it.
            async with ctx.system_bus() as bus:
                await docker_cleanup.schedule(bus, ctx.layout, plan.docker)
        edit = ensure_pinned(ctx.layout, ctx.settings.torcx_profile, DOCKER, plan.docker)
        if edit.changed:
            log.info("The torcx profile %s pins docker:%s for the next boot.", edit.name, plan.docker)
        for each in await trio.to_thread.run_sync(store.gc, plan.target.current_os, plan.target.coming_os):
            log.info("Removed the store of OS version %s.", each)
    await trio.to_thread.run_sync(staging.clean, ())
    await report(Placed(ctx.clock.now()))


async def resolve_plan(ctx: Context, http: HttpClient, plan: Plan, *, leave_traces: bool = True) -> Plan:
    """Read and verify the manifests, and choose.

    :param leave_traces: whether gpg may keep its imported keys in the state directory for the next time.
    :raises TorcxdError: a manifest that cannot be had, is not signed by a trusted key, or offers no accepted version.
    """
    manifests: dict[str, PackageManifest] = {}
    with _keyring_home(ctx, leave_traces=leave_traces) as home:
        verifier = None if ctx.settings.no_verify_signatures else Verifier(ctx.path(ctx.settings.keyring), home)

        async def read(os_version: str) -> None:
            manifests[os_version] = await _manifest(ctx, http, verifier, plan.target.board, os_version)

        async with trio.open_nursery() as nursery:
            for each in os_versions_to_stage(plan.target):
                nursery.start_soon(read, each)
    return resolve(plan, manifests)


async def check_keyring(ctx: Context) -> None:
    """Find out now whether the manifests that come later can be verified at all.

    :raises ConfigurationError: the keyring is missing or holds no public key, or gpg is not installed.
    """
    if not ctx.settings.no_verify_signatures:
        with _keyring_home(ctx, leave_traces=True) as home:
            await Verifier(ctx.path(ctx.settings.keyring), home).prepare()


@contextmanager
def _keyring_home(ctx: Context, *, leave_traces: bool) -> Iterator[Path]:
    """Where gpg keeps its imported keys: the state directory, or for now only where that cannot be written."""
    state = ctx.layout.state_directory
    if leave_traces and (not state.exists() or os.access(state, os.W_OK)):
        yield ctx.layout.keyring_home
        return
    with TemporaryDirectory(prefix="torcxd-") as directory:
        yield Path(directory) / "gnupg"


async def plan_without_traces(ctx: Context, plan: Plan) -> Plan:
    """Resolve a plan and leave nothing behind: for ``torcxd plan``."""
    async with ctx.bucket() as http:
        return await resolve_plan(ctx, http, plan, leave_traces=False)


async def download(ctx: Context, http: HttpClient, plan: Plan) -> None:
    """Bring each image of a resolved plan that no store holds into staging."""
    store, running_os = _stores(ctx)
    downloads = [
        each
        for image in plan.images
        if not await holds(ctx, store, image, running_os) and (each := await _download_of(store, image))
    ]
    if downloads:
        staging = Staging(ctx.layout.staging, ctx.digests)
        fetcher = Fetcher(http, staging, parallel=ctx.settings.parallel, progress=ctx.progress)
        await fetcher.fetch(downloads)


async def missing_images(ctx: Context, plan: Plan) -> list[Image]:
    """The images of a resolved plan that neither a store nor the OS image has."""
    store, running_os = _stores(ctx)
    return [each for each in plan.images if not await holds(ctx, store, each, running_os)]


def _stores(ctx: Context) -> tuple[Store, str]:
    """The node's stores, and the OS version that runs and says which of them are mounted."""
    running_os = read_os_release(ctx.layout.os_release).version
    return Store(ctx.layout, running_os, ctx.digests), running_os


async def _download_of(store: Store, image: Image) -> Download | None:
    """What it takes to get *image*, None where another OS version's store has it."""
    if await store.find_digest(image.name, image.reference, image.digest) is not None:
        log.info("%s is in the store of another OS version already; it is linked.", image.label)
        return None
    if not image.urls:
        raise PermanentError(
            f"{image.label} should be in the OS image at {image.vendor_path}, but is not, and has no URL",
            exit_code=EX_NOINPUT,
        )
    return Download(image.digest, image.urls, image.label)


async def _manifest(
    ctx: Context,
    http: HttpClient,
    verifier: Verifier | None,
    board: str,
    os_version: str,
) -> PackageManifest:
    url = render_url(ctx.settings.torcx_manifest_url, board, os_version)
    # For messages: it may carry a password or a signature of its own.
    where = redact(url)
    beside = signature_url(url)
    bodies: dict[str, bytes] = {}

    async def get(each: str, limit: int) -> None:
        response = await http.get(each, max_bytes=limit)
        raise_for_status(response)
        bodies[each] = response.body

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, url, _LARGEST_MANIFEST)
        if verifier is not None:
            nursery.start_soon(get, beside, _LARGEST_SIGNATURE)
    # Nothing is made of the manifest before its signature is good.
    if verifier is None:
        log.warning("The manifest %s is used unverified: --no-verify-signatures is set.", where)
    else:
        purpose = {BOARD: board, OS_VERSION: os_version}
        signer = await verifier.verify(bodies[url], bodies[beside], where, purpose)
        log.debug("The manifest %s is signed by %s.", where, signer)
    return parse_manifest(bodies[url], where)
