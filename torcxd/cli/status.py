"""``torcxd status``: reads the state file and tells; works while no other torcxd runs, and imports next to nothing."""

from __future__ import annotations

import json
import os
import sys
import time

from torcxd.daemon import document, holder

# As typing.TYPE_CHECKING, without the milliseconds that importing typing takes: `torcxd status` counts them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any, Final

DESCRIPTION: Final = (
    "Says in which state the node's lifecycle is, since when, whether a torcxd works on it, what it waits for, what "
    "failed last and when it is tried again. The schema of --json is documented in docs/state-file.md. Exit codes: 0 "
    "told (also when nothing was ever run), 65 the state file is damaged, 66 there is no such folder as --root, 77 it "
    "may not be read."
)
# The commands that serve the update operator, and leave the reboot to it.
_SERVING: Final = ("run", "hook")
_EX_DATAERR: Final = 65
_EX_NOINPUT: Final = 66
_EX_NOPERM: Final = 77


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``status``, for its own parser and for the whole program's."""
    parser.add_argument("--root", default="/", metavar="DIR", help="the folder that stands for / (default: /)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    root, as_json = _plain(argv) or _parsed(argv)
    if not os.path.isdir(root):  # noqa: PTH112 - importing pathlib takes longer than all the rest
        from torcxd.cli.output import fail

        return fail(f"--root: there is no folder {root}", "correct the path", _EX_NOINPUT)
    report, exit_code = read(root)
    try:
        sys.stdout.write(json.dumps(report, indent=2) + "\n" if as_json else render(report, time.time()))
        sys.stdout.flush()
    except OSError as error:
        from torcxd.cli.output import fail_to_print

        return fail_to_print(error)
    return exit_code


def _plain(argv: Sequence[str]) -> tuple[str, bool] | None:
    """The usual arguments, read without argparse, whose import takes longer than all the rest; None for others."""
    root, as_json = "/", False
    for each in argv:
        if each == "--json":
            as_json = True
        elif each.startswith("--root="):
            root = each.removeprefix("--root=")
        else:
            return None
    return root, as_json


def _parsed(argv: Sequence[str]) -> tuple[str, bool]:
    from torcxd.cli.parser import build

    arguments = build().parse_args(["status", *argv])
    return arguments.root, arguments.json


def read(root: str) -> tuple[dict[str, Any], int]:
    """The report of the node below *root*, and the exit code.

    The keys are stable: ``schema, process, state, since, boot_id, waiting_for, waiting_until, plan, last_error,
    attempts, next_try, reboot, boots, published_at, hook, sources, problem``. Times are seconds since the epoch; what
    is not known is null.
    """
    path = f"{root.rstrip('/')}/var/lib/torcxd/state.json"
    report: dict[str, Any] = dict.fromkeys(
        ("state", "since", "boot_id", "waiting_for", "waiting_until", "plan", "last_error")
    )
    report |= {"schema": document.SCHEMA, "process": holder.look(root), "attempts": 0, "boots": {}}
    report |= dict.fromkeys(("next_try", "reboot", "published_at", "hook", "problem"))
    report["sources"] = _sources(f"{root.rstrip('/')}/run/torcxd/sources.json")
    try:
        with open(path, "rb") as stream:
            content = document.decode(stream.read(document.LARGEST + 1))
    except FileNotFoundError:
        return report, 0
    except PermissionError:
        report["problem"] = f"{path} may not be read by this user; try as root"
        return report, _EX_NOPERM
    except OSError as error:
        # The next run cannot read it either, and says so.
        report["problem"] = f"cannot read {path}: {error.strerror or error}"
        return report, _EX_DATAERR
    except document.DamagedDocument as error:
        report["problem"] = f"{path} is unusable: {error}; the next run keeps it aside and gathers afresh"
        return report, _EX_DATAERR
    for key in ("state", "since", "boot_id", "plan", "next_try", "reboot", "boots", "published_at", "waiting_until"):
        report[key] = content.get(key)
    report["waiting_for"] = content.get("waiting_for") or None
    hook = ("asked", "answered", "answered_at")
    report["hook"] = {each: content.get(f"hook_{each}") for each in hook}
    failure = content.get("failure")
    if isinstance(failure, dict):
        report["attempts"] = failure.pop("attempts", 0)
        report["last_error"] = failure
    return report, 0


def _sources(path: str) -> dict[str, Any]:
    """What the daemon or hook of this boot last said of its sources, by name; empty where none did."""
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read(document.LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: each for name, each in found.items() if _is_source(each)} if isinstance(found, dict) else {}


def _is_source(value: Any) -> bool:
    """Whether this is how a daemon, of whatever version, tells of a source."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("up"), bool)
        and isinstance(value.get("detail"), str)
        and isinstance(value.get("since"), int | float)
        and isinstance(value.get("heard_at", ""), int | float | None)
    )


def render(report: dict[str, Any], now: float) -> str:
    """The report for people."""
    try:
        lines = _lines(_printable(report), now)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
        # Whole, and yet not written by any torcxd.
        lines = [("Problem", "the state file is of a shape that torcxd does not know; --json shows what it holds")]
    return "".join(f"{key + ':':12}{value}\n" for key, value in lines)


def _printable(value: Any) -> Any:
    """*value* with texts that a terminal takes for texts: peers have written a part of them."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(each if each.isprintable() else "?" for each in value)
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list) else value


def _lines(report: dict[str, Any], now: float) -> list[tuple[str, str]]:
    from torcxd.cli.style import ago, bold, moment

    lines: list[tuple[str, str]] = []
    if report["problem"]:
        lines.append(("Problem", report["problem"]))
    elif report["state"] is None:
        lines.append(("State", "nothing was run on this node yet"))
    else:
        since = report["since"]
        lines.append(("State", f"{bold(report['state'], sys.stdout)} since {moment(since)} ({ago(now - since)} ago)"))
    lines.append(("Running", _running(report)))
    if report["waiting_for"]:
        until = report["waiting_until"]
        lines.append(("Waits for", report["waiting_for"] + (f", until {moment(until)}" if until else "")))
    lines += _plan_lines(report["plan"])
    error, runs = report["last_error"], report["process"]["runs"]
    if error:
        times = f"attempt {report['attempts']}, {ago(now - error['last_at'])} ago, first {moment(error['first_at'])}"
        lines.append(("Last error", f"{error['message']} ({times})"))
        if error["hint"]:
            lines.append(("Hint", error["hint"]))
    if error and error.get("final"):
        # The daemon's unit does not restart it over a wrong configuration.
        awaited = "its unit starts it again"
        if error["kind"] == "configuration":
            awaited = "it is started with a right configuration"
        lines.append(("Next try", f"when {awaited}"))
    elif report["next_try"] is not None:
        left = report["next_try"] - now
        due = f"in {ago(left)}" if left > 0 else f"was due {ago(-left)} ago"
        lines.append(("Next try", f"{due}, but no torcxd runs" if runs is False else due))
    reboot = report["reboot"]
    if reboot:
        asked = _reboot(report)
        cleaned = "; /var/lib/docker is cleaned on the way" if reboot["clean_docker"] else ""
        lines.append(("Reboot", f"{asked}{cleaned}"))
    for what, count in (report["boots"] or {}).items():
        # Keys for programs, such as "os 1576.4.0, docker 17.03".
        named = what.replace("os ", "OS ", 1).replace("docker ", "Docker ", 1)
        lines.append(("Boots", f"{count} did not bring {named}"))
    if report["published_at"]:
        lines.append(("Published", f"kubelet.env, {moment(report['published_at'])}"))
    hook = report["hook"]
    if hook and (hook["asked"] or hook["answered_at"]):
        asked = "the update operator asks for its check" if hook["asked"] else "nothing is asked"
        answered = "not answered yet"
        if hook["answered_at"] and (hook["answered"] or not hook["asked"]):
            answered = f"answered {moment(hook['answered_at'])}"
        lines.append(("Hook", f"{asked}; {answered}"))
    for name, source in report["sources"].items():
        heard = f"heard {ago(now - source['heard_at'])} ago" if source["heard_at"] else "never heard"
        health = "up" if source["up"] else f"lost for {ago(now - source['since'])}: {source['detail']}"
        if runs is False:
            # What is heard of it now is not known: this is what the last one noted.
            health = "was " + ("up" if source["up"] else f"lost: {source['detail']}")
        lines.append(("Source", f"{name} {health}, {heard}"))
    return lines


def _running(report: dict[str, Any]) -> str:
    process = report["process"]
    if process["runs"] is None:
        return "not known: this user may not look; try as root"
    if not process["runs"]:
        return "no" if report["state"] is None else "no; this is what the last torcxd has recorded"
    number = f"process {process['pid']}" if process["pid"] else "of unknown process number"
    return f"torcxd {process['command'] or ''}".strip() + f", {number}"


def _reboot(report: dict[str, Any]) -> str:
    """Who asks for the reboot, and how far that is."""
    from torcxd.cli.style import moment

    accepted, hook = report["reboot"]["accepted_at"], report["hook"]
    if accepted:
        return f"accepted {moment(accepted)}"
    if report["process"]["command"] not in _SERVING:
        return "not asked for yet"
    if hook["answered_at"] and hook["answered_at"] >= report["since"]:
        return f"the update operator's, which was told {moment(hook['answered_at'])} that the node is prepared"
    if hook["asked"]:
        return "the update operator's, which asks for its check and is not answered yet"
    if report["plan"] and not report["plan"]["target"]["next_os"]:
        return "to be made by hand, or by the update operator with the next OS update"
    return "the update operator's, which has not asked for its check yet"


def _plan_lines(plan: dict[str, Any] | None) -> list[tuple[str, str]]:
    if not plan:
        return []
    target = plan["target"]
    current, coming = target["current_os"], target["next_os"]
    system = f"{current} → {coming}"
    if not coming:
        system = f"{current} (no update pending)"
    elif plan["boot_os"] == current:
        system = f"{current} ({coming} was rolled back too often)"
    lines = [
        ("OS", system),
        ("Kubernetes", f"{target['kube_version']} (from {target['kube_source']})"),
    ]
    if plan["resolved"]:
        lines.append(("Docker", plan["docker"] or "as the OS image has it; nothing is staged"))
        lines += [
            ("Image", f"{each['name']}:{each['reference']} for OS {each['os_version']}") for each in plan["images"]
        ]
    else:
        lines.append(("Docker", f"one of {', '.join(target['docker_preferences'])}, best first"))
    return lines
