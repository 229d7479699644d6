"""What happens in a world: events with their times, made from a seed, and kept apart from everything random in a run.

An event is data. Leaving one out changes nothing about the others, so a story that goes wrong can be made shorter until
each event that is left is needed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

MINUTE: Final = 60.0
# The OS versions of a story, oldest first; the last one is for its end.
OS_VERSIONS: Final = ("1520.8.0", "1576.4.0", "1632.3.0", "1688.5.3", "1745.7.0")
LAST_OS: Final = "1800.6.0"
KUBE_VERSIONS: Final = ("v1.8.4+coreos.0", "v1.8.9+coreos.0", "v1.9.6+coreos.0")
# How long a story is before all faults end, in seconds.
LENGTH: Final = 55 * MINUTE


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens.

    :param at: seconds of virtual time since the node was first switched on.
    :param what: the name of a method of the world, without its ``do_``.
    :param how: its arguments.
    """

    at: float
    what: str
    how: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        arguments = " ".join(f"{name}={value}" for name, value in self.how.items())
        return f"{self.at:9.3f}  {self.what} {arguments}".rstrip()


@dataclass(frozen=True, slots=True)
class Story:
    """A node's surroundings, and what happens.

    :param seed: of all that is random besides the events: the order of tasks, jitter, what a power cut takes.
    :param attendant: who answers the update operator: ``daemon`` or ``hook``.
    :param operator: whose names it uses: ``cluo`` or ``fluo``.
    :param settings: those of torcxd that differ from its defaults.
    :param offered: the OS version that update_engine finds when it is asked to look; empty for none.
    """

    seed: int
    attendant: str = "daemon"
    operator: str = "fluo"
    settings: dict[str, Any] = field(default_factory=dict)
    offered: str = ""
    events: tuple[Event, ...] = ()

    def to_json(self) -> str:
        document = {
            "seed": self.seed,
            "attendant": self.attendant,
            "operator": self.operator,
            "settings": self.settings,
            "offered": self.offered,
            "events": [[each.at, each.what, each.how] for each in self.events],
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Story:
        document = json.loads(text)
        events = tuple(Event(*each) for each in document.pop("events"))
        return cls(events=events, **document)


def _peer(chance: random.Random) -> str:
    return chance.choice(("bucket", "api", "bus"))


def _seconds(chance: random.Random) -> float:
    """How long a trouble lasts: mostly short, now and then long."""
    return round(chance.choice((2, 20, 90, 400)) * (0.5 + chance.random()), 3)


def _update(chance: random.Random) -> dict[str, Any]:
    return {
        "version": chance.choice(OS_VERSIONS[1:]),
        "seconds": round(chance.choice((1, 30, 300)) * (0.5 + chance.random()), 3),
        "silent": chance.random() < 0.2,
    }


BUCKET_FAULTS: Final = (
    *("not-found", "forbidden", "unavailable", "html", "hang", "truncated", "reset", "stalled"),
    *("shortened", "wrong-content", "larger", "other-data"),
)
API_FAULTS: Final = (
    *("hang", "reset", "401", "403", "404", "409", "422", "429", "500", "503"),
    *("html", "html-502", "half-json", "cut-short", "wrong-shape", "endless"),
)
WATCH_FAULTS: Final = (
    *("410", "in-band 410", "in-band 500", "end", "stall", "half-close", "not-json", "endless-line"),
    *("cut-mid-line", "duplicate", "reorder"),
)

DOCKER_FAULTS: Final = ("foreign", "garbage", "hang", "endless", "500", "absent")
# What people clear up where nothing is theirs.
HANDS: Final = ("image", "staging", "state", "damaged state", "history")
# Who crashes and comes back: update_engine twice as often.
RESTARTED: Final = ("update_engine",) * 2 + ("login1", "systemd1", "bus", "bucket", "api", "operator", "docker")

# What can happen, how often among a hundred or so, and its arguments.
_KINDS: Final[dict[str, tuple[int, Callable[[random.Random], dict[str, Any]]]]] = {
    # update_engine.
    "update": (14, _update),
    "failed_update": (3, lambda r: {"version": r.choice(OS_VERSIONS[1:]), "seconds": 10.0}),
    "reset": (4, lambda r: {}),
    "restart": (8, lambda r: {"peer": r.choice(RESTARTED)}),
    "hang": (
        3,
        lambda r: {
            "peer": r.choice(("update_engine", "login1", "systemd1")),
            "member": r.choice(("GetStatus", "Inhibit", "EnableUnitFiles", "Reboot", "ListJobs")),
            "seconds": _seconds(r),
        },
    ),
    "signals": (4, lambda r: {"faults": r.choices(("lose", "repeat", "late", "swap"), k=r.randint(1, 6))}),
    "replies": (3, lambda r: {"faults": r.choices(("lose", "late"), k=r.randint(1, 3))}),
    # The network.
    "down": (6, lambda r: {"peer": _peer(r), "seconds": _seconds(r)}),
    "blackhole": (4, lambda r: {"peer": r.choice(("bucket", "api")), "seconds": _seconds(r)}),
    "unresolved": (2, lambda r: {"peer": r.choice(("bucket", "api")), "seconds": _seconds(r)}),
    "slow": (4, lambda r: {"peer": _peer(r), "latency": r.choice((0.05, 0.7, 3.0)), "seconds": _seconds(r)}),
    "cut": (4, lambda r: {"peer": _peer(r)}),
    "cuts": (4, lambda r: {"peer": r.choice(("bucket", "api")), "after": [r.randrange(6000) for _ in range(3)]}),
    "flips": (4, lambda r: {"at": [r.randrange(200, 6000) for _ in range(4)]}),
    # The bucket.
    "bucket_fault": (
        7,
        lambda r: {
            "fault": r.choice(BUCKET_FAULTS),
            "part": r.choice((".asc", ".json", ".tgz", "/")),
            "times": r.randint(1, 4),
        },
    ),
    # An image may be a gigabyte, and so may one that never ends: only the short ones are of use here.
    "endless": (1, lambda r: {"part": r.choice((".asc", ".json"))}),
    "manifest": (
        5,
        lambda r: {
            "version": r.choice(OS_VERSIONS),
            "state": r.choice(("missing", "unsigned", "foreign", "nonsense")),
            "seconds": _seconds(r),
        },
    ),
    "new_image": (2, lambda r: {"version": r.choice(OS_VERSIONS), "size": r.randrange(4000, 9000)}),
    "rotate_key": (1, lambda r: {"late": _seconds(r)}),
    "keyring": (2, lambda r: {"state": r.choice(("missing", "empty", "damaged")), "seconds": _seconds(r)}),
    # The cluster.
    "api_fault": (6, lambda r: {"faults": r.choices(API_FAULTS, k=r.randint(1, 4))}),
    "watch_fault": (6, lambda r: {"faults": r.choices(WATCH_FAULTS, k=r.randint(1, 4))}),
    "compact": (2, lambda r: {}),
    "upgrade": (3, lambda r: {"version": r.choice(KUBE_VERSIONS)}),
    "mappings": (
        4,
        lambda r: {"state": r.choice(("17.03", "17.09", "nonsense", "uncovered", "absent")), "seconds": _seconds(r)},
    ),
    "rotate_token": (3, lambda r: {"late": _seconds(r)}),
    # People and the update operator.
    "pause": (2, lambda r: {"seconds": _seconds(r)}),
    "ask": (3, lambda r: {}),
    "hands": (5, lambda r: {"where": r.choice(HANDS)}),
    "docker": (4, lambda r: {"faults": r.choices(DOCKER_FAULTS[:-1], k=r.randint(1, 3))}),
    "no_docker": (1, lambda r: {"seconds": _seconds(r)}),
    # The process and the machine.
    "crash": (12, lambda r: {"steps": r.choice((1, 5, 40, 200)) + r.randrange(60)}),
    "crash_at_call": (6, lambda r: {"calls": r.choice((1, 5, 40)) + r.randrange(20)}),
    "power_at_call": (8, lambda r: {"calls": r.choice((1, 5, 40)) + r.randrange(20)}),
    "stop": (3, lambda r: {}),
    "reload": (3, lambda r: {"good": r.random() < 0.7}),
    "reboot": (6, lambda r: {"how": r.choice(("clean", "power", "power", "rollback"))}),
    "falls_back": (5, lambda r: {}),
    "full": (4, lambda r: {"seconds": _seconds(r)}),
    "jump": (4, lambda r: {"seconds": r.choice((-86400.0, -3600.0, -30.0, 30.0, 3600.0, 86400.0))}),
}


def make(seed: int) -> Story:
    """The story of a seed."""
    chance = random.Random(seed)
    names = list(_KINDS)
    weights = [_KINDS[each][0] for each in names]
    settings: dict[str, Any] = {
        "upgrade_os": chance.random() < 0.4,
        "reboot_via": chance.choice(("login1", "systemd1")),
        "update_kubelet": chance.random() < 0.5,
        "restart_kubelet": chance.random() < 0.5,
    }
    count = chance.choice((3, 8, 16, 30))
    # Trouble comes in bursts: half of it soon after something else.
    times: list[float] = []
    for _ in range(count):
        near = bool(times) and chance.random() < 0.6
        at = chance.choice(times) + chance.expovariate(1 / 20) if near else chance.uniform(0, LENGTH)
        times.append(round(min(at, LENGTH), 3))
    events = []
    for at in sorted(times):
        name = chance.choices(names, weights)[0]
        events.append(Event(at, name, _KINDS[name][1](chance)))
    return Story(
        seed,
        chance.choice(("daemon", "daemon", "daemon", "hook")),
        chance.choice(("cluo", "fluo")),
        settings,
        chance.choice(("", OS_VERSIONS[1])),
        tuple(events),
    )
