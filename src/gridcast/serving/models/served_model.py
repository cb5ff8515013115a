"""A model version that is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gridcast.runtime.detector import Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.batching import Batcher
from gridcast.serving.payloads.fast_path import Plain
from gridcast.tracking import model_loading


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded version of the model `name`: its networks are compiled, and it has answered a sample rightly.

    `examples` are series that a forecast can be asked of, or the rows that a detector can, as they stand in a
    request. `together` takes questions as `questions` makes them, `plain` some as they come; `step` is the time from
    one step to the next.
    """

    name: str
    model: Forecaster | Detector
    found: model_loading.ModelReference
    examples: tuple[dict[str, Any], ...]
    since: float
    together: Batcher[Any, np.ndarray]
    plain: Plain
    step: np.timedelta64

    @property
    def task(self) -> str:
        """What it does: forecast, probabilistic or anomaly."""
        if isinstance(self.model, Detector):
            return "anomaly"
        return "forecast" if self.model.quantiles is None else "probabilistic"

    @property
    def forecaster(self) -> Forecaster:
        """The model, if it forecasts. Raises Refusal (422)."""
        if isinstance(self.model, Detector):
            raise invalid_input(
                "the model tells anomalies and forecasts nothing; ask POST /anomalies", "model", "no_forecaster"
            )
        return self.model

    @property
    def detector(self) -> Detector:
        """The model, if it tells anomalies. Raises Refusal (422)."""
        if not isinstance(self.model, Detector):
            raise invalid_input("the model forecasts, it is no detector; ask POST /predict", "model", "no_detector")
        return self.model

    @property
    def own(self) -> Preprocessing:
        """Its preprocessing."""
        return self.model.preprocessing

    @property
    def version(self) -> str:
        """Its number in the registry."""
        return str(self.found.version)

    @property
    def run_id(self) -> str | None:
        """The MLflow run that trained it."""
        return self.found.run_id

    @property
    def beaten_by(self) -> str | None:
        """The best baseline, where it beats the model."""
        return self.found.beaten_by

    @property
    def levels(self) -> tuple[float, ...] | None:
        """The quantiles that it tells unasked; None where it forecasts values alone."""
        quantiles = None if isinstance(self.model, Detector) else self.model.quantiles
        return None if quantiles is None else tuple(quantiles.levels)

    @property
    def shown(self) -> tuple[str, ...]:
        """The series of which an example is kept: of a detector all sensors, or none."""
        if self.task == "anomaly":
            return self.own.series if self.examples else ()
        return tuple(one["id"] for one in self.examples)

    @property
    def names(self) -> set[str]:
        """Columns and series that it knows, which may stand in messages."""
        own = self.own
        categories = {name for name, _ in own.categories}
        return {own.time, own.target, *own.keys, *own.past, *own.future_columns, *categories, *own.series}
