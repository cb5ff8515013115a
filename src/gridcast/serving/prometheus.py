"""What Prometheus may ask for."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gridcast.serving.models.pool import ModelPool

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PrometheusMetrics:
    """Counts of one service, in a registry of its own."""

    def __init__(self) -> None:
        own = self._own = CollectorRegistry()
        ProcessCollector(registry=own)
        labels = ["route", "status"]
        self._requests = Counter("gridcast_requests", "Requests, by route and status", labels, registry=own)
        self._seconds = Histogram(
            "gridcast_request_seconds", "From a request to its answer", ["route"], buckets=LATENCY_BUCKETS, registry=own
        )
        self._series = Counter("gridcast_series", "Series that were forecast, by model", ["model"], registry=own)
        self._steps = Counter("gridcast_steps", "Steps that were scored, by model", ["model"], registry=own)
        self._model = Gauge("gridcast_model_version", "The version that is served", ["model"], registry=own)
        self._degraded = Gauge("gridcast_degraded", "1 where a newer version is not served", ["model"], registry=own)
        self._swaps = Gauge("gridcast_swaps", "Versions exchanged since the start", registry=own)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def forecast(self, model: str, series: int) -> None:
        """Count so many series that `model` forecast."""
        self._series.labels(model).inc(series)

    def scored(self, model: str, steps: int) -> None:
        """Count so many steps that the detector `model` scored."""
        self._steps.labels(model).inc(steps)

    def text(self, models: ModelPool) -> bytes:
        """All counts, and the state of the `models`, in the text format of Prometheus."""
        for served in models.all():
            self._model.labels(served.name).set(float(served.version))
            self._degraded.labels(served.name).set(served.name in models.problems)
        self._swaps.set(models.swaps)
        return generate_latest(self._own)
