"""What all tests share: which statements of the specification they prove, and what they explored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.explored import Explored

_EXPLORED = pytest.StashKey[Explored]()
# By this name a worker of pytest-xdist hands over what it explored.
_SUMS = "explored"
# The numbered statements that a complete torcxd proves, one id a line with its text.
_E2E = Path(__file__).with_name("e2e")
STATEMENTS = Path(__file__).with_name("statements.txt")


def statements() -> dict[str, str]:
    """The specification's statements: id to text."""
    lines = STATEMENTS.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accepts", action="store_true", help="list which statements have tests, and which do not; run none"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = statements()
    for item in items:
        for marker in item.iter_markers("accepts"):
            unknown = [each for each in marker.args if each not in known]
            if unknown or not marker.args:
                raise pytest.UsageError(f"{item.nodeid}: no such statement: {', '.join(unknown) or '(none given)'}")
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    if config.getoption("--accepts"):
        _print_coverage(known, items)
        items.clear()


def _group(item: pytest.Item) -> str:
    """Tests of a group run one after the other: those of a file share its fixtures, the end-to-end ones the machine."""
    return "e2e" if item.path.is_relative_to(_E2E) else str(item.path)


def _print_coverage(known: dict[str, str], items: list[pytest.Item]) -> None:
    tests: dict[str, list[str]] = {each: [] for each in known}
    for item in items:
        for marker in item.iter_markers("accepts"):
            for each in marker.args:
                tests[each].append(item.nodeid)
    print()
    for each, text in known.items():
        count = len(tests[each])
        print(f"{'yes' if count else 'NO ':3} {each:4} {count:3} tests  {text}")
    covered = sum(1 for found in tests.values() if found)
    print(f"{covered} of {len(known)} statements have a test")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_EXPLORED] = Explored()


@pytest.fixture
def explored(request: pytest.FixtureRequest) -> Explored:
    """Where a test counts what it explored."""
    return request.config.stash[_EXPLORED]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[_EXPLORED].lines()
    if lines:
        terminalreporter.section("explored")
        for each in lines:
            terminalreporter.write_line(each)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended: what it explored belongs to the sums."""
    explored = node.config.stash[_EXPLORED]
    for what, counted in getattr(node, "workeroutput", {}).get(_SUMS, {}).items():
        for unit, number in counted.items():
            explored.count(what, unit, number)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    workeroutput: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if workeroutput is not None:
        sums = session.config.stash[_EXPLORED].sums
        workeroutput[_SUMS] = {what: dict(counted) for what, counted in sums.items()}
    if session.config.getoption("--accepts") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
