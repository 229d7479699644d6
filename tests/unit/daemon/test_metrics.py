"""The metrics: what they count, how they read, and that the documentation lists exactly these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from torcxd import __version__
from torcxd.charts import load_chart
from torcxd.daemon.counts import Counts
from torcxd.daemon.metrics import METRICS, CountedProgress, Metrics
from torcxd.daemon.metrics_file import INTERVAL, write_metrics
from torcxd.daemon.progress import Silent
from torcxd.errors import Kind
from torcxd.lifecycle.events import Event, Failed, Gathered, RetryDue, Started
from torcxd.lifecycle.facts import Running, Target
from torcxd.lifecycle.machine import Lifecycle, Policy

PAGE = Path(__file__).parents[3] / "docs/metrics.md"
TARGET = Target("amd64-usr", "1520.8.0", None, "v1.8.4", "x", ("17.03",), "y")
GATHERED = Gathered(20, TARGET, Running("1520.8.0", "1.12", intact=True))
DAEMON = Policy(ends_when_published=False, ends_on_permanent=False, retry_for=None)


@dataclass
class Health:
    up: bool
    heard_at: float | None


class Node:
    """A lifecycle whose steps are counted."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.sources = {"node": Health(True, 12.5), "update_engine": Health(False, None)}
        self.held = False
        self.counts = counts or Counts()
        self.metrics = Metrics(
            load_chart(), sources=lambda: self.sources, inhibitor_held=lambda: self.held, counts=self.counts
        )
        self._core = Lifecycle(load_chart(), DAEMON)
        started = Started(10, "boot-1")
        self._step = self._core.start(None, started)
        self.metrics.stepped(self._step, started)

    def tell(self, *events: Event) -> None:
        for each in events:
            self._step = self._core.step(self._step.snapshot, each)
            self.metrics.stepped(self._step, each)

    def samples(self) -> dict[str, float]:
        """Each sample by its name and labels, as Prometheus's own parser reads the text."""
        families = text_string_to_metric_families(self.metrics.text().decode())
        return {
            each.name + "".join(f" {name}={text}" for name, text in sorted(each.labels.items())): each.value
            for family in families
            for each in family.samples
        }


def failed(exit_code: int, kind: Kind) -> Failed:
    return Failed(30, message="x", hint="", kind=kind, exit_code=exit_code, jitter=0.5)


def test_a_fresh_process_tells_its_state_and_zeros() -> None:
    samples = Node().samples()
    assert samples == {
        "torcxd_state state=gathering": 1,
        "torcxd_state state=fetching": 0,
        "torcxd_state state=verified": 0,
        "torcxd_state state=staged": 0,
        "torcxd_state state=reboot-pending": 0,
        "torcxd_state state=done": 0,
        "torcxd_state_since_timestamp_seconds": 10,
        "torcxd_retries_total": 0,
        "torcxd_downloaded_bytes_total": 0,
        "torcxd_verification_failures_total": 0,
        "torcxd_source_up source=node": 1,
        "torcxd_source_up source=update_engine": 0,
        "torcxd_source_last_event_timestamp_seconds source=node": 12.5,
        "torcxd_inhibitor_held": 0,
        f"torcxd_build_info version={__version__}": 1,
    }


def test_steps_are_counted() -> None:
    node = Node()
    node.tell(failed(75, Kind.TRANSIENT), RetryDue(31), failed(75, Kind.TRANSIENT), RetryDue(33), GATHERED)
    node.tell(failed(65, Kind.PERMANENT))
    node.held = True
    samples = node.samples()
    assert samples["torcxd_state state=fetching"] == 1
    assert samples["torcxd_state_since_timestamp_seconds"] == 20
    assert samples["torcxd_transitions_total from=gathering to=fetching"] == 1
    assert samples["torcxd_failures_total kind=transient state=gathering"] == 2
    assert samples["torcxd_failures_total kind=permanent state=fetching"] == 1
    assert samples["torcxd_retries_total"] == 2
    assert samples["torcxd_verification_failures_total"] == 1
    assert samples["torcxd_inhibitor_held"] == 1


def test_counts_outlive_a_reload() -> None:
    before = Node()
    before.tell(GATHERED)
    after = Node(before.counts)
    after.tell(GATHERED)
    assert after.samples()["torcxd_transitions_total from=gathering to=fetching"] == 2


def test_the_number_of_series_is_bounded() -> None:
    node = Node()
    for _ in range(1000):
        node.tell(failed(75, Kind.TRANSIENT), RetryDue(31))
    assert len(node.samples()) < 25


class Label(Silent):
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int | None]] = []
        self.finished = 0

    def advanced(self, label: str, done: int, total: int | None) -> None:
        self.told.append((label, done, total))

    def finish(self) -> None:
        self.finished += 1


def test_bytes_are_counted_once_however_often_a_download_is_cut() -> None:
    counts, shown = Counts(), Label()
    progress = CountedProgress(counts, shown)
    # Two downloads at once; the first was begun by an earlier process, is cut, starts over, and is completed.
    for label, done in [("a", 100), ("b", 0), ("a", 150), ("b", 40), ("a", 150), ("a", 0), ("a", 200), ("b", 50)]:
        progress.advanced(label, done, 200 if label == "a" else 50)
    assert counts.downloaded_bytes == 50 + 40 + 200 + 10
    # Fetched once more, much later.
    progress.advanced("a", 0, 200)
    progress.advanced("a", 200, 200)
    assert counts.downloaded_bytes == 500
    progress.finish()
    assert len(shown.told) == 10
    assert shown.finished == 1


def test_the_documentation_lists_exactly_these_metrics() -> None:
    rows = re.findall(r"^\| `(torcxd_\w+)` \| (\w+) \| (.*?)\| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    listed = [(name, kind, re.findall(r"`(\w+)`", labels), meaning) for name, kind, labels, meaning in rows]
    assert listed == [(each.name, each.family({}).type, list(each.labels), each.help) for each in METRICS], (
        "correct the list in docs/metrics.md"
    )


def test_every_metric_that_is_told_is_listed() -> None:
    node = Node()
    node.tell(failed(75, Kind.TRANSIENT), RetryDue(31), GATHERED)
    text = node.metrics.text().decode()
    assert re.findall(r"^# TYPE (\w+)", text, re.MULTILINE) == [each.name for each in METRICS]


@pytest.mark.parametrize("spec", METRICS, ids=lambda each: each.name)
def test_names_follow_prometheus_s_conventions(spec: object) -> None:
    name, kind = spec.name, spec.family({}).type  # type: ignore[attr-defined]
    assert re.fullmatch(r"torcxd(_[a-z]+)+", name)
    assert name.endswith("_total") == (kind == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|kb|kib|mib)(_|$)", name)


async def test_the_file_is_written_at_once_and_then_regularly(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "collector/torcxd.prom"
    asked: list[float] = []

    def text() -> bytes:
        asked.append(trio.current_time())
        return b"torcxd_retries_total %d\n" % len(asked)

    with trio.move_on_after(2.5 * INTERVAL):
        await write_metrics(text, path)
    assert asked == [0, INTERVAL, 2 * INTERVAL]
    assert path.read_bytes() == b"torcxd_retries_total 3\n"
    assert path.stat().st_mode & 0o777 == 0o644
    # The collector reads every *.prom in its directory.
    assert [each.name for each in path.parent.iterdir()] == ["torcxd.prom"]


async def test_a_directory_that_cannot_be_written_is_told_once_until_it_can(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "collector"
    blocker.write_text("a file, where the directory should be")
    times = 0

    def text() -> bytes:
        nonlocal times
        times += 1
        if times == 4:
            blocker.unlink()
        return b"x 1\n"

    with trio.move_on_after(4.5 * INTERVAL):
        await write_metrics(text, blocker / "torcxd.prom")
    assert (blocker / "torcxd.prom").read_bytes() == b"x 1\n"
    assert len(caplog.records) == 1
    assert str(blocker) in caplog.text
