"""Models that nothing was trained for: the preprocessing of a plan, and a network that answers with zeros."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.config.grid import Run
from gridcast.data import prediction_files
from gridcast.data.dataset import Dataset
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.model_files import NETWORK_FILE, SETTINGS_FILE
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.sweep.plan import Plan


@dataclass(frozen=True)
class Zeros:
    """A network that answers with zeros, in scaled units."""

    horizon: int

    def predict_on_batch(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Zeros (n, horizon)."""
        return np.zeros((len(next(iter(inputs.values()))), self.horizon))


def untrained_files(dataset: Dataset, run: Run) -> dict[str, bytes]:
    """The files of a model with the weights with which `run` begins; what is calibrated after training is so here."""
    import keras

    from gridcast.training import objectives
    from gridcast.training.finished_run import FinishedTraining, training_result

    keras.utils.clear_session(free_memory=False)  # the same names for each, as after training
    network = objectives.objective_of(dataset, run).build(run.seed)
    windows = len(dataset.origins("validation", run.configuration.lookback, run.series))
    finished = FinishedTraining(
        best_weights=[np.array(variable) for variable in network.trainable_variables],
        validation_output=np.ones((windows, dataset.preprocessing.horizon)),
        curves=dict.fromkeys(("loss", "val_loss", "mae", "val_mae"), (1.0,)),
        seconds=1.0,
        times=(0.0, 1.0),
    )
    return dict(training_result(dataset, run, finished).files)


def untrained_forecaster(plan: Plan) -> Forecaster:
    """The forecaster of `plan` with its preprocessing as a model's file has it; it forecasts the scalers' offsets."""
    carried = json.loads(json.dumps(plan.dataset.preprocessing.to_json()))
    return Forecaster(Preprocessing.from_json(carried), Zeros(plan.experiment.window.horizon))


def answer(plan: Plan, source: str) -> pd.DataFrame:
    """The forecasts of the untrained model from the table `source`, as `gridcast predict` gives them."""
    model = untrained_forecaster(plan)
    table, _ = model.predict_each_series(prediction_files.read_series_table(source, model.preprocessing))
    return table


def untrained_detector_files(plan: Plan, folder: Path) -> dict[str, bytes]:
    """The files of a detector of `plan` that rebuilds next to nothing, so that far readings have far errors."""
    from gridcast.models import autoencoder
    from gridcast.training import calibration
    from gridcast.training.training_series import detector_content

    settings = plan.reference_run.configuration
    shape = autoencoder.AutoencoderShape(settings.lookback, len(plan.panel.series))
    network = autoencoder.build_autoencoder(settings, shape, 1, portable=True)
    _, detector = calibration.calibrate_detector(plan.dataset, settings, network)
    network.save(folder / NETWORK_FILE)
    content = json.dumps(detector_content(detector, plan.dataset)).encode()
    return {SETTINGS_FILE: content, NETWORK_FILE: (folder / NETWORK_FILE).read_bytes()}
