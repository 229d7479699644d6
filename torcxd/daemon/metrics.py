"""What Prometheus is told: an observer that counts, and the text that is scraped.

prometheus_client writes the text. It costs 40 ms and 3 MB once, so only what exports metrics imports this module. Its
own counters are not used: they come with a ``_created`` series each, and would spread over the code what is in one
place here. Counters begin at zero when the process does, as Prometheus expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from torcxd import __version__
from torcxd.daemon.counts import Counts
from torcxd.daemon.progress import Progress
from torcxd.errors import EX_DATAERR
from torcxd.lifecycle.chart import Chart
from torcxd.lifecycle.events import Event, Failed, RetryDue
from torcxd.lifecycle.machine import Step

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Samples = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric. Names have base units, and counters end in ``_total``; https://prometheus.io/docs/practices/naming.

    :param help: what it means, one sentence without a full stop.
    """

    name: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    help: str
    labels: tuple[str, ...] = ()

    def family(self, samples: Samples) -> Metric:
        """The metric with *samples*, values by the values of the labels."""
        family = self.kind(self.name, self.help, labels=self.labels)
        for labels, value in sorted(samples.items()):
            family.add_metric(labels, value)
        return family


STATE: Final = Spec("torcxd_state", GaugeMetricFamily, "1 for the state that the node's lifecycle is in", ("state",))
SINCE: Final = Spec("torcxd_state_since_timestamp_seconds", GaugeMetricFamily, "When the present state was entered")
TRANSITIONS: Final = Spec(
    "torcxd_transitions_total", CounterMetricFamily, "Transitions between two states", ("from", "to")
)
FAILURES: Final = Spec(
    "torcxd_failures_total",
    CounterMetricFamily,
    "Failures of what a state does, by kind: transient, permanent or configuration",
    ("state", "kind"),
)
RETRIES: Final = Spec("torcxd_retries_total", CounterMetricFamily, "Attempts that followed a failure")
DOWNLOADED: Final = Spec("torcxd_downloaded_bytes_total", CounterMetricFamily, "Bytes of images that were downloaded")
REFUSED: Final = Spec(
    "torcxd_verification_failures_total",
    CounterMetricFamily,
    "Manifests and images that were refused: no trusted signature, malformed, or of another digest",
)
SOURCE_UP: Final = Spec("torcxd_source_up", GaugeMetricFamily, "1 for a source of events that is heard", ("source",))
SOURCE_HEARD: Final = Spec(
    "torcxd_source_last_event_timestamp_seconds",
    GaugeMetricFamily,
    "When a source of events was heard last; absent for never",
    ("source",),
)
INHIBITOR: Final = Spec("torcxd_inhibitor_held", GaugeMetricFamily, "1 while reboots are held off")
BUILD: Final = Spec("torcxd_build_info", GaugeMetricFamily, "1, with the version of torcxd as a label", ("version",))

METRICS: Final = (
    STATE,
    SINCE,
    TRANSITIONS,
    FAILURES,
    RETRIES,
    DOWNLOADED,
    REFUSED,
    SOURCE_UP,
    SOURCE_HEARD,
    INHIBITOR,
    BUILD,
)


class Heard(Protocol):
    """A source's health, as :mod:`torcxd.sources.health` keeps it."""

    up: bool
    heard_at: float | None


class Metrics(Collector):
    """An observer of the engine, and what is known of its surroundings.

    :param sources: gives the health of each source by name, at each collection.
    :param inhibitor_held: says whether reboots are held off.
    """

    def __init__(
        self,
        chart: Chart,
        *,
        sources: Callable[[], Mapping[str, Heard]],
        inhibitor_held: Callable[[], bool],
        counts: Counts,
    ) -> None:
        self._states = [each.name for each in chart.states]
        self._sources = sources
        self._inhibitor_held = inhibitor_held
        self._counts = counts
        self._state: str | None = None
        self._since = 0.0

    def stepped(self, step: Step, event: Event) -> None:
        if step.move is not None:
            self._counts.transitions[step.move.source, step.move.dest] += 1
        if isinstance(event, Failed):
            self._counts.failures[step.snapshot.state, event.kind.value] += 1
            # What fetching finds wrong in data from outside: signatures.py, manifest.py and download.py say so.
            self._counts.refused += step.snapshot.state == "fetching" and event.exit_code == EX_DATAERR
        self._counts.retries += isinstance(event, RetryDue)
        self._state, self._since = step.snapshot.state, step.snapshot.since

    def text(self) -> bytes:
        """All metrics in Prometheus's text format 0.0.4."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        sources = self._sources()
        if self._state is not None:
            yield STATE.family({(each,): float(each == self._state) for each in self._states})
            yield SINCE.family({(): self._since})
        yield TRANSITIONS.family(counts.transitions)
        yield FAILURES.family(counts.failures)
        yield RETRIES.family({(): counts.retries})
        yield DOWNLOADED.family({(): counts.downloaded_bytes})
        yield REFUSED.family({(): counts.refused})
        yield SOURCE_UP.family({(name,): float(each.up) for name, each in sources.items()})
        yield SOURCE_HEARD.family(
            {(name,): each.heard_at for name, each in sources.items() if each.heard_at is not None}
        )
        yield INHIBITOR.family({(): float(self._inhibitor_held())})
        yield BUILD.family({(__version__,): 1.0})


class CountedProgress:
    """Counts what downloads bring, and hands their progress on.

    A download tells how much it has before it asks for more, so that what an earlier attempt left is not counted again.
    """

    def __init__(self, counts: Counts, progress: Progress) -> None:
        self._counts = counts
        self._progress = progress
        self._known: dict[str, int] = {}

    def advanced(self, label: str, done: int, total: int | None) -> None:
        self._counts.downloaded_bytes += max(0, done - self._known.get(label, done))
        self._known[label] = done
        if done == total:
            del self._known[label]
        self._progress.advanced(label, done, total)

    def finish(self) -> None:
        self._progress.finish()
