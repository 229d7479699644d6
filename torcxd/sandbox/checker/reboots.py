"""The reboots of a node: which were asked for, what they were for, and what they brought (I7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# How often the same target may be booted into in vain.
_MOST_BOOTS: Final = 3
# Seconds after which a reboot that was granted and did not come is lost, and may be asked for again.
_LOST_AFTER: Final = 600.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a boot is asked for."""

    os_version: str
    docker: str | None


@dataclass(slots=True)
class Reboots:
    """Remembers requests and boots; what it finds wrong is told in one line each.

    :ivar expected: what the next boot was asked, or allowed, for; None where nobody did.
    """

    expected: Target | None = None
    # Each reboot that was asked for: the boot and the target.
    _asked: list[tuple[str, Target]] = field(default_factory=list)
    # Boots that did not bring what they were for, by what that was.
    _vain: Counter[str] = field(default_factory=Counter)

    def expect(self, what: str, target: Target) -> list[str]:
        """The next boot is for *target*; tells of a target that did not come too often already.

        :param what: what was asked for or allowed, and for which OS version.
        """
        self.expected = target
        in_vain = {each: self._vain[key] for key, each in _keys(target).items() if self._vain[key] >= _MOST_BOOTS}
        return [f"{what} after {count} boots that did not bring {each}" for each, count in in_vain.items()]

    def asked(self, boot_id: str, target: Target) -> None:
        """A reboot was asked for, in this boot."""
        self._asked.append((boot_id, target))

    def booted(self, os_version: str, *, brought_docker: bool) -> None:
        """The node came up with *os_version*; count a boot that did not bring what it was asked for.

        :param brought_docker: whether it runs the Docker of :attr:`expected`.
        """
        target, self.expected = self.expected, None
        if target is None:
            return
        os_key, docker_key = _keys(target)
        if target.os_version != os_version:
            self._vain[os_key] += 1
        elif not brought_docker:
            self._vain[docker_key] += 1
        else:
            del self._vain[os_key], self._vain[docker_key]

    def forget(self) -> None:
        """The program has lost its memory: it cannot know what came before."""
        self._vain.clear()
        self.expected = None

    def check(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
        """Tell of more requests than one in a boot for the same target.

        :param requests: the records of login1 and systemd1.
        """
        recorded = [each for each in requests if _is_reboot(each)]
        told = Counter(boot_id for boot_id, _ in self._asked)
        for boot_id, count in Counter(each["boot_id"] for each in recorded).items():
            if count > max(1, told[boot_id]):
                yield f"{count} reboots were asked for in the boot {boot_id}"
        for boot_id in told:
            targets = [target for each, target in self._asked if each == boot_id]
            times = [each.get("at") for each in recorded if each["boot_id"] == boot_id]
            times += [None] * (len(targets) - len(times))
            yield from _repeated(boot_id, targets, times)


def _repeated(boot_id: str, targets: list[Target], times: list[float | None]) -> Iterator[str]:
    last: dict[Target, float | None] = {}
    for target, at in zip(targets, times, strict=False):
        before = last.get(target)
        lost = before is not None and at is not None and at - before >= _LOST_AFTER
        if target in last and not lost:
            yield f"a reboot into {target} was asked for twice in the boot {boot_id}"
        last[target] = at


def _keys(target: Target) -> dict[str, str]:
    """Under which boots in vain are counted, and what did not come: the OS, and the Docker on it."""
    docker = f"Docker {target.docker} on OS {target.os_version}"
    return {f"os {target.os_version}": f"OS {target.os_version}", docker: docker}


def _is_reboot(request: Mapping[str, Any]) -> bool:
    asked = (request["member"], request["args"])
    return asked in (("Reboot", [False]), ("StartUnit", ["reboot.target", "isolate"]))
