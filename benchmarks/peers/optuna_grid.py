"""Optuna's GridSampler with its MLflow callback, which records settings and the value, no curve and no model.

VENV/bin/python benchmarks/peers/optuna_grid.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import network
import optuna
import task
from optuna_integration import MLflowCallback


def main(folder: Path) -> None:
    problem = task.read(folder)

    def objective(trial: optuna.Trial) -> float:
        chosen = {axis: trial.suggest_categorical(axis, values) for axis, values in problem.axes.items()}
        settings = problem.fixed | chosen
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = network.build(problem.sizes, **{name: settings[name] for name in task.NETWORK})
        history = model.fit(
            problem.train,
            problem.train_target,
            validation_data=(problem.validation, problem.validation_target),
            epochs=problem.epochs,
            batch_size=settings["batch_size"],
            callbacks=[keras.callbacks.EarlyStopping(patience=problem.patience, restore_best_weights=True)],
            verbose=0,
        ).history
        return min(history["val_loss"])

    recorder = MLflowCallback(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", metric_name="val_loss")
    study = optuna.create_study(study_name=problem.name, sampler=optuna.samplers.GridSampler(problem.axes))
    study.optimize(objective, callbacks=[recorder])
    task.write(folder, study.best_value, len(study.trials))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
