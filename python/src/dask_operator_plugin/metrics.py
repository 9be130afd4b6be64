"""The metrics of a plugin, with the same names as those of dask-plugin-server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class Metrics:
    """Counts calls by hook and outcome."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "dask_plugin_calls", "Calls that have completed", ["hook", "outcome"], registry=self._registry
        )
        self._durations = Histogram(
            "dask_plugin_call_duration_seconds",
            "Duration of calls",
            ["hook"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "dask_plugin_calls_in_flight", "Calls that have not completed yet", registry=self._registry
        )

    def answered(self, hook: str, outcome: str, seconds: float) -> None:
        """Counts a call. The outcome is a status of the protocol or the category of an error."""
        self._calls.labels(hook, outcome).inc()
        self._durations.labels(hook).observe(seconds)

    def encode(self) -> bytes:
        """Returns the counts in the OpenMetrics text format."""
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return text
