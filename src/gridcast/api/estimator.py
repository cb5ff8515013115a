"""An estimator in the style of scikit-learn: fit on a frame, predict from a history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gridcast.api.events import RunEvents
from gridcast.api.experiments import ExperimentLike
from gridcast.api.finished_sweep import Sweep
from gridcast.api.models import LoadedForecaster
from gridcast.api.running import run
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime.errors import GridcastError

PARAMETERS = ("experiment", "workers", "backend", "progress")


class GridForecaster:
    """The winner of a grid of networks: `fit` runs the sweep of an experiment on a frame, `predict` forecasts.

    The arguments are those of `run`. After `fit`, `sweep_` is the sweep and `forecaster_` its winner.

    >>> model = gridcast.GridForecaster("experiments/retail_daily.yaml", workers=1, progress=False).fit(frame)
    >>> model.predict(frame, horizon=2)["product"].tolist()
    ['apple', 'apple', 'pear', 'pear']
    >>> model.sweep_.name
    'retail_daily'
    """

    def __init__(
        self,
        experiment: ExperimentLike,
        *,
        workers: int | None = None,
        backend: str = "jax",
        progress: bool | RunEvents = True,
    ) -> None:
        self.experiment, self.workers, self.backend, self.progress = experiment, workers, backend, progress

    def fit(self, frame: TableOrPath, y: None = None) -> GridForecaster:  # noqa: ARG002 - scikit-learn passes it
        """Run the sweep on `frame`, which has the columns of the experiment, targets included; return self."""
        self.sweep_: Sweep = run(
            self.experiment, data=frame, workers=self.workers, backend=self.backend, progress=self.progress
        )
        self.forecaster_: LoadedForecaster = self.sweep_.forecaster
        return self

    def predict(
        self, history: TableOrPath, horizon: int | None = None, quantiles: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Return forecasts in data units, see `LoadedForecaster.predict`. Raises GridcastError before `fit`."""
        if not hasattr(self, "forecaster_"):
            raise GridcastError("GridForecaster: not fitted yet; call fit with the table to train on")
        return self.forecaster_.predict(history, horizon, quantiles)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn passes it
        """Return the arguments that it was made with, by name."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def set_params(self, **parameters: Any) -> GridForecaster:
        """Replace arguments that it was made with; return self. Raises ValueError for an unknown name."""
        for name, value in parameters.items():
            if name not in PARAMETERS:
                raise ValueError(f"GridForecaster: no parameter '{name}' (there are: {', '.join(PARAMETERS)})")
            setattr(self, name, value)
        return self
