"""Compare the forecasts of a model in use with what happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gridcast.api import model_argument
from gridcast.api.events import RunEvents
from gridcast.api.experiments import choose_workers, plan_of_model, plan_on_source
from gridcast.api.folders import REPORTS
from gridcast.api.keras_session import keras_session
from gridcast.api.models import shown_table
from gridcast.api.running import choose_events, keyboard_interrupt, sweep_plan
from gridcast.data.prediction_files import TableOrPath
from gridcast.monitoring import alerts
from gridcast.runtime.errors import DataError, GridcastError

if TYPE_CHECKING:
    from gridcast.monitoring.findings import AlarmLimits, MonitorFindings, WatchedModel
    from gridcast.sweep.plan import Plan


def monitor(
    model: str | Path,
    actuals: TableOrPath,
    *,
    served: Path | None = None,
    max_error: float = 1.25,
    max_psi: float = 0.1,
    coverage_gap: float = 0.1,
    alpha: float = 0.01,
    alert: Sequence[str] = (),
    retrain: TableOrPath | None = None,
    description: str | Path | None = None,
    data: TableOrPath | None = None,
    workers: int | None = None,
    progress: bool | RunEvents = False,
) -> MonitorFindings:
    """Compare the forecasts of a model with `actuals`, a frame or a file of what happened, old rows included.

    Returns the findings: `alarms`, the `headline` and the `verdict` as sentences, `errors`, `drift` and `challengers`
    as frames. They are recorded in MLflow, and on a page in `reports`.

    `served` is a log of forecasts that were served, judged in place of new ones. There is an alarm if the live MASE is
    over `max_error` times that at promotion, a feature's population stability index over `max_psi`, or the coverage of
    intervals `coverage_gap` below the promised one, each at p values up to `alpha`. After an alarm the apprise
    addresses `alert` are notified, and the experiment is trained on the data `retrain`, old and new; the gates decide.
    `data` says where the experiment's data are now, if they were moved, and the experiment file `description` how to
    read them. Raises ConfigError, DataError, TrackingError, and GridcastError where runs of the retraining failed.

    >>> findings = gridcast.monitor("retail-daily", later, data=frame)
    >>> findings.errors["name"].tolist()
    ['champion', 'last value', ...]
    >>> findings.headline
    '...'
    """
    notifier = alerts.open_notifier(alert) if alert else None
    from gridcast.monitoring import champion
    from gridcast.monitoring.findings import AlarmLimits
    from gridcast.tracking import model_loading

    events = choose_events(progress)
    reference = model_argument.find_model(model)
    planned = plan_of_model(reference, description, data)
    plan_of_retraining = None if retrain is None else plan_on_source(planned, retrain, events)
    limits = AlarmLimits(error=max_error, psi=max_psi, coverage=coverage_gap, alpha=alpha)
    with keras_session():
        loaded, recorded = model_loading.load_model(reference.uri), planned.recorded
        watched = champion.watched_model(
            loaded, recorded.store, parent=recorded.sweep_id, about=recorded.about, plan=planned.plan
        )
        findings, page = _compare(watched, actuals, limits, served)
    events.compared(findings, page)
    if findings.alarms and notifier is not None:
        alerts.send_notice(notifier, findings.headline, "\n".join([*findings.alarms, *findings.remarks]))
    if findings.alarms and plan_of_retraining is not None:
        _retrain(plan_of_retraining, workers, events)
    return findings


def _retrain(plan: Plan, workers: int | None, events: RunEvents) -> None:
    events.retraining()
    with keyboard_interrupt():
        sweep = sweep_plan(plan, choose_workers("jax", workers), events)
    if sweep.failure:
        raise GridcastError(sweep.failure)


def _compare(
    watched: WatchedModel, actuals: TableOrPath, limits: AlarmLimits, served: Path | None
) -> tuple[MonitorFindings, Path]:
    """Compare a model with a table of actual values; write the page, and record the findings in MLflow."""
    from gridcast.data import prediction_files
    from gridcast.monitoring import champion
    from gridcast.reporting import html, monitor_page

    table = prediction_files.read_series_table(actuals, watched.preprocessing)
    try:
        findings = champion.monitor(watched, table, limits, served=served)
    except DataError as error:
        raise DataError(f"{shown_table(actuals)}: {error}") from None
    page = monitor_page.render_page(findings)
    path = monitor_page.write_page(page, watched.name, REPORTS)
    champion.log_findings(findings, {html.MONITOR_FILE: page.encode()})
    return findings, path
