"""A model version that is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gridcast.runtime.detector import Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.batching import Batcher
from gridcast.tracking.model_loading import ModelReference


@dataclass(frozen=True, eq=False, kw_only=True)
class ServedModel:
    """A version of the registered model `name`, loaded at `loaded_at` seconds since 1970.

    `batcher` takes a ForecastRequest for a forecaster and scaled values (steps, sensors) for a detector. `examples` are
    series for a forecaster, rows for a detector, in the form of a request. `step` is the time between two steps.
    """

    name: str
    model: Forecaster | Detector
    reference: ModelReference
    examples: tuple[dict[str, Any], ...]
    loaded_at: float
    batcher: Batcher[Any, np.ndarray]
    step: np.timedelta64

    @property
    def task(self) -> Literal["forecast", "probabilistic", "anomaly"]:
        """The task of the experiment that the model comes from."""
        if isinstance(self.model, Detector):
            return "anomaly"
        return "forecast" if self.model.quantiles is None else "probabilistic"

    @property
    def forecaster(self) -> Forecaster:
        """The model, if it is a forecaster. Raises HttpError (422)."""
        if isinstance(self.model, Detector):
            raise invalid_input("this model is an anomaly detector; use POST /anomalies", "model", "no_forecaster")
        return self.model

    @property
    def detector(self) -> Detector:
        """The model, if it is a detector. Raises HttpError (422)."""
        if not isinstance(self.model, Detector):
            raise invalid_input("this model is a forecaster, not a detector; use POST /predict", "model", "no_detector")
        return self.model

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing of the model."""
        return self.model.preprocessing

    @property
    def version(self) -> str:
        """Version in the registry."""
        return str(self.reference.version)

    @property
    def run_id(self) -> str | None:
        """MLflow run that trained the model."""
        return self.reference.run_id

    @property
    def beaten_by(self) -> str | None:
        """Name of the best baseline, if it beat the model on the test span."""
        return self.reference.beaten_by

    @property
    def levels(self) -> tuple[float, ...] | None:
        """Quantile levels of a response by default; None if the model has no quantiles."""
        quantiles = None if isinstance(self.model, Detector) else self.model.quantiles
        return None if quantiles is None else tuple(quantiles.levels)

    @property
    def example_ids(self) -> tuple[str, ...]:
        """Series with an example; for a detector all sensors or none."""
        if self.task == "anomaly":
            return self.preprocessing.series if self.examples else ()
        return tuple(example["id"] for example in self.examples)

    @property
    def known_names(self) -> set[str]:
        """Columns and series of the model, which error messages may show."""
        preprocessing = self.preprocessing
        columns = (preprocessing.time, preprocessing.target, *preprocessing.past, *preprocessing.future_columns)
        categories = {name for name, _ in preprocessing.categories}
        return {*columns, *preprocessing.keys, *categories, *preprocessing.series}
