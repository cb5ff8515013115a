"""The load of the machine while a sweep trains, in MLflow's own system metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gridcast.tracking.store import Store


@contextlib.contextmanager
def log_system_metrics(store: Store, run_id: str) -> Iterator[None]:
    """Log processor, memory, disk and network to a run during the block, if MLflow's own switch asks for it.

    The switch is MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING, or `mlflow.enable_system_metrics_logging()`.
    """
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

    if not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=store.uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
