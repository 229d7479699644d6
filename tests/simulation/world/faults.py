"""What may go wrong in a story, by class: each of these is counted when somebody runs into it, not when it is set up.

A trouble of which nobody takes notice proves nothing: a lost signal that nobody waited for, an answer that was to be
cut off and never asked for. So the counters are where it happens, and :func:`tell` shows what never did.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final, TypeVar

from tests.simulation.world.story import API_FAULTS, BUCKET_FAULTS, DOCKER_FAULTS, HANDS, RESTARTED, WATCH_FAULTS

T = TypeVar("T")


def _each(who: str, *faults: str) -> tuple[str, ...]:
    return tuple(f"{who}: {fault}" for fault in faults)


# What a server answers instead: these are refusals, those are cut off or never come; the others are lies.
_REFUSALS: Final = {
    *("not-found", "forbidden", "unavailable", "401", "403", "404", "409", "422", "429", "500", "503"),
    *("410", "in-band 410", "in-band 500", "html-502"),
}
_SILENCES: Final = {"hang", "stalled", "stall", "half-close"}
_CUTS: Final = {"truncated", "reset", "cut-short", "cut-mid-line", "end"}
_REPEATS: Final = {"duplicate"}
_REORDERS: Final = {"reorder"}

_ANSWERS: Final = (
    *_each("bucket", *BUCKET_FAULTS, "endless"),
    *_each("api", *API_FAULTS),
    *_each("watch", *WATCH_FAULTS),
    *_each("docker", *DOCKER_FAULTS),
)


def _answers(kinds: set[str]) -> tuple[str, ...]:
    return tuple(each for each in _ANSWERS if each.partition(": ")[2] in kinds)


_LIES: Final = tuple(
    each
    for each in _ANSWERS
    if each.partition(": ")[2] not in _REFUSALS | _SILENCES | _CUTS | _REPEATS | _REORDERS | {"absent"}
)

# The classes, and the counters of each.
CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "lost": (
        *_each("bus", "signal lose", "reply lose"),
        *_each("bucket", "connection withheld", "bytes withheld"),
        *_each("api", "connection withheld", "bytes withheld"),
        *_answers(_SILENCES),
        *_each("hang", "update_engine", "login1", "systemd1"),
    ),
    "late": (
        *_each("bus", "signal late", "reply late", "bytes late"),
        *_each("api", "bytes late"),
    ),
    "repeated": (*_each("bus", "signal repeat"), *_answers(_REPEATS)),
    "reordered": (*_each("bus", "signal swap"), *_answers(_REORDERS)),
    "corrupt": (*_each("bucket", "byte changed"), *_LIES),
    "slow and cut downloads": (
        *_each("bucket", "bytes late", "answer cut off", "connection broken"),
        *(each for each in _answers(_CUTS) if each.startswith("bucket")),
    ),
    "cut connections": (
        *_each("api", "answer cut off", "connection broken"),
        *_each("bus", "connection broken"),
        *(each for each in _answers(_CUTS) if not each.startswith("bucket")),
    ),
    "refused": (
        *_each("bucket", "connection refused", "name not resolved"),
        *_each("api", "connection refused", "name not resolved"),
        *_each("bus", "connection refused"),
        *_answers(_REFUSALS),
    ),
    "restarts": _each("restart", *sorted(set(RESTARTED))),
    "clock": _each("clock", "forward", "back"),
    "full disk": _each("disk", "write refused"),
    "crashes": _each("crash", "at a step", "at a disk operation"),
    "reboots": _each("reboot", "clean", "asked", "operator"),
    "rollbacks": _each("reboot", "rollback"),
    "power cuts": _each("power", "at any time", "at a disk operation", "something lost"),
    "people": (
        *_each("manifest", "missing", "unsigned", "foreign", "nonsense"),
        *_each("keyring", "missing", "empty", "damaged", "rotated"),
        *_each("mappings", "17.03", "17.09", "nonsense", "uncovered", "absent"),
        *_each("token", "rotated"),
        *_each("hands", *HANDS),
        *_each("reload", "good", "bad"),
    ),
}


class Counted(deque[T]):
    """A queue of faults that counts what is taken out of it.

    :param who: whose faults they are.
    """

    def __init__(self, who: str, fired: Counter[str]) -> None:
        super().__init__()
        self._who = who
        self._fired = fired

    def popleft(self) -> T:
        found = super().popleft()
        self._fired[f"{self._who}: {found}"] += 1
        return found


def never(fired: Counter[str]) -> list[str]:
    """What has not happened."""
    return [each for counters in CLASSES.values() for each in counters if not fired[each]]


def tell(fired: Counter[str]) -> list[str]:
    """A line for each class: how often, and what of it never."""
    lines = []
    for name, counters in CLASSES.items():
        missing = [each for each in counters if not fired[each]]
        told = ", ".join(f"{each} {fired[each]:,}" for each in counters if fired[each])
        total = sum(fired[each] for each in counters)
        lines.append(f"{name}: {total:,} ({told})" + (f"; NEVER {', '.join(missing)}" if missing else ""))
    return lines
