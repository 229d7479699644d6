"""From an effect to the function that carries it out."""

from __future__ import annotations

from collections.abc import Callable

from torcxd.daemon.addons import fetch, place
from torcxd.daemon.attending import attend
from torcxd.daemon.context import Context
from torcxd.daemon.engine import Perform, Report
from torcxd.daemon.finishing import compare, publish, reboot
from torcxd.daemon.gathering import gather, verify_boot
from torcxd.lifecycle.effects import (
    Attend,
    Compare,
    Effect,
    Fetch,
    Gather,
    Place,
    Publish,
    Reboot,
    VerifyBoot,
)


def performer(ctx: Context, random: Callable[[], float]) -> Perform:
    """The function that carries out any effect in *ctx*."""

    async def perform(effect: Effect, report: Report) -> None:
        match effect:
            case Gather():
                await gather(ctx, effect, report, random=random)
            case VerifyBoot():
                await verify_boot(ctx, effect, report)
            case Fetch():
                await fetch(ctx, effect, report)
            case Place():
                await place(ctx, effect, report)
            case Compare():
                await compare(ctx, effect, report)
            case Reboot():
                await reboot(ctx, effect, report)
            case Publish():
                await publish(ctx, effect, report)
            case Attend():
                await attend(ctx, effect, report)
            case _:
                raise AssertionError(f"{effect} is for the engine itself")

    return perform
