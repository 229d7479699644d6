"""The catalogue of what torcxd tells the journal: stable ids that programs can rely on, and texts for people.

``journalctl -x`` shows the texts beside the entries (``systemd/torcxd.catalog``), and ``docs/messages.md`` lists them;
both are generated from here. An id is random, made once, and never changes nor is used again; see sd-id128(3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of entry.

    :param name: what the documentation calls it.
    :param id: 128 random bits in hexadecimal, the entry's ``MESSAGE_ID``.
    :param subject: one line that says what happened.
    :param text: what it means and what to do; ``@FIELD@`` stands for the entry's own value.
    :param fields: which of :data:`FIELDS` such an entry has where they are known, besides :data:`COMMON`.
    """

    name: str
    id: str
    subject: str
    text: str
    fields: tuple[str, ...] = field(default=())

    def extra(self, fields: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """What makes a log record an entry of this kind: ``log.info("…", extra=message.extra({…}))``.

        :param fields: values by name; those that are None are left out.
        """
        known = {name: value for name, value in (fields or {}).items() if value is not None}
        return {"journal": {"MESSAGE_ID": self.id, **known}}


# The fields of systemd.journal-fields(7) that each entry has, and torcxd's own ones.
COMMON: Final = ("MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "CODE_FILE", "CODE_LINE", "CODE_FUNC")
FIELDS: Final[Mapping[str, str]] = {
    "TORCXD_STATE": "the state in which it happened",
    "TORCXD_STATE_FROM": "the state that was left",
    "TORCXD_STATE_TO": "the state that was entered",
    "TORCXD_EVENT": "the event that caused it, as the chart in `states/` names it",
    "TORCXD_BECAUSE": "the chart's reason, one clause",
    "TORCXD_BOOT_OS": "the OS version that the next boot is to bring",
    "TORCXD_OS": "the OS version that ran when the target was gathered",
    "TORCXD_NEXT_OS": "the OS version of the pending update; absent without one",
    "TORCXD_KUBERNETES": "the Kubernetes version that the node is to run",
    "TORCXD_DOCKER": "the chosen Docker version; absent while none is chosen",
    "TORCXD_ERROR": "what went wrong, one sentence",
    "TORCXD_HINT": "what can be done about it; absent where nothing is known",
    "TORCXD_ERROR_KIND": "`transient`, `permanent` or `configuration`",
    "TORCXD_ATTEMPTS": "how often the state has failed in a row",
    "TORCXD_NEXT_TRY": "when it is tried again, microseconds since the epoch",
    "TORCXD_EXIT_CODE": "the exit code of the process, as sysexits(3)",
    "TORCXD_VIA": "the service that was asked: `login1` or `systemd1`",
    "TORCXD_REASON": "why, one clause",
    "TORCXD_SOURCE": "the source of events",
}

TARGET: Final = ("TORCXD_OS", "TORCXD_NEXT_OS", "TORCXD_BOOT_OS", "TORCXD_KUBERNETES", "TORCXD_DOCKER")
_FAILURE: Final = ("TORCXD_STATE", "TORCXD_ERROR", "TORCXD_HINT", "TORCXD_ERROR_KIND", "TORCXD_ATTEMPTS")

TRANSITION: Final = Message(
    "transition",
    "90d4b8af5f4c464887266cb4d82f4697",
    "The node's lifecycle entered the state @TORCXD_STATE_TO@",
    "The lifecycle left @TORCXD_STATE_FROM@ for @TORCXD_STATE_TO@: @TORCXD_BECAUSE@. Nothing is to be done.\n"
    "The states and the ways between them are shown by `torcxd graph`, the present one by `torcxd status`.",
    ("TORCXD_STATE_FROM", "TORCXD_STATE_TO", "TORCXD_EVENT", "TORCXD_BECAUSE", *TARGET),
)
FAILURE: Final = Message(
    "failure",
    "cb0423ae15e14354b6e8a2dccc72d23a",
    "A step failed and is tried again",
    "What the state @TORCXD_STATE@ does has failed: @TORCXD_ERROR@.\n"
    "It is tried again, later each time, up to some minutes apart. `torcxd status` shows when. Until it succeeds, the\n"
    "node keeps what it has and is not rebooted by torcxd.",
    (*_FAILURE, "TORCXD_NEXT_TRY", *TARGET),
)
GIVEN_UP: Final = Message(
    "given-up",
    "3175e11ec4e24f39be3e5678b010e5b9",
    "torcxd has stopped trying",
    "What the state @TORCXD_STATE@ does has failed for good, or for too long: @TORCXD_ERROR@.\n"
    "The process ends with the code @TORCXD_EXIT_CODE@. k8s-node-bootstrap.service starts it again after ten seconds,\n"
    "whatever the code. torcxd.service does not after 78, a wrong configuration: correct it and start the unit.",
    (*_FAILURE, "TORCXD_EXIT_CODE", *TARGET),
)
REBOOT_REQUESTED: Final = Message(
    "reboot-requested",
    "4e95591fca744696b516758918bd0d9d",
    "A reboot was requested and accepted",
    "The complete set for the next boot is on disk, and @TORCXD_VIA@ has accepted the request to reboot.\n"
    "After the boot, torcxd verifies that it brought the set.",
    ("TORCXD_VIA", *TARGET),
)
BOOT_WITHOUT_SET: Final = Message(
    "boot-without-set",
    "cf06d7f223614bc1a551531625d05c53",
    "A boot did not bring the set that was staged for it",
    "The expected OS version runs, but torcx has not applied the profile that was staged: @TORCXD_REASON@.\n"
    "See the journal of torcx-generator. The boot is repeated a few times, then torcxd waits for somebody.",
    ("TORCXD_REASON", *TARGET),
)
FOREIGN_DOCKER: Final = Message(
    "foreign-docker",
    "6f2722953efb45ccb82c7a0026dfe0f3",
    "Another Docker runs than the one that torcx applied",
    "The boot brought the set, but what answers at Docker's socket is not of it: @TORCXD_REASON@.\n"
    "Somebody has installed and started another Docker. This is only told: another boot would not change it.",
    ("TORCXD_REASON", *TARGET),
)
ROLLED_BACK: Final = Message(
    "rolled-back",
    "ea0ab446378e43b4b1325c04c8eb1340",
    "The operating system was rolled back to the version before its update",
    "OS @TORCXD_BOOT_OS@ was staged for this boot, and another version runs: the boot loader has fallen back, since\n"
    "the new version did not come up or was not marked good in time. The update is tried a few times, then left alone.",
    ("TORCXD_REASON", *TARGET),
)
HOOK_ANSWERED: Final = Message(
    "hook-answered",
    "97f0b2fa70b040d28ef101fdf8924370",
    "The update operator may reboot this node",
    "The update operator asked whether the node may reboot. The set for its next boot is complete, and the success\n"
    "annotation was put on the node.",
    TARGET,
)
HOOK_WITHHELD: Final = Message(
    "hook-withheld",
    "2f1d77436e4c40069a7b75982595dbfa",
    "The update operator has to wait for this node",
    "The update operator asked whether the node may reboot, and it may not yet: @TORCXD_REASON@.\n"
    "The node carries the reason as an annotation and an event: see `kubectl describe node`.",
    ("TORCXD_REASON", *TARGET),
)
INHIBITOR_TAKEN: Final = Message(
    "inhibitor-taken",
    "b7504f1cc1064fe5aa37be5d1e07f074",
    "Reboots are held off",
    "The next boot would bring a system for which this node is not prepared: @TORCXD_REASON@.\n"
    "Until it is, torcxd holds a shutdown inhibitor; `systemd-inhibit --list` shows it. Root can override it.",
    ("TORCXD_REASON",),
)
INHIBITOR_RELEASED: Final = Message(
    "inhibitor-released",
    "5d34a3127b5c4fd29a644df869560878",
    "Reboots are let through again",
    "The node is prepared for its next boot, or there is none to prepare for any more.",
)
INHIBITOR_EXPIRED: Final = Message(
    "inhibitor-expired",
    "68cf0c7f1c124754ab332648fef282b2",
    "Reboots are let through though the node is not prepared",
    "Reboots were held off for as long as the configuration allows, and the node is still not prepared:\n"
    "@TORCXD_REASON@. A reboot now may leave it without Docker. `torcxd status` shows what failed.",
    ("TORCXD_REASON",),
)
SOURCE_LOST: Final = Message(
    "source-lost",
    "dc019bb5686a4208b76e5d8815d53802",
    "A source of events is lost",
    "torcxd does not hear from @TORCXD_SOURCE@ any more: @TORCXD_REASON@.\n"
    "It is sought again for ever; the other sources go on. Changes that only this source knows go unnoticed meanwhile.",
    ("TORCXD_SOURCE", "TORCXD_REASON"),
)
SOURCE_BACK: Final = Message(
    "source-back",
    "8b9453816f9c44fe94a8a36f0cf88eb9",
    "A source of events is back",
    "torcxd hears from @TORCXD_SOURCE@ again, and has asked for what it missed.",
    ("TORCXD_SOURCE",),
)
CONFIGURATION_RELOADED: Final = Message(
    "configuration-reloaded",
    "e152057bd1204a2a92637da8733fb37d",
    "The configuration was read anew",
    "The new configuration is in effect.",
)
CONFIGURATION_REFUSED: Final = Message(
    "configuration-refused",
    "4b8dc1cfc0464fb0aba6160c3c1efbff",
    "The new configuration is wrong and was not taken over",
    "torcxd was asked to read its configuration anew, and found an error: @TORCXD_ERROR@.\n"
    "The old configuration stays in effect. Correct the file that is named and reload again, before the next restart.",
    ("TORCXD_ERROR", "TORCXD_HINT"),
)
PUBLISHED: Final = Message(
    "published",
    "0b43a2e85546488f82e10f84261af31b",
    "kubelet.env is published",
    "The node runs the wanted OS and Docker versions, and kubelet.env names the Kubernetes version:\n"
    "the kubelet may start.",
    TARGET,
)

CATALOGUE: Final = (
    TRANSITION,
    FAILURE,
    GIVEN_UP,
    REBOOT_REQUESTED,
    BOOT_WITHOUT_SET,
    FOREIGN_DOCKER,
    ROLLED_BACK,
    HOOK_ANSWERED,
    HOOK_WITHHELD,
    INHIBITOR_TAKEN,
    INHIBITOR_RELEASED,
    INHIBITOR_EXPIRED,
    SOURCE_LOST,
    SOURCE_BACK,
    CONFIGURATION_RELOADED,
    CONFIGURATION_REFUSED,
    PUBLISHED,
)
