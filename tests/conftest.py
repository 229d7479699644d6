"""What all tests share: which statements of the specification they prove, and what they explored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.explored import Explored

_EXPLORED = pytest.StashKey[Explored]()
# The numbered statements that a complete torcxd proves, one id a line with its text.
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
    if config.getoption("--accepts"):
        _print_coverage(known, items)
        items.clear()


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


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("--accepts") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
