"""The result of a sweep: leaderboard, winner, verdict, figures, forecaster, read from MLflow when they are needed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcast.runtime.errors import ConfigError, GridcastError, suggest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gridcast.api.models import LoadedDetector, LoadedForecaster
    from gridcast.reporting.record import SweepRecord
    from gridcast.tracking.store import Store

MLFLOW_ADDRESS = "http://127.0.0.1:5000"
"""Default address of `mlflow ui`."""


@dataclass(frozen=True)
class BestRun:
    """The winner of a sweep: its MLflow run, its settings, and its metrics.

    Metrics that begin with `test_` are those of the test span. Of a winner made of several runs, an ensemble or one
    model per series, the settings are the parameters of its MLflow run, as text.
    """

    run_id: str
    name: str
    configuration: dict[str, Any]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Sweep:
    """A sweep that ended, as `gridcast.run` and `gridcast.report` return it.

    `verdict` has the sentences at the top of the `report`. `failure` says which runs or baselines failed, empty where
    none did; what failed is trained again by the next `gridcast.run` of the experiment.

    >>> sweep = gridcast.run("experiments/retail_daily.yaml", data=frame, workers=1, progress=False)
    >>> sweep.best.name
    'GRU-4 b32 lr0.01 d0.1'
    >>> sweep.leaderboard()[["rank", "learning_rate"]].head(2).to_dict("list")
    {'rank': [1, 2], 'learning_rate': [0.01, 0.0001]}
    >>> sweep.verdict[0]
    '...'
    >>> figure = sweep.plot("model_comparison")
    >>> sweep.forecaster.predict("sales.csv", horizon=2).columns.tolist()
    ['product', 'date', 'forecast', 'rolled_forward']
    """

    name: str
    report: Path
    verdict: tuple[str, ...]
    sweep_id: str
    store: Store = field(repr=False)
    failure: str = ""

    @cached_property
    def record(self) -> SweepRecord:
        """The record of the sweep in MLflow, read once."""
        from gridcast.reporting.record import read_sweep

        return read_sweep(self.store, self.name, self.sweep_id)

    def leaderboard(self) -> pd.DataFrame:
        """Return the finished runs, the best first: rank, name, the settings that vary, seed, metrics, run_id."""
        from gridcast.reporting import leaderboard

        return leaderboard.ranked_runs(self.record.runs, self.record.axes, self.record.metric)

    @cached_property
    def best(self) -> BestRun:
        """The winner. Raises GridcastError where there is none yet."""
        from gridcast.tracking import mlflow_runs

        run = mlflow_runs.find_run(self.store, self.record.winner_id or self.record.best_run_id)
        if run is None:
            raise GridcastError(f"'{self.name}' has no winner yet; finish the sweep: gridcast run")
        settings = run.data.tags.get(mlflow_runs.CONFIGURATION_TAG)
        return BestRun(
            run_id=str(run.info.run_id),
            name=mlflow_runs.run_name(run),
            configuration=json.loads(settings) if settings else dict(run.data.params),
            metrics=dict(run.data.metrics),
        )

    @cached_property
    def forecaster(self) -> LoadedForecaster:
        """The winner of a sweep of forecasters. Raises ConfigError for one of detectors."""
        return _kind(self, "forecaster")

    @cached_property
    def detector(self) -> LoadedDetector:
        """The winner of a sweep of detectors. Raises ConfigError for one of forecasters."""
        return _kind(self, "detector")

    @property
    def figures(self) -> tuple[str, ...]:
        """The names that `plot` takes."""
        return tuple(self._drawn)

    def plot(self, name: str) -> Figure:
        """Return a figure of the report. Raises ConfigError for a name that it does not have."""
        if name not in self._drawn:
            names = f"{suggest(name, self._drawn)} (there are: {', '.join(self._drawn)})"
            raise ConfigError(f"plot: no figure '{name}'{names}")
        _show_figures_in_notebooks()
        figure = self._drawn[name]
        figure.set_facecolor("white")
        return figure

    @cached_property
    def _drawn(self) -> dict[str, Figure]:
        from gridcast.reporting import report
        from gridcast.reporting.report_findings import compute_findings

        return report.draw_figures(self.record, compute_findings(self.record))

    def write_study(self, file: str | Path) -> int:
        """Write the runs as a study of Optuna to an SQLite `file`, for optuna-dashboard, and return their number."""
        from gridcast.reporting import optuna_study

        return optuna_study.write_study(self.record, self.store, Path(file))

    @property
    def runs_page(self) -> str:
        """Address of the page of MLflow that shows the runs, the best first."""
        from gridcast.tracking.saved_view import view_link

        return view_link(self.store, self.store.uri if self.store.uri.startswith("http") else MLFLOW_ADDRESS)


def _kind(sweep: Sweep, kind: str) -> Any:
    from gridcast.api.models import load_uri

    model = load_uri(f"runs:/{sweep.best.run_id}/model", sweep.store.uri)
    if model.kind != kind:
        raise ConfigError(f"'{sweep.name}': the winner is a {model.kind}; use sweep.{model.kind}")
    return model


def _show_figures_in_notebooks() -> None:
    """Have Jupyter show figures as pictures, as it does once pyplot is imported."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        import_module("IPython.core.pylabtools").select_figure_formats(shell, {"png"})
