"""KerasTuner's GridSearch, on the backend that KERAS_BACKEND names.

VENV/bin/python benchmarks/peers/keras_tuner_grid.py FOLDER

KerasTuner has no MLflow logger and its guide shows no connection to MLflow, so nothing is recorded there. What
remains is the tuner's own folder, with a JSON file and the best weights of each run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import keras_tuner
import network
import task


class Network(keras_tuner.HyperModel):
    """The grid as a search space: settings of the network in `build`, the batch size in `fit`."""

    def __init__(self, problem: task.Task) -> None:
        super().__init__()
        self.problem = problem

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(0)
        return network.build(self.problem.sizes, **{name: self._value(hp, name) for name in task.NETWORK})

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: object, **kwargs: object) -> object:
        return model.fit(*args, batch_size=self._value(hp, "batch_size"), **kwargs)

    def _value(self, hp: keras_tuner.HyperParameters, name: str) -> object:
        axes = self.problem.axes
        return hp.Choice(name, axes[name]) if name in axes else self.problem.fixed[name]


def main(folder: Path) -> None:
    problem = task.read(folder)
    tuner = keras_tuner.GridSearch(
        Network(problem), objective="val_loss", directory=folder, project_name="tuner", overwrite=True
    )
    tuner.search(
        problem.train,
        problem.train_target,
        validation_data=(problem.validation, problem.validation_target),
        epochs=problem.epochs,
        callbacks=[keras.callbacks.EarlyStopping(patience=problem.patience, restore_best_weights=True)],
        verbose=0,
    )
    best = tuner.oracle.get_best_trials(1)[0]
    task.write(folder, best.score, len(tuner.oracle.trials))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
