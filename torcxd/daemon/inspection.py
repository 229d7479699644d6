"""What the node runs and holds now: read from the disk alone, no network."""

from __future__ import annotations

from torcxd.addons.profile import pinned_reference, read_sealed
from torcxd.addons.store import Store
from torcxd.daemon.context import Context
from torcxd.host.os_release import read_os_release
from torcxd.lifecycle.facts import Image, Plan, Running
from torcxd.lifecycle.plan import DOCKER


async def inspect(ctx: Context, plan: Plan | None) -> Running:
    """Compare the node with *plan*.

    :param plan: a resolved plan whose images and profile are looked for; with None, or an unresolved one, nothing is
        intact.
    :raises TorcxdError: when os-release, the seal or the profile cannot be read.
    """
    release = read_os_release(ctx.layout.os_release)
    sealed = read_sealed(ctx.layout)
    store = Store(ctx.layout, release.version, ctx.digests)
    reference = sealed.reference(DOCKER) if sealed else None
    docker = store.resolve_reference(release.version, DOCKER, reference) if reference else None
    detail = (
        "" if sealed else "torcx sealed no profile at this boot: an image of the profile was missing from the stores"
    )
    damage = await _damage(ctx, store, plan, release.version)
    return Running(release.version, docker, intact=not damage, detail=damage or detail)


async def _damage(ctx: Context, store: Store, plan: Plan | None, running_os: str) -> str:
    """What of the plan's set is missing on disk; empty when nothing is."""
    if plan is None or not plan.resolved:
        return "no set was staged yet"
    for image in plan.images:
        if not await holds(ctx, store, image, running_os):
            return f"the store lacks {image.label}"
    if plan.docker is not None and pinned_reference(ctx.layout, DOCKER) != plan.docker:
        return f"the next torcx profile does not pin docker:{plan.docker}"
    return ""


async def holds(ctx: Context, store: Store, image: Image, running_os: str) -> bool:
    """Whether *image* needs no download: a store has it with its digest, or the OS image carries it."""
    if is_vendored(ctx, image, running_os):
        return True
    return await store.holds(image.os_version, image.name, image.reference, image.digest)


def is_vendored(ctx: Context, image: Image, running_os: str) -> bool:
    """Whether the OS image carries *image*.

    The stores of an OS version that does not run yet are part of its image and cannot be seen: the signed manifest is
    believed there.
    """
    return image.vendor_path is not None and (
        image.os_version != running_os or ctx.layout.at(image.vendor_path).exists()
    )
