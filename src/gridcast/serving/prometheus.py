"""Metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gridcast.serving.models.pool import ModelPool

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, in seconds."""


class PrometheusMetrics:
    """The metrics of one service, in a registry separate from the global one."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "gridcast_requests", "Requests, by route and status", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "gridcast_request_seconds",
            "Seconds from request to response",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._series = Counter("gridcast_series", "Series forecast, by model", ["model"], registry=registry)
        self._steps = Counter("gridcast_steps", "Steps scored, by model", ["model"], registry=registry)
        self._version = Gauge("gridcast_model_version", "Version that is served", ["model"], registry=registry)
        self._degraded = Gauge(
            "gridcast_degraded", "1 if a newer version could not be loaded", ["model"], registry=registry
        )
        self._swaps = Gauge("gridcast_swaps", "Model versions exchanged since the start", registry=registry)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that took `seconds`."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_series(self, model: str, series: int) -> None:
        """Count the number of `series` that `model` forecast in a request."""
        self._series.labels(model).inc(series)

    def count_steps(self, model: str, steps: int) -> None:
        """Count the number of `steps` that the detector `model` scored in a request."""
        self._steps.labels(model).inc(steps)

    def render(self, models: ModelPool) -> bytes:
        """Return all metrics and the state of the `models` in the text format of Prometheus."""
        for served in models.all():
            self._version.labels(served.name).set(float(served.version))
            self._degraded.labels(served.name).set(served.name in models.problems)
        self._swaps.set(models.swaps)
        return generate_latest(self._registry)
